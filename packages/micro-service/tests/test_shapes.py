"""Handlers are read from annotations, and what cannot be served says what to write."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import micro
import pytest
from micro.handlers import handlers_of
from micro.naming import go_name
from micro.shapes import Shape, methods_of
from micro_core import ConfigurationError, Value

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Request:
    name: str


class Base:
    async def inherited(self) -> str:
        return ""


def traced(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any) -> Any:
        return method(*arguments)

    return call


class Say(Base):
    attribute = 5

    async def hello(self, request: Request) -> str:
        return request.name

    def say_hello(self, request: Request) -> str:
        return request.name

    def count(self, request: int) -> AsyncIterator[int]:
        raise AssertionError

    async def generate(self, request: int) -> AsyncGenerator[int, None]:
        yield request

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return 0

    def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[int]:
        raise AssertionError

    @micro.endpoint("Find", idempotent=True, metadata={"a": "b"})
    async def look_up(self, request: Request, limit: int = 5) -> list[Request]:
        return []

    @traced
    async def decorated(self, request: Request) -> str:
        return ""

    @staticmethod
    async def fixed(request: Request) -> str:
        return ""

    def _private(self) -> None: ...

    @property
    def prop(self) -> int:
        raise AssertionError("never read")


def test_public_methods_of_the_class_and_its_bases_are_endpoints() -> None:
    found = {method.attribute: method for method in methods_of(Say)}
    assert list(found) == [
        "inherited", "hello", "say_hello", "count", "generate", "total", "chat", "look_up", "decorated", "fixed",
    ]  # fmt: skip
    assert found["inherited"].request_type is None
    assert found["say_hello"].endpoint == "SayHello"
    assert found["say_hello"].threaded
    assert not found["decorated"].threaded


@pytest.mark.parametrize(
    ("name", "shape", "request_type", "reply_type"),
    [
        ("hello", Shape.UNARY, Request, str),
        ("say_hello", Shape.UNARY, Request, str),
        ("count", Shape.SERVER_STREAMING, int, int),
        ("generate", Shape.SERVER_STREAMING, int, int),
        ("total", Shape.CLIENT_STREAMING, int, int),
        ("chat", Shape.BIDIRECTIONAL, str, int),
        ("look_up", Shape.UNARY, Request, list[Request]),
    ],
)
def test_the_shape_is_read_from_the_annotations(name: str, shape: Shape, request_type: Any, reply_type: Any) -> None:
    method = next(method for method in methods_of(Say) if method.attribute == name)
    assert (method.shape, method.request_type, method.reply_type) == (shape, request_type, reply_type)


def test_endpoints_say_what_they_are() -> None:
    endpoints = {handler.endpoint.name: handler.endpoint for handler in handlers_of(Say, "Greeter")}
    assert endpoints["Greeter.Find"].metadata == {"a": "b", "idempotent": "true"}
    streams = {name: endpoint for name, endpoint in endpoints.items() if "stream" in endpoint.metadata}
    assert {name: dict(endpoint.metadata) for name, endpoint in streams.items()} == {
        "Greeter.Count": {"stream": "true", "micro-py-stream": "server"},
        "Greeter.Generate": {"stream": "true", "micro-py-stream": "server"},
        "Greeter.Total": {"stream": "true", "micro-py-stream": "client"},
        "Greeter.Chat": {"stream": "true", "micro-py-stream": "both"},
    }
    shapes = {(endpoint.request, endpoint.response) for endpoint in streams.values()}
    assert shapes == {(Value("Context", "Context"), Value("Stream", "Stream"))}
    assert endpoints["Greeter.Hello"].request == Value("Request", "Request", (Value("name", "string"),))


class Contract(ABC):
    @abstractmethod
    @micro.endpoint("Users.Find", idempotent=True)
    async def find(self, request: Request) -> str: ...

    @micro.endpoint("Users.Rename")
    async def rename(self, request: Request) -> str:
        return ""


class Users(Contract):
    async def find(self, request: Request) -> str:
        return ""

    @micro.endpoint("People.Rename")
    async def rename(self, request: Request) -> str:
        return ""


class Admins(Users):
    async def find(self, request: Request) -> str:
        return ""


def test_what_a_contract_says_of_a_method_holds_for_whoever_implements_it() -> None:
    for cls in (Users, Admins):
        endpoints = {handler.endpoint.name: handler.endpoint for handler in handlers_of(cls)}
        assert list(endpoints) == ["Users.Find", "People.Rename"]
        assert endpoints["Users.Find"].metadata == {"idempotent": "true"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hello", "Hello"), ("say_hello", "SayHello"), ("Hello", "Hello"), ("get_v2", "GetV2"), ("print_", "Print")],
)
def test_names_are_go_micros(name: str, expected: str) -> None:
    assert go_name(name) == expected


class NoReturn:
    async def hello(self, request: Request):  # type: ignore[no-untyped-def]  # what the test is about
        return None


class NoRequest:
    async def hello(self, request) -> str:  # type: ignore[no-untyped-def]  # what the test is about
        return ""


class Two:
    async def hello(self, first: int, second: int) -> str:
        return ""


class Unresolved:
    async def hello(self, request: Decimal) -> str:
        return ""


class PlainIterator:
    def hello(self, request: int) -> Iterator[int]:
        yield request


class Awaited:
    async def hello(self, request: int) -> AsyncIterator[int]:
        raise AssertionError


class SyncTotal:
    def hello(self, numbers: AsyncIterator[int]) -> int:
        return 0


class BareStream:
    def hello(self, numbers: AsyncIterator) -> AsyncIterator[int]:  # type: ignore[type-arg]  # what the test is about
        raise AssertionError


class Arguments:
    def __init__(self, database: object) -> None: ...


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (
            NoReturn,
            r"NoReturn.hello has no return annotation; write `async def hello\(self, request: Req",
        ),
        (NoRequest, r"NoRequest.hello: 'request' has no annotation; write `async def hello"),
        (Two, r"Two.hello takes \(first, second\); an endpoint takes one request: put them into one dataclass"),
        (Unresolved, r"Unresolved.hello: the annotation 'Decimal' cannot be found in module .*TYPE_CHECKING"),
        (PlainIterator, r"PlainIterator.hello returns a plain iterator; write an async generator"),
        (Awaited, r"Awaited.hello is a coroutine that returns an iterator"),
        (SyncTotal, r"SyncTotal.hello takes a stream, so it must be async"),
        (BareStream, r"BareStream.hello: say what the stream holds, as AsyncIterator\[Item\]"),
        (Arguments, r"Arguments needs arguments to be made; hand over an instance: service.handler\(Arguments\(…\)\)"),
    ],
)
def test_what_cannot_be_served_says_what_to_write(handler: type[Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        handlers_of(handler)
