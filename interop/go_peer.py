"""Go peers as processes: started, listened to line by line, and stopped."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from build import peer as binary_of

Flag: TypeAlias = "str | int | bool | Mapping[str, str]"

PATIENCE = 15.0
"""Seconds that a peer may take to say what is waited for."""
_LONGEST_LINE = 8 * 1024 * 1024
_GOODBYE = 5.0


class GoPeer:
    """A running peer, and everything that it has said."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._said: list[tuple[str, Any]] = []
        self._news = anyio.Event()
        self._silent = False

    async def listen(self) -> None:
        """Takes what it says until it ends; logs of the release, which are no JSON, are passed over."""
        assert self._process.stdout is not None
        lines = BufferedByteReceiveStream(self._process.stdout)
        try:
            while True:
                line = await lines.receive_until(b"\n", _LONGEST_LINE)
                if line.startswith(b"{"):
                    self._said.extend(json.loads(line).items())
                    self._tell()
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.ClosedResourceError):
            self._silent = True
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def told(self, what: str, *, within: float = PATIENCE) -> Any:
        """The next thing that it says of this kind. Raises AssertionError when it ends, or is silent for so long."""
        with anyio.move_on_after(within):
            while True:
                for index, (kind, value) in enumerate(self._said):
                    if kind == what:
                        del self._said[index]
                        return value
                if self._silent:
                    break
                await self._news.wait()
        raise AssertionError(f"the peer did not tell {what!r} within {within:g} s; it said {self._said}")

    def said(self, what: str) -> list[Any]:
        """All things of this kind so far that `told` has not taken."""
        return [value for kind, value in self._said if kind == what]

    async def all(self, *, within: float = PATIENCE) -> list[tuple[str, Any]]:
        """What it says until it ends by itself."""
        with anyio.move_on_after(within):
            while not self._silent:
                await self._news.wait()
        assert self._silent, f"the peer did not end within {within:g} s; it said {self._said}"
        return self._said

    def kill(self) -> None:
        """Ends it without a goodbye."""
        self._process.kill()

    async def stop(self) -> None:
        """Ends it as an operator does. Raises AssertionError where it does not go."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(_GOODBYE):
            await self._process.wait()
        assert self._process.returncode is not None, "the peer did not stop"


@asynccontextmanager
async def running(release: str, command: str, request: bytes = b"{}", **flags: Flag) -> AsyncIterator[GoPeer]:
    """A peer for the length of a block; `registry_address="x"` is its flag `--registry-address x`."""
    line = [str(binary_of(release)), command, "--request", "-", *arguments(flags)]
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
        asked.write(request)
        asked.seek(0)
        process = await anyio.open_process(line, stdin=asked, stderr=errors)
        peer = GoPeer(process)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(peer.listen)
                try:
                    yield peer
                    await peer.stop()
                finally:
                    with anyio.CancelScope(shield=True):
                        if process.returncode is None:
                            process.kill()
                        await process.wait()
                    group.cancel_scope.cancel()
                    await process.aclose()
        except BaseExceptionGroup as several:
            if len(several.exceptions) > 1:
                raise
            raise several.exceptions[0] from None


async def run(release: str, command: str, request: bytes = b"{}", **flags: Flag) -> list[tuple[str, Any]]:
    """What a peer says that ends by itself."""
    async with running(release, command, request, **flags) as peer:
        return await peer.all()


def arguments(flags: Mapping[str, Flag]) -> list[str]:
    """The command line of flags."""
    line: list[str] = []
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            line += [flag] if value else []
        elif isinstance(value, Mapping):
            line += [part for pair in value.items() for part in (flag, "=".join(pair))]
        else:
            line += [flag, str(value)]
    return line
