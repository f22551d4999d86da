"""The client as its users see it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, Unpack, cast, overload

import anyio
from micro_core import (
    Call,
    CallNext,
    NotRegistered,
    Registry,
    Reply,
    RPCError,
    ServiceNotFound,
    ServiceRecord,
)
from micro_core import Stream as OpenStream
from micro_core.revival import check_named, raise_revived

from micro.calling import (
    OF_MAKING,
    CallOptions,
    Key,
    ProxyOptions,
    StreamOptions,
    attributes_of,
    key_of,
    set_attributes,
)
from micro.outgoing import Outgoing
from micro.proxy import Proxy
from micro.publishing import Publisher
from micro.response import Response
from micro.stream import Stream
from micro.streaming import Exchanged, Replies

T = TypeVar("T")


class Caller:
    """Makes calls, opens streams and publishes: `service.client`, and the base of `micro.Client`.

    Usable as soon as its service or client runs; what it needs is opened when it is first used.
    """

    def __init__(self) -> None:
        self._detach()

    def _attach(
        self,
        prepare: Callable[[], tuple[Outgoing, Publisher]],
        open_client: Callable[[], Awaitable[tuple[CallNext, CallNext]]],
        open_names: Callable[[], Awaitable[Registry]],
        spawn: Callable[..., object],
    ) -> None:
        self._prepare = prepare
        self._outgoing = cast(Outgoing, _FirstUse(lambda: self._prepared()[0]))
        self._publisher = cast(Publisher, _FirstUse(lambda: self._prepared()[1]))
        self._open_client = open_client
        self._open_names = open_names
        self._spawn = spawn
        self._call: CallNext = self._first_call
        self._stream: CallNext = self._first_stream

    def _detach(self) -> None:
        nothing = cast(Any, _NotRunning())
        self._attach(nothing, nothing, nothing, nothing)

    def _prepared(self) -> tuple[Outgoing, Publisher]:
        self._outgoing, self._publisher = self._prepare()
        return self._outgoing, self._publisher

    async def _first_call(self, call: Call) -> Reply:
        await self._ready_for(call)
        return await self._call(call)

    async def _first_stream(self, call: Call) -> Reply:
        await self._ready_for(call)
        return await self._stream(call)

    async def _ready_for(self, call: Call) -> None:
        limit = call.open_deadline or call.deadline or math.inf
        try:
            with anyio.CancelScope(deadline=limit) as scope:
                await self._ready()
            if scope.cancelled_caught:
                raise ServiceNotFound("what the client needs was not open by the deadline")
        except RPCError as error:
            error.service, error.endpoint = call.service, call.endpoint
            raise

    async def _ready(self) -> None:
        self._call, self._stream = await self._open_client()

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply: type[T],
        **options: Unpack[CallOptions],
    ) -> T: ...

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply: Any = ...,
        **options: Unpack[CallOptions],
    ) -> Any: ...

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply: Any = Any,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Calls an endpoint and returns its reply.

        Args:
            service: its name.
            endpoint: `Say.Hello`.
            request: the value to send.
            reply: the type, or any other annotation, to decode the reply as.
            timeout: seconds; without it the client's default. The call never outlives the call being served.
            idempotent: whether it may be repeated where the outcome is unknown; by default the endpoint says.
            retries: how often such a call may be repeated; by default the client's option.
            content_type: for example `application/json`; by default the client's.
            metadata: goes along, beside what came with the call being served.
            address: call this `host:port`, without asking discovery.
            version: call nodes of that version only.
            where: node metadata that must be equal, `version` being the node's version; or a function of record and
                node.
            key: affinity, for selectors that know it.
            errors: classes of your own under `micro.errors.RPCError` that may come back as what they were raised as;
                all others come as the class of their code, with `type_name` and `details`.

        Raises:
            RPCError: by its class what went wrong; with outcome, service, endpoint, node, attempts and elapsed.
            ConfigurationError: `errors` names what cannot be revived; nothing was sent.
            DecodeError: the reply is not of the type asked for; the call was processed.
            TypeError: an unknown option, or a timeout that is no number.
            ValueError: two different versions.

        A cancelled call is cancelled at the server, too.
        """
        timeout, metadata, errors = options.get("timeout"), options.get("metadata"), options.get("errors")
        call = self._outgoing.call(service, endpoint, request, type(request), reply, timeout, metadata)
        if not options.keys() <= OF_MAKING:
            set_attributes(call, options, CallOptions)
        call_next = self._call
        return (await (self._reviving(call, errors) if errors else call_next(call))).value

    async def _reviving(self, call: Call, errors: Sequence[type[RPCError]]) -> Reply:
        check_named(errors)
        try:
            return await self._call(call)
        except RPCError as error:
            raise_revived(error, errors)

    @overload
    async def call_response(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply: type[T],
        **options: Unpack[CallOptions],
    ) -> Response[T]: ...

    @overload
    async def call_response(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply: Any = ...,
        **options: Unpack[CallOptions],
    ) -> Response[Any]: ...

    async def call_response(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply: Any = Any,
        **options: Unpack[CallOptions],
    ) -> Response[Any]:
        """As `call`, and returns the reply with its header, the node that answered and the attempts."""
        timeout, metadata, errors = options.get("timeout"), options.get("metadata"), options.get("errors")
        call = self._outgoing.call(service, endpoint, request, type(request), reply, timeout, metadata)
        set_attributes(call, options, CallOptions)
        answer = await (self._reviving(call, errors) if errors else self._call(call))
        return Response(answer.value, answer.header, answer.node, call.attempts)

    @overload
    def stream(
        self,
        service: str,
        endpoint: str,
        reply: type[T],
        **options: Unpack[StreamOptions],
    ) -> Stream[T]: ...

    @overload
    def stream(
        self,
        service: str,
        endpoint: str,
        reply: Any = ...,
        **options: Unpack[StreamOptions],
    ) -> Stream[Any]: ...

    def stream(
        self,
        service: str,
        endpoint: str,
        reply: Any = Any,
        **options: Unpack[StreamOptions],
    ) -> Stream[Any]:
        """A stream, opened by `async with client.stream(…) as stream:`.

        `reply` is the type of the values received, `request` of those sent. `timeout` (seconds, from its opening)
        bounds the whole stream; without it the client's default bounds its opening, and its life has no bound. The
        rest is as for `call`.
        """
        attributes = attributes_of(options, StreamOptions)
        errors, timeout, metadata = options.get("errors", ()), options.get("timeout"), options.get("metadata")
        check_named(errors)
        request = options.get("request", Any)

        def made() -> Call:
            call = self._outgoing.stream(service, endpoint, request, reply, timeout, None, metadata)
            for attribute, value in attributes.items():
                setattr(call, attribute, value)
            return call

        return Stream(partial(self._opened, made), errors)

    async def _opened(self, made: Callable[[], Call]) -> OpenStream:
        """A stream, whose time and surroundings are those in which it is opened."""
        stream = (await self._stream(made())).stream
        assert stream is not None, "a client's `stream` replies with a stream"
        return stream

    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        timeout: float | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        key: Key | None = None,
    ) -> None:
        """Publishes an event; returns when the broker has accepted it for delivery.

        Args:
            topic: where; a topic without subscribers is no error.
            event: the value to send.
            timeout: seconds for being accepted; by default the client's request timeout.
            content_type: as for `call`.
            metadata: goes along, beside what came with the call being served.
            key: events of one key arrive in order, with brokers that can.

        Raises:
            BrokerUnavailable: it was not accepted in time.
            UnsupportedType: the codec cannot carry it.
            UnsupportedContentType: no installed codec for that content type.
            TypeError: a timeout that is no number.
            ValueError: an empty topic, or one with control characters.
        """
        await self._publisher.publish(topic, event, timeout, content_type, metadata, key_of(key))

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """What the registry knows: one record per name and version, with its nodes. Asks it anew each time.

        Raises:
            RegistryUnavailable: it does not answer.
        """
        registry = await self._open_names()
        found: list[ServiceRecord] = []
        for name in sorted({record.name for record in await registry.list_services()}):
            with suppress(NotRegistered):  # it went meanwhile
                found.extend(await registry.get_service(name))
        return tuple(found)

    def proxy(
        self,
        contract: Callable[..., T],
        service: str,
        **options: Unpack[ProxyOptions],
    ) -> T:
        """A typed client: has the methods of `contract`, the handler's class or a Protocol of the same name.

        Args:
            contract: its annotated methods say what is called and how requests and replies are typed.
            service: the service that serves it.
            timeout: seconds, for unary calls and the opening of streams; by default the client's.
            name: what the handler is served as, where that is not the contract's name.
            metadata, content_type, address, version, where, key, errors: as for `call`, for every call and stream.

        A request that is left out is the parameter's default.

        Raises:
            ConfigurationError: `contract` is no class, or `errors` names what cannot be revived; a method that is not
                `async` or not annotated raises it when it is used.
            TypeError: an unknown option.
        """
        return Proxy.of(self, contract, service, options)

    def _replies(
        self,
        made: Callable[[], Call],
        first: Any,
        values: AsyncIterable[Any] | None,
        errors: Sequence[type[RPCError]] = (),
    ) -> Replies[Any]:
        opener = partial(self._opened, made)
        return Replies(Exchanged(opener, first=first, values=values, spawn=self._spawn, errors=errors))


_SENTENCE = "a client works while it runs: `async with micro.Client() as client:`, or while its service runs"


class _FirstUse:
    """Stands for an object that is made when something of it is first used."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


class _NotRunning:
    """Stands for what a client has only while it runs."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(_SENTENCE)

    def __call__(self, *_: object) -> Any:
        raise RuntimeError(_SENTENCE)
