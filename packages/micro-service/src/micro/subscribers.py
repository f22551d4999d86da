"""From a function with an annotated event to what a broker is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, get_type_hints

from micro_core import (
    Call,
    Capability,
    Codecs,
    ConfigurationError,
    Decode,
    DecodeError,
    Endpoint,
    Event,
    EventHandler,
    Head,
    SubscribeOptions,
    SubscriberMiddleware,
    UnsupportedContentType,
    UnsupportedType,
)
from micro_core.codec import JSON, bare, content_type_of

from micro.context import current
from micro.middleware import chain_events
from micro.naming import go_name
from micro.outgoing import lower, reserved
from micro.schema import value_of
from micro.words import check_function


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A function that was subscribed to a topic."""

    topic: str
    function: Callable[..., Any]
    options: SubscribeOptions

    @property
    def where(self) -> str:
        """The function's name, for people."""
        return getattr(self.function, "__qualname__", repr(self.function))

    @property
    def name(self) -> str:
        """As it is registered: `OnUserCreated`, or `Type.Method`."""
        name = go_name(getattr(self.function, "__name__", type(self.function).__name__))
        bound = getattr(self.function, "__self__", None)
        return name if bound is None else f"{type(bound).__name__}.{name}"

    @property
    def endpoint(self) -> Endpoint:
        """Its entry in the service's record (WIRE §9). Raises what `event_type` raises."""
        event_type = self.event_type()
        shape = None if event_type is Event else value_of(event_type)
        return Endpoint(self.name, shape, metadata={"topic": self.topic, "subscriber": "true"})

    def event_type(self) -> Any:
        """The annotation of the event. Raises ConfigurationError where there is none, or not one parameter."""
        example = f"write `async def {getattr(self.function, '__name__', 'on_event')}(event: UserCreated) -> None`"
        try:
            parameters = list(inspect.signature(self.function).parameters.values())
            hints = get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise ConfigurationError(
                f"subscriber {self.where}: the annotation {error.name!r} cannot be found in module "
                f"{self.function.__module__}; define or import it there, outside of functions"
            ) from None
        required = [each for each in parameters if each.default is each.empty] or parameters
        if len(required) != 1 or required[0].name not in hints:
            raise ConfigurationError(f"subscriber {self.where} must take one annotated event; {example}")
        return hints[required[0].name]


def check_topic(topic: object) -> None:
    """Raises ConfigurationError for none, as where the decorator was not called."""
    if not isinstance(topic, str):
        raise ConfigurationError(
            f'a subscriber needs a topic, not {topic!r}; write `@service.subscriber("users.created")`'
        )


def check_subscriber(function: object, concurrency: object, requires: object) -> None:
    """Raises ConfigurationError for what no broker takes."""
    check_function(
        function, "a subscriber is a function of one event", "async def on_event(event: UserCreated) -> None"
    )
    if not isinstance(concurrency, int):
        raise ConfigurationError(f"concurrency={concurrency!r} is no whole number; write concurrency=2")
    if not isinstance(requires, AbstractSet) or not all(isinstance(each, Capability) for each in requires):
        raise ConfigurationError(
            f"requires={requires!r} is no set of capabilities; write requires={{micro.Capability.DURABLE}}"
        )


def event_handler(
    subscriber: Subscriber, service: str, codecs: Codecs, middleware: Sequence[SubscriberMiddleware]
) -> EventHandler:
    """Decodes an event to the annotated type and calls the function, inside the middleware.

    A function that takes `micro.Event` is given it undecoded. An event that cannot be decoded is a failure as any
    other: it is redelivered and finally dead-lettered, as the broker promises, with an error that says what was wrong.

    Raises:
        ConfigurationError: the function cannot be subscribed.
    """
    event_type = subscriber.event_type()
    if event_type is not Event:
        _check_type(codecs, event_type, subscriber)
    decode = _Decoders(codecs, event_type, subscriber) if event_type is not Event else None
    call = _invoker(subscriber.function)

    async def handle(event: Event) -> None:
        current.set(_call_of(event, service, subscriber.name))
        await call(event if decode is None else decode(event))

    if not middleware:
        return handle
    inner = chain_events(middleware, handle)

    async def entered(event: Event) -> None:
        current.set(_call_of(event, service, subscriber.name))
        await inner(event)

    return entered


def _invoker(function: Callable[..., Any]) -> Callable[[Any], Any]:
    called = function if inspect.isroutine(function) else type(function).__call__
    if inspect.iscoroutinefunction(inspect.unwrap(called)):
        return function

    from anyio import to_thread

    async def threaded(event: Any) -> None:
        await to_thread.run_sync(function, event)

    return threaded


def _check_type(codecs: Codecs, event_type: Any, subscriber: Subscriber) -> None:
    """Raises ConfigurationError for an event that no installed codec can decode, as a server does for a request."""
    reasons: list[str] = []
    for content_type in sorted(codecs.content_types, key=lambda name: (name != JSON, name)):
        try:
            codecs(content_type).decoder(event_type)
        except (UnsupportedType, ConfigurationError) as error:
            reasons.append(str(error))
        else:
            return
    why = "; ".join(reasons) or "no codec is installed, micro-codec-json would be one"
    raise ConfigurationError(f"subscriber {subscriber.where}: no installed codec carries its event: {why}")


class _Decoders:
    """The decoders of one event type, by content type."""

    def __init__(self, codecs: Codecs, type_: Any, subscriber: Subscriber) -> None:
        self._codecs = codecs
        self._type = type_
        self._subscriber = subscriber
        self._decoders: dict[str, Decode] = {}

    def __call__(self, event: Event) -> Any:
        content_type = bare(event.message.head.get("content-type", "")) or content_type_of(self._type)
        try:
            return self._decoder(content_type)(event.message.body)
        except (DecodeError, UnsupportedContentType, UnsupportedType) as error:
            raise DecodeError(
                f"an event on topic {event.topic!r} cannot be decoded for subscriber {self._subscriber.where} "
                f"({content_type}, {len(event.message.body)} bytes): {error}"
            ) from None

    def _decoder(self, content_type: str) -> Decode:
        decode = self._decoders.get(content_type)
        if decode is None:
            decode = self._decoders[content_type] = self._codecs(content_type).decoder(self._type)
        return decode


def _call_of(event: Event, service: str, name: str) -> Call:
    head = event.message.head
    return Call(service, name, metadata=user_metadata(head), caller=head.get("micro-from-service", ""))


def user_metadata(head: Head) -> dict[str, str]:
    """What of an event's head belongs to users."""
    return {key: value for key, value in lower(head).items() if not reserved(key)}
