"""Every example is run."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_demo_tells_its_story_in_eighty_columns_without_a_line_of_log() -> None:
    demo = subprocess.run(
        [sys.executable, EXAMPLES / "greeter" / "demo.py"], capture_output=True, text=True, timeout=60
    )
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    lines = demo.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].startswith("All of it happened")
    assert sum("0 failed" in line for line in lines) == 3


def test_a_service_made_from_a_proto_file_is_called_by_another_process_in_all_four_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MICRO_NAMESPACE", f"protobuf-{secrets.token_hex(3)}")
    monkeypatch.setenv("MICRO_REGISTRY_MDNS_INTERFACES", "127.0.0.1")
    folder = EXAMPLES / "protobuf"
    with subprocess.Popen([sys.executable, folder / "server.py"], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert any("serves at" in line for line in server.stderr)
            client = subprocess.run(
                [sys.executable, folder / "client.py"], capture_output=True, text=True, timeout=60, check=False
            )
        finally:
            server.send_signal(signal.SIGINT)
            rest = server.communicate(timeout=30)[1]
    assert (client.returncode, client.stderr, server.returncode) == (0, "", 0), rest
    assert client.stdout.splitlines() == [
        "3 entries",
        "node: one process of many",
        "me…: mesh, message",
        "mesh: services that find each other",
        "message: what travels",
        "nobody has told what 'noed' means",
    ]
