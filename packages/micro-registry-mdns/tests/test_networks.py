"""Registries in network namespaces of their own: the scenarios of `mdns_networks.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from mdns_networks import SCENARIOS

SCRIPT = Path(__file__).with_name("mdns_networks.py")


@cache
def namespace() -> tuple[str, ...]:
    """The command that runs another in a network namespace of its own; empty where there is none."""
    if shutil.which("ip") and shutil.which("unshare"):
        for flags in ("-Urn", "-n"):
            tried = ("unshare", flags, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
            if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
                return ("unshare", flags)
    return ()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_in_a_network_of_its_own(scenario: str) -> None:
    run(scenario, "asyncio")


def test_on_trio() -> None:
    run("processes_of_one_host_meet_on_the_loopback_interface", "trio")


def run(scenario: str, backend: str) -> None:
    if not namespace():
        pytest.skip("network namespaces cannot be made here (unshare, ip and veth are needed)")
    command = [*namespace(), sys.executable, str(SCRIPT), scenario, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
