"""The sockets that dnspython asks over, by anyio: one source for asyncio, uvloop and trio.

dnspython's own for asyncio stand on datagram endpoints; under uvloop a lookup that is cancelled now and then leaves one
behind that keeps the loop from closing. These are plain sockets that are waited for, and closed by whoever opened them.
"""

from __future__ import annotations

import socket
from typing import Any

import anyio
import anyio.lowlevel
import dns.exception
from anyio.abc import SocketStream
from dns.asyncbackend import Backend, DatagramSocket, StreamSocket


class _Datagrams(DatagramSocket):
    """A UDP socket that is connected, so that the system drops strangers' packets and tells of a closed port."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, socket.SOCK_DGRAM)
        self._sock = sock

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> int:
        """Sends one packet; the destination is the one that the socket is connected to."""
        await anyio.lowlevel.checkpoint()
        return self._sock.send(what)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        """One packet and its sender. Raises Timeout."""
        with anyio.move_on_after(timeout):
            while True:
                await anyio.wait_readable(self._sock)
                try:
                    return self._sock.recvfrom(size)
                except BlockingIOError:
                    continue
        raise dns.exception.Timeout

    async def close(self) -> None:
        """Closes it."""
        self._sock.close()


class _Bytes(StreamSocket):
    """A TCP connection."""

    def __init__(self, family: int, stream: SocketStream) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._stream = stream

    async def sendall(self, what: bytes, timeout: float | None) -> None:
        """Sends everything. Raises Timeout."""
        with anyio.move_on_after(timeout):
            await self._stream.send(what)
            return
        raise dns.exception.Timeout

    async def recv(self, size: int, timeout: float | None) -> bytes:
        """Some bytes, or none at the end. Raises Timeout."""
        with anyio.move_on_after(timeout):
            try:
                return await self._stream.receive(size)
            except anyio.EndOfStream:
                return b""
            except anyio.BrokenResourceError as error:
                raise ConnectionResetError(str(error)) from error
        raise dns.exception.Timeout

    async def close(self) -> None:
        """Closes it."""
        await self._stream.aclose()


class AnyioBackend(Backend):
    """What dnspython needs of an event loop."""

    def name(self) -> str:
        """Its name."""
        return "anyio"

    async def make_socket(
        self,
        af: int,
        socktype: int,
        proto: int = 0,
        source: Any = None,
        destination: Any = None,
        timeout: float | None = None,
        ssl_context: Any = None,
        server_hostname: str | None = None,
    ) -> Any:
        """A socket to the name server `destination`. Raises Timeout or OSError."""
        if socktype == socket.SOCK_STREAM:
            with anyio.move_on_after(timeout):
                return _Bytes(af, await anyio.connect_tcp(destination[0], destination[1]))
            raise dns.exception.Timeout
        sock = socket.socket(af, socktype, proto)
        try:
            sock.setblocking(False)
            sock.connect(destination)
        except BaseException:
            sock.close()
            raise
        return _Datagrams(sock)

    def datagram_connection_required(self) -> bool:
        """Yes, so that `make_socket` is told the name server."""
        return True

    async def sleep(self, interval: float) -> None:
        """Waits so many seconds."""
        await anyio.sleep(interval)
