"""The service under test with what surrounds it: fakes, a client, and a record of what was published."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, cast, overload
from uuid import uuid4

import anyio
from micro_core import Broker, BrokerUnavailable, ConfigurationError, Message
from micro_core.loader import ContentTypes, load
from micro_core.options import make_options

from micro.client import Client
from micro.config import Config
from micro.middleware import answers
from micro.runtime import Runtime
from micro.service import Service
from micro.shapes import public_names
from micro.testing.clock import Clock

T = TypeVar("T")

_REPLACED = ("registry", "transport", "broker")
_FAKE = "Fake"


class App:
    """What a test holds while its services run.

    Attributes:
        client: calls and publishes, as any client beside the services.
        services: what runs, the fakes last.
    """

    def __init__(self, client: Client, services: tuple[Service, ...], stage: Stage, clock: Clock | None) -> None:
        self.client = client
        self.services = services
        self._stage = stage
        self._codecs = ContentTypes()
        self._clock = clock

    @property
    def clock(self) -> Clock:
        """Moves the event loop's time. Raises RuntimeError unless the run was asked for one: `run(…, clock=True)`."""
        if self._clock is None:
            raise RuntimeError("this run has no clock of its own: write micro.testing.run(…, clock=True)")
        return self._clock

    def messages(self, topic: str) -> list[Message]:
        """What was published to the topic by anyone in this run, in order, as it was sent: head and body."""
        return [message for published, message in self._stage.published if published == topic]

    @overload
    def published(self, topic: str) -> list[Any]: ...

    @overload
    def published(self, topic: str, type_: type[T]) -> list[T]: ...

    def published(self, topic: str, type_: Any = Any) -> list[Any]:
        """What was published to the topic by anyone in this run, in order, decoded as `type_`.

        An event is there as soon as its `publish` has returned; subscribers may not have seen it: see `delivered`.

        Raises:
            DecodeError: an event is not of that type.
        """
        return [
            self._codecs(message.head["content-type"]).decoder(type_)(message.body) for message in self.messages(topic)
        ]

    async def delivered(self, timeout: float = 5.0) -> None:
        """Returns when the subscribers have dealt with every event that was published.

        Args:
            timeout: seconds; an event that fails is delivered again and again meanwhile.

        Raises:
            TimeoutError: they have not.
        """
        with anyio.fail_after(timeout):
            for broker in self._stage.brokers:
                try:
                    await broker.flush(anyio.current_time() + 2 * timeout)
                except BrokerUnavailable:
                    continue  # a broker that was never used is not open


class Stage:
    """The stores of one run, and everything that is built on them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        store = f"test-{uuid4()}"
        self.published: list[tuple[str, Message]] = []
        self.brokers: list[Broker] = []
        self.store = store
        self.options = {
            "config": os.devnull,
            "registry": "memory",
            "registry.memory.address": store,
            "transport": "memory",
            "transport.memory.address": store,
            "server.address": "127.0.0.1:0",
            "server.advertise": "",
            "client.lookup_timeout": 0.2,
            "stop.drain": 1.0,
            "stop.flush": 0.0,
            **options,
        }

    def config(self, name: str, code: Mapping[str, object]) -> Config:
        """What was written in code, apart from what is replaced; and nothing of the environment."""
        kept = {key: value for key, value in code.items() if key.split(".")[0] not in (*_REPLACED, "namespace")}
        return Config(name, kept, command_line=self.options)

    def broker(self) -> Broker:
        """A broker of the run's store that writes down what is published."""
        cls = load("broker", "memory").cls
        broker: Broker = cls(None, make_options(cls.Options, {"address": self.store}))
        publish = broker.publish

        async def recorded(topic: str, message: Message, *, deadline: float, key: bytes | None = None) -> None:
            await publish(topic, message, deadline=deadline, key=key)
            self.published.append((topic, message))

        vars(broker)["publish"] = recorded
        self.brokers.append(broker)
        return broker

    @contextmanager
    def around(self, service: Service) -> Iterator[Service]:
        """The service as it runs here; afterwards it is what it was."""
        objects, config = service._objects, service._config
        kept = {kind: made for kind, made in objects.items() if kind not in _REPLACED}
        service._objects = {**kept, "broker": self.broker()}
        service._config = self.config(service._name, service._code)
        try:
            yield service
        finally:
            service._objects, service._config = objects, config


class _TestClient(Client):
    """A client of the run: as any other, apart from where its configuration comes from."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(broker=stage.broker())
        self._stage = stage

    async def __aenter__(self) -> Self:
        config = self._stage.config("", {})
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(Runtime(self, config, self._objects, ()))
            runtime.attach(self)
            stack.callback(self._detach)
            for lifespan in answers(runtime.extensions.hook.micro_lifespan, self):
                await stack.enter_async_context(lifespan)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.__aexit__(kind, error, trace)


@asynccontextmanager
async def run(
    *services: Service,
    fakes: Mapping[str, object] = MappingProxyType({}),
    options: Mapping[str, Any] = MappingProxyType({}),
    clock: bool = False,
) -> AsyncIterator[App]:
    """Runs services as they are, in memory, on stores of their own; the same objects may be run again and again.

    Args:
        services: under test; whatever they say of registry, transport, broker and namespace is not applied.
        fakes: by service name, a handler (an object or a class) that stands for the service: `{"mail": FakeMail()}`. It
            is served by the name of the class that it derives from, else by its own without a leading `Fake`, so that
            `FakeMail` answers `Mail.Send`. A mapping says the names: `{"mail": {"Mail": MyMail(), "Box": Box()}}`.
        options: by dotted key, over those in code: `{"client.request_timeout": 0.5}`.
        clock: `app.clock.advance(30)` moves time; see `micro.testing.Clock` for where that can be had.

    Raises:
        ConfigurationError: as `async with service`; also where a fake has the name of a service under test, or the
            event loop cannot be given a clock.
        RuntimeError: a service runs already.
    """
    names = [service._name for service in services]
    for name in fakes:
        if name in names:
            raise ConfigurationError(f"fakes={{{name!r}: …}}: {name!r} is a service under test itself")
    stage = Stage(options)
    stand_ins = [_stand_in(name, fake) for name, fake in fakes.items()]
    async with AsyncExitStack() as stack:
        moved = stack.enter_context(Clock.installed()) if clock else None
        for fake in stand_ins:
            await stack.enter_async_context(stack.enter_context(stage.around(fake)))
        client = await stack.enter_async_context(_TestClient(stage))
        for service in services:
            await stack.enter_async_context(stack.enter_context(stage.around(service)))
        yield App(client, (*services, *stand_ins), stage, moved)


def _stand_in(name: str, fake: object) -> Service:
    service = Service(name)
    handlers = fake if isinstance(fake, Mapping) else {_contract(fake): fake}
    for served, handler in handlers.items():
        service.handler(cast(Callable[..., Any], handler), name=served)
    return service


def _contract(fake: object) -> str:
    cls = fake if isinstance(fake, type) else type(fake)
    for base in cls.__mro__[1:]:
        if next(public_names(base), None) is not None:
            return base.__name__
    return cls.__name__.removeprefix(_FAKE) or cls.__name__
