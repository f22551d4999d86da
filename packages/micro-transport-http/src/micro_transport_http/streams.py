"""Streams as Go Micro speaks them (WIRE §4, §5.4, §11): a connection that turns into a pipe of messages.

The client dials a fresh connection and POSTs an opening message, whose body the server discards. From then on each
message of the client is one more POST that repeats all headers, each message of the server one more `200` reply, and
neither waits for the other. An empty body of the client is a chunked one of no chunks, as Go writes it.

The end is a header. `Micro-Error: EOS` ends the side that sends it, and the other may go on (Go Micro's own client
closes right behind it, so a FIN behind an EOS does not disturb the handler). A server that failed sends the error's
text instead; its trailer is merged into that last head. After its EOS a server keeps the connection: what still
arrives of the stream is dropped, an EOS at the latest, and anything else is a new call.

A connection that closes *without* EOS is the peer's death, with two exceptions, both for v1.1.0, which knows no EOS:
at the server a stream whose opening had no `Micro-Stream` ends with the close (and such a client waits for ours, so the
connection is closed after the last reply); at the client one whose server echoed the request's headers, as every Go
Micro does and we do not.

What a reader finds in `trailer` is what the sender put there: of the last head, whatever is neither the wire's own nor
an echo of the request. Where a reply consists of that last head alone, the entries before `Micro-Error` are the
reply's, those behind it the trailer's.
"""

from __future__ import annotations

from micro_core import Buffer, EndOfStream, Exchange, Head, Message, Peer, Reset, TransportError
from micro_http import HTTPClient, Pipe, PipeExchange
from micro_http.names import WireLines
from micro_http.write import ASKS, EMPTY_CHUNKED, OK, TELLS, counted, header_block, request_start

_EOS = "EOS"
_ECHOES = ("micro-endpoint", "micro-method", "x-micro-endpoint", "x-micro-method")
_WIRE = frozenset(
    {
        ":method",
        ":path",
        ":status",
        "accept",
        "accept-encoding",
        "content-type",
        "date",
        "host",
        "micro-endpoint",
        "micro-from-service",
        "micro-id",
        "micro-method",
        "micro-service",
        "micro-stream",
        "server",
        "timeout",
        "user-agent",
        "x-micro-endpoint",
        "x-micro-error",
        "x-micro-id",
        "x-micro-method",
        "x-micro-service",
    }
)


def ending(head: Head) -> str:
    """The text that ends a side, or an empty one: `EOS`, or an error's."""
    return head.get("micro-error") or head.get("x-micro-error") or ""


def is_end(head: Head) -> bool:
    """Whether the message ends its side well."""
    return ending(head) == _EOS


def trailer_of(head: Head, request: Head) -> Head:
    """What the sender put into the trailer of a last head."""
    trailer = {name: value for name, value in head.items() if name not in _WIRE and request.get(name) != value}
    trailer.pop("micro-error", None)
    text = ending(head)
    if text != _EOS:
        trailer["micro-error"] = text
    return trailer


def last_head(trailer: Head | None) -> Head:
    """The head that ends a side."""
    head = {"micro-error": _EOS}
    if trailer:
        head.update(trailer)
    return head


def ended() -> TransportError:
    """For a `send` behind an `end`."""
    return TransportError("this side of the exchange has ended", Reset.CANCELLED, processed=True)


def gone() -> TransportError:
    """For a close without EOS."""
    return TransportError("the peer closed the connection without ending the stream", Reset.GONE, processed=True)


class ServerExchange(PipeExchange):
    """The server's side of one stream."""

    __slots__ = ("_drained", "_end_arrived", "_ended", "_lines", "_over", "_pipe", "_sent", "_stream")

    def __init__(self, pipe: Pipe, opening: Message, peer: Peer, lines: WireLines) -> None:
        self.request = opening.head
        self.reply = {}
        self.trailer = {}
        self.peer = peer
        self._pipe = pipe
        self._lines = lines
        self._stream = opening.head.get("micro-stream")
        self._end_arrived = False
        self._over = False
        self._ended = False
        self._sent = False
        self._drained = False
        pipe.arrived = self._arrived

    def _arrived(self, message: Message) -> None:
        if ending(message.head):
            self._end_arrived = True

    async def send(self, body: Buffer) -> None:
        """See `Exchange.send`. The first one carries `reply`."""
        if self._ended:
            raise ended()
        data = bytes(body)
        start = OK if self._sent else self._first()
        await self._pipe.send(b"".join((start, counted(len(data)), data)))
        self._sent = True

    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:
        """See `Exchange.end`."""
        if self._ended:
            return
        data = bytes(body)
        first = OK if self._sent else self._first()
        last = header_block(self._lines, last_head(trailer))
        await self._pipe.send(b"".join((first, last, counted(len(data)), data)))
        self._ended = True

    def _first(self) -> bytes:
        return (OK + TELLS if self.tells else OK) + header_block(self._lines, self.reply)

    async def recv(self) -> bytes:
        """See `Exchange.recv`."""
        if self._over:
            raise EndOfStream("the client ended the stream")
        message = await self._pipe.recv()
        if message is None:
            if self._stream is not None:
                raise gone()
        elif not ending(message.head):
            return message.body
        else:
            self.trailer = trailer_of(message.head, self.request)
        self._over = True
        raise EndOfStream("the client ended the stream")

    def reset(self, reason: Reset) -> None:
        """See `Exchange.reset`. Closes the connection."""
        if not (self._ended and self._over):
            self._ended = self._over = False
            self._pipe.reset(reason)

    def outlives_eof(self) -> bool:
        """After an EOS; and always where the client knows none."""
        return self._end_arrived or self._stream is None

    def settled(self) -> bool:
        """Whether this side was ended."""
        return self._ended

    def closes(self) -> bool:
        """Clients that know no EOS wait for the close."""
        return self._stream is None

    def late(self, message: Message) -> bool:
        """Whether a message that arrives behind the stream belongs to it."""
        if self._over or self._drained or message.head.get("micro-stream") != self._stream:
            return False
        self._drained = bool(ending(message.head))
        return True


class ClientExchange(Exchange):
    """The client's side of one stream."""

    __slots__ = ("_block", "_client", "_ended", "_lines", "_over", "_pipe", "_received", "_start", "_stub")

    def __init__(self, client: HTTPClient, pipe: Pipe, start: bytes, block: bytes, head: Head, peer: Peer) -> None:
        self.request = head
        self.reply = {}
        self.trailer = {}
        self.peer = peer
        self._pipe = pipe
        self._client = client
        self._lines = client.lines
        self._start = start
        self._block = block
        self._stub = start + block
        self._ended = False
        self._over = False
        self._received = False

    async def open(self, opening: bytes) -> None:
        """Sends the opening message."""
        start = self._start + ASKS if self._client.asks(self.peer.address) else self._start
        await self._pipe.send(_post(start + self._block, opening))

    async def send(self, body: Buffer) -> None:
        """See `Exchange.send`."""
        if self._ended:
            raise ended()
        await self._pipe.send(_post(self._stub, bytes(body)))

    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:
        """See `Exchange.end`. When the server has ended as well, the connection is closed."""
        if self._ended:
            return
        head = {**self.request, **last_head(trailer)}
        data = _post(self._start + header_block(self._lines, head), bytes(body))
        try:
            await self._pipe.send(data)
        except TransportError:
            if not self._over:
                raise
        self._ended = True
        if self._over:
            self._pipe.close()

    async def recv(self) -> bytes:
        """See `Exchange.recv`. A status other than 200 resets the exchange."""
        if self._over:
            raise EndOfStream("the server ended the stream")
        message = await self._pipe.recv()
        if message is None:
            if not any(name in self.reply for name in _ECHOES):
                raise gone()
        else:
            if message.head[":status"] != "200":
                raise self._refused(message)
            if not ending(message.head):
                if not self._received:
                    self._received = True
                    self._client.learn(self.peer.address, message.head)
                    self.reply = message.head
                return message.body
            self._finish(message.head)
        self._over = True
        if self._ended:
            self._pipe.close()
        raise EndOfStream("the server ended the stream")

    def _finish(self, head: Head) -> None:
        if not self._received:
            self._client.learn(self.peer.address, head)
        last = dict(head)
        if not self._received:
            self._received = True
            names = list(head)
            text = "micro-error" if "micro-error" in head else "x-micro-error"
            self.reply = {name: value for name, value in head.items() if name not in ("micro-error", "x-micro-error")}
            if is_end(head):
                last = {name: head[name] for name in names[names.index(text) :]}
        self.trailer = trailer_of(last, self.request)

    def _refused(self, message: Message) -> TransportError:
        text = message.body[:200].decode(errors="replace").strip()
        self._pipe.reset(Reset.PROTOCOL)
        return TransportError(
            f"the server answered HTTP {message.head[':status']}: {text}", Reset.PROTOCOL, processed=True
        )

    def reset(self, reason: Reset) -> None:
        """See `Exchange.reset`. A side that has not ended leaves by the end that Go Micro's clients do (WIRE §5.4)."""
        if not (self._ended and self._over):
            self._pipe.reset(reason, plainly=not self._ended)


def _post(stub: bytes, body: bytes) -> bytes:
    return b"".join((stub, counted(len(body)), body)) if body else stub + EMPTY_CHUNKED


async def opened(
    client: HTTPClient, address: str, head: Head, opening: Buffer, verify_name: str | None, deadline: float
) -> ClientExchange:
    """Dials and sends the opening message; see `Transport.open`."""
    start = request_start(head.get(":method", "POST"), head.get(":path", "/"), client.host_of(address))
    block = header_block(client.lines, head)  # raises before anything is dialled
    pipe = await client.pipe(address, verify_name=verify_name, deadline=deadline)
    exchange = ClientExchange(client, pipe, start, block, head, Peer(address, pipe.identity, "http/1.1"))
    await exchange.open(bytes(opening))
    return exchange
