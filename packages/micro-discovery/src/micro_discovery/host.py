"""Which machine this is, as far as loopback addresses are concerned."""

from __future__ import annotations

import hashlib
import socket
from functools import lru_cache
from pathlib import Path

HOST_KEY = "micro-host"
"""The node metadata that says on which host a loopback address means something."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_NETWORK = Path("/proc/self/ns/net")


@lru_cache(maxsize=1)
def host_id() -> str:
    """Sixteen hex digits, equal for processes that share a loopback interface and different elsewhere.

    A digest of the boot id (cloned machines share their machine id, never that) and of the network namespace, in which
    containers of one host differ; without those, of the machine id or the host's name. Nothing can be read from it.
    """
    machine = _read(_BOOT_ID) or _read(_MACHINE_ID) or socket.gethostname()
    return hashlib.sha256(f"{HOST_KEY}\0{machine}\0{_network()}".encode()).hexdigest()[:16]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _network() -> str:
    try:
        return str(_NETWORK.readlink())
    except OSError:
        return ""
