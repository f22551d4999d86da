"""What `accept` answers: which handler a head asks for, in which codec, until when; or a refusal.

It sees heads only and runs in a protocol's callback, hence no anyio here. What is found is kept in `_bindings`, so that
a known endpoint in a known content type of mucp costs one look into a dictionary; other dialects are asked only then.

Whether a call is a stream is settled by the endpoint, as in Go Micro (WIRE §5.1); a caller of the other opinion is
refused before both wait for each other. Two kinds of head need care: releases up to 1.8 open streams without
`micro-stream` but with `x-micro-` names, and Go handlers send the whole head of what they serve, with `remote` and a
stray `micro-stream`, on all their calls (WIRE §4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import anyio
from micro_core import (
    Buffer,
    Clock,
    Codec,
    Codecs,
    ConfigurationError,
    Decode,
    DecodeError,
    Encode,
    Handler,
    Head,
    Message,
    Peer,
    RPCError,
    StreamCall,
    UnaryCall,
    UnsupportedContentType,
    UnsupportedType,
)
from micro_core.errors import (
    BadRequest,
    NotFound,
    ServiceUnavailable,
    Timeout,
    UnsupportedMediaType,
)
from micro_core.suggest import did_you_mean

from micro_rpc import debug
from micro_rpc.dialect import MUCP, Dialect
from micro_rpc.dialects import dialect_of
from micro_rpc.slots import Slots
from micro_rpc.sweep import Sweep
from micro_rpc.wire import bare, empty_body, endpoint_of, nothing, refuse, remaining
from micro_rpc.work import StreamWork, UnaryWork

ASSUMED = "application/protobuf"
"""What a request without a content type is in (WIRE §5.2)."""


class Binding:
    """One endpoint in one content type, its functions compiled. `decode` is None where there is no request."""

    __slots__ = ("content_type", "decode", "empty", "encode", "handle", "handler", "streaming")

    def __init__(self, handler: Handler, content_type: str, codec: Codec) -> None:
        self.handler = handler
        self.handle = handler.handle
        self.streaming = handler.streaming
        self.content_type = content_type
        self.empty = empty_body(codec)
        self.decode: Decode | None = (
            None if nothing(handler.request_type) else _decoder(handler.request_type, codec, self.empty)
        )
        self.encode: Encode = self._nothing if nothing(handler.reply_type) else codec.encoder(handler.reply_type)

    def _nothing(self, value: Any) -> bytes:
        return self.empty


def _decoder(type_: Any, codec: Codec, empty: bytes) -> Decode:
    """Also reads what stands for no value, where a type that may be None cannot be read from it otherwise."""
    decode = codec.decoder(type_)
    if not empty or not _may_be_none(type_):
        return decode

    def decode_or_none(body: Buffer) -> Any:
        try:
            return decode(body)
        except DecodeError:
            if body != empty:
                raise
            return None

    return decode_or_none


def _may_be_none(type_: Any) -> bool:
    arguments = get_args(type_)
    return _may_be_none(arguments[0]) if get_origin(type_) is Annotated else NoneType in arguments


class Served:
    """The endpoints of one listener, and the work that is going on there."""

    def __init__(
        self, service: str, handlers: Sequence[Handler], codecs: Codecs, clock: Clock, slots: Slots, max_reply: int
    ) -> None:
        self.service = service
        self.handlers = {handler.endpoint.name: handler for handler in handlers}
        self.listed: tuple[str, ...] = tuple(self.handlers)
        self.codecs = codecs
        self.clock = clock
        self.slots = slots
        self.max_reply = max_reply
        self.sweep = Sweep(clock)
        self.draining = False
        self.leaving = anyio.Event()
        self.idle: anyio.Event | None = None
        self.scope: Callable[[], anyio.CancelScope] = type(anyio.CancelScope())
        self.cancelled = anyio.get_cancelled_exc_class()
        self._capacity = slots.limit + slots.most_waiting
        self._bindings: dict[tuple[str | None, str | None], Binding] = {}
        self._others: dict[tuple[str, str], Binding] = {}

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """The `accept` that the transport is given."""
        if self.draining or len(self.sweep.running) >= self._capacity:
            return dialect_of(head).refuse(self.too_busy(), self.service, unprocessed=True)
        get = head.get
        binding = self._bindings.get((get("micro-endpoint"), get("content-type")))
        if binding is None:
            dialect = dialect_of(head)
            if dialect is not MUCP:
                return dialect.accept(self, head, peer)
            try:
                binding = self._bind(head)
            except RPCError as error:
                return refuse(error, self.service)
        timeout = get("timeout")
        deadline = math.inf
        if timeout is not None and (left := remaining(timeout)) is not None:
            if left <= 0.0:
                return refuse(Timeout("the deadline had passed before the call"), self.service)
            clock = self.clock
            deadline = clock() + left
        if binding.streaming:
            return self._stream(binding, head, peer, deadline)
        if "micro-stream" in head and "remote" not in head and head["micro-stream"] == get("micro-id"):
            return refuse(_mismatch(binding, "a unary call", "a stream"), self.service)
        return UnaryWork(self, binding, head, peer, deadline)

    def _bind(self, head: Head) -> Binding:
        """What a head of mucp asks for; kept, unless a head that says the same can ask for something else."""
        endpoint, content_type = endpoint_of(head), head.get("content-type", ASSUMED)
        binding = self.bind(endpoint, content_type, old=_old(head))
        asked = (head.get("micro-endpoint"), head.get("content-type"))
        if asked == (endpoint, binding.content_type) and binding.handler.reply_type is not debug.Stats:
            self._bindings[asked] = binding
        return binding

    def _stream(self, binding: Binding, head: Head, peer: Peer, deadline: float) -> StreamCall | Message:
        if "micro-stream" not in head and not _old(head):
            return refuse(_mismatch(binding, "a stream", "a unary call"), self.service)
        return StreamWork(self, binding, head, peer, deadline)

    def kept(self, name: str, head: Head, make: Callable[[str], Binding]) -> Binding:
        """A binding of the dialects beside mucp, by name and content type; `make` is given the latter."""
        content_type = head.get("content-type", ASSUMED)
        binding = self._others.get((name, content_type))
        if binding is None:
            binding = make(bare(content_type))
            if binding.content_type == content_type:
                self._others[name, content_type] = binding
        return binding

    def bind(self, endpoint: str, content_type: str, dialect: Dialect = MUCP, *, old: bool = False) -> Binding:
        """The endpoint in the content type. Raises NotFound or UnsupportedMediaType, as the caller should see it.

        `old`: the caller is a release of Go Micro before 1.18.
        """
        handler = self.handlers.get(endpoint)
        if handler is None:
            known = did_you_mean(endpoint, self.listed)
            raise NotFound(f"{self.service} has no endpoint {endpoint!r}; {known}" if endpoint else "no endpoint named")
        name = bare(content_type)
        payload = dialect.payload(name) or name
        try:
            return Binding(handler, name, debug.codec_of(handler, payload, old=old) or self.codecs(payload))
        except UnsupportedContentType as error:
            raise UnsupportedMediaType(str(error)) from None
        except UnsupportedType as error:
            raise UnsupportedMediaType(f"{endpoint} cannot be called in {name}: {error}") from None
        except ConfigurationError as error:
            raise UnsupportedMediaType(f"the codec for {name} cannot be used: {error}") from None

    def leave_off(self) -> None:
        """Takes no more calls."""
        self.draining = True
        self.leaving.set()

    def too_busy(self) -> RPCError:
        """Why a call is refused that may be tried elsewhere: draining, or too much to do."""
        text = "it is stopping" if self.draining else f"{self._capacity} calls are running or waiting already"
        return ServiceUnavailable(f"{self.service} takes no calls: {text}")

    def leave(self, work: UnaryWork | StreamWork, taken: bool) -> None:
        """The work is over; whether it had taken a slot."""
        if taken:
            self.slots.give_back()
        self.sweep.running.discard(work)
        if self.idle is not None and not self.sweep.running:
            self.idle.set()


def check_types(service: str, handlers: Sequence[Handler], codecs: Codecs) -> None:
    """Raises ConfigurationError for a handler whose types no installed codec carries, or a name that comes twice."""
    names: set[str] = set()
    order = sorted(codecs.content_types, key=lambda name: (name != "application/json", name))
    for handler in handlers:
        name = handler.endpoint.name
        if name in names:
            raise ConfigurationError(f"{service}: two handlers are named {name}; name one by @micro.endpoint(…)")
        names.add(name)
        _check_handler(f"endpoint {name} of service {service!r}", handler, codecs, order)


def _check_handler(title: str, handler: Handler, codecs: Codecs, order: Sequence[str]) -> None:
    reasons: list[str] = []
    for content_type in order:
        try:
            Binding(handler, content_type, codecs(content_type))
        except (UnsupportedType, ConfigurationError) as error:
            reasons.append(str(error))
        else:
            return
    why = "; ".join(reasons) if reasons else "no codec is installed, micro-codec-json would be one"
    raise ConfigurationError(f"{title}: no installed codec carries its types: {why}")


def _old(head: Head) -> bool:
    return "x-micro-endpoint" in head or "x-micro-method" in head or "x-micro-service" in head


def _mismatch(binding: Binding, one: str, other: str) -> RPCError:
    return BadRequest(f"{binding.handler.endpoint.name} is {one}, it was called as {other}")
