"""Holds our server against h2spec, strictly: `python tools/h2spec/run.py <binary> [arguments of h2spec]`.

Over plain TCP with prior knowledge, and over TLS where ALPN chooses. Ends with 1 when a case fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
import trustme
from micro_core import Head, Message, Peer, Reset, UnaryCall
from micro_http import TLS, listen


class Echo(UnaryCall):
    """Gives back what it got, or a word."""

    async def run(self, body: bytes) -> Message:
        """See `UnaryCall`."""
        return Message({"content-type": "text/plain"}, body or b"hello")

    def cancel(self, reason: Reset) -> None:
        """There is nothing to stop."""


def accept(head: Head, peer: Peer) -> UnaryCall:
    """Everything is welcome."""
    return Echo()


def certified(folder: Path) -> TLS:
    """TLS with a certificate that is trusted by nobody."""
    certificate = folder / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return TLS(certificate=certificate)


async def passes(tls: TLS | None, command: list[str]) -> bool:
    """Whether every case passes against a server of our own."""
    if tls is not None:
        tls.open()
        command = [*command, "--tls", "--insecure"]
    async with await listen("127.0.0.1:0", accept, tls=tls) as listener:
        host, _, port = listener.address.rpartition(":")
        command = [*command, "--host", host, "--port", port]
        done = await anyio.run_process(command, check=False, stdout=subprocess.PIPE, stderr=None)
    told = done.stdout.decode()
    # A command line that selects nothing ends with 0, too.
    good = done.returncode == 0 and " 0 failed" in told and " 0 tests" not in told
    print(told.rpartition("Finished")[2] if good else told)
    return good


async def main(binary: str, arguments: list[str]) -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"plain": None, "TLS": certified(Path(folder))}
        good = True
        for name, tls in kinds.items():
            print(f"{name}:", flush=True)
            good &= await passes(tls, [binary, "--strict", *arguments])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[1], sys.argv[2:]))
