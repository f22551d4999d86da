"""What a person reads when a peer, or a variable, is wrong: one clear error; and what can be served is.

What keeps a service from starting at all is in test_refused_starts.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import micro
import pytest
from anyio.abc import SocketAttribute, SocketStream
from micro_conformance import eventually


@dataclass
class Greeting:
    name: str


class Say:
    def __init__(self) -> None:
        self.left = anyio.Event()

    async def hello(self, request: Greeting) -> Greeting:
        return request

    async def long(self, length: int) -> str:
        return "x" * length

    async def endless(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.left.set()


@pytest.fixture(autouse=True)
def memory_registry(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What runs in this process needs no multicast, and no two tests share a store."""
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    monkeypatch.setenv("MICRO_REGISTRY_MEMORY_ADDRESS", request.node.nodeid)


@asynccontextmanager
async def greeter(**options: object) -> AsyncIterator[tuple[micro.Service, micro.Client]]:
    """A service, and a client with the options; in the end the service still answers."""
    service = micro.Service("greeter")
    service.handler(Say())
    with anyio.fail_after(20):
        async with service, micro.Client(options=options) as client:
            yield service, client
            assert await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting) == Greeting("Ada")


@pytest.mark.anyio
async def test_a_variable_that_nobody_knows_is_told_once_and_the_service_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MICRO_SERVER_ADRESS", ":8080")
    async with greeter() as (_, client):
        assert await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting) == Greeting("Ada")
    told = [record.getMessage() for record in caplog.records if "ADRESS" in record.getMessage()]
    assert told == ["MICRO_SERVER_ADRESS in the environment is unknown; did you mean MICRO_SERVER_ADDRESS?"]


async def post(service: micro.Service, body: bytes, *, path: str = "/greeter/Say.Hello", type_: str) -> tuple[int, str]:
    """Status and detail of what curl would get."""
    host, port = service.address.split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {type_}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(head.encode() + body)
        reply = await stream.receive()
        while b"}" not in reply:
            reply += await stream.receive()
    line, _, text = reply.partition(b"\r\n")
    return int(line.split()[1]), json.loads(text[text.index(b"{") :])["detail"]


@pytest.mark.anyio
async def test_a_body_that_cannot_be_decoded_says_where_it_is_wrong() -> None:
    async with greeter() as (service, client):
        assert await post(service, b'{"name": 5}', type_="application/json") == (
            400,
            "the request of Say.Hello cannot be read as application/json: this is not the JSON of Greeting: "
            "name: Expected `str`, got `int`",
        )
        assert (await post(service, b'{"name"', type_="application/json"))[0] == 400
        with pytest.raises(
            micro.errors.BadRequest, match=r": name: Expected .* \(greeter Say\.Hello at greeter-.*answered"
        ):
            await client.call("greeter", "Say.Hello", {"name": 5}, Greeting)
        with pytest.raises(
            micro.errors.MicroError,
            match=r"Say.Hello from greeter-\S+ at 127\S+ \(application/json, 14 bytes\) cannot .*`str`",
        ):
            await client.call("greeter", "Say.Hello", Greeting("Ada"), dict[str, int])
        async with client.stream("greeter", "Say.Endless", str) as stream:
            await stream.send(None)
            with pytest.raises(
                micro.errors.DecodeError, match=r"a message of greeter Say.Endless from greeter-\S+ at 127"
            ):
                await stream.recv()


@pytest.mark.anyio
async def test_an_unknown_endpoint_says_which_there_are() -> None:
    said = "greeter has no endpoint 'Say.Helo'; known are Say.Endless, Say.Hello, Say.Long; did you mean 'Say.Hello'?"
    async with greeter() as (service, client):
        assert await post(service, b"{}", path="/greeter/Say.Helo", type_="application/json") == (404, said)
        with pytest.raises(micro.errors.NotFound) as caught:
            await client.call("greeter", "Say.Helo", Greeting("Ada"), Greeting)
        assert (caught.value.detail, caught.value.id, caught.value.attempts) == (said, "greeter", 1)


@pytest.mark.anyio
async def test_an_unknown_content_type_says_which_are_installed() -> None:
    said = "no codec for content type 'application/cbor' is installed; known are application/json, "
    async with greeter() as (service, client):
        status, detail = await post(service, b"{}", type_="application/cbor")
        assert status == 415
        assert detail.startswith(said)
        with pytest.raises(micro.errors.BadRequest, match=said) as caught:
            await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting, content_type="application/cbor")
        assert (caught.value.attempts, caught.value.outcome.value) == (0, "not_processed")


@pytest.mark.anyio
@pytest.mark.parametrize("transport", ["memory", "http"])
async def test_a_reply_that_is_too_large_says_how_large_it_may_be(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICRO_TRANSPORT", transport)
    async with greeter(**{"transport.message_limit": 1000}) as (_, client):
        with pytest.raises(micro.errors.BadGateway) as caught:
            await client.call("greeter", "Say.Long", 5000, str)
        assert "limit of 1000" in caught.value.detail
        assert "(option message_limit)" in caught.value.detail
        assert (caught.value.outcome.value, caught.value.attempts) == ("answered", 1)
        assert await client.call("greeter", "Say.Long", 500, str) == "x" * 500


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["2", timedelta(seconds=2)], ids=str)
async def test_a_timeout_that_is_no_number_is_told_by_its_name(given: Any) -> None:
    said = re.escape(f"timeout={given!r} is no number of seconds; write for example timeout=2.5")
    async with greeter() as (_, client):
        for options in ({"timeout": given}, {"timeout": given, "version": "2"}):
            with pytest.raises(TypeError, match=said):
                await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting, **options)
        with pytest.raises(TypeError, match=said):
            await client.call_response("greeter", "Say.Hello", Greeting("Ada"), Greeting, timeout=given)
        with pytest.raises(TypeError, match=said):
            await client.publish("greetings", Greeting("Ada"), timeout=given)
        with pytest.raises(TypeError, match=said):
            async with client.stream("greeter", "Say.Endless", int, timeout=given):
                raise AssertionError("it opened")
        say = client.proxy(Say, "greeter", timeout=given)
        with pytest.raises(TypeError, match=said):
            await say.hello(Greeting("Ada"))
        with pytest.raises(TypeError, match=said):
            await anext(aiter(say.endless()))


async def a_page(stream: SocketStream) -> None:
    """What a reverse proxy or a login page answers where a service was meant to be."""
    async with stream:
        await stream.receive()
        await stream.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 15\r\n\r\n<p>Sign in!</p>"
        )


@pytest.mark.anyio
async def test_a_reply_in_another_content_type_names_the_node_and_what_it_said() -> None:
    async with greeter() as (_, client), await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, a_page)
            with pytest.raises(micro.errors.DecodeError) as caught:
                await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting, address=address)
            tasks.cancel_scope.cancel()
        assert str(caught.value).startswith(
            f"the reply of greeter Say.Hello from {address} (text/html; charset=utf-8, 15 bytes) cannot be read as "
            "application/json: this is not the JSON of Greeting: "
        )


async def half_a_reply(stream: SocketStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"na')


@pytest.mark.anyio
async def test_a_server_that_closes_half_way_is_named_once_with_what_is_known_of_the_call() -> None:
    async with greeter() as (_, client), await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, half_a_reply)
            with pytest.raises(micro.errors.BadGateway) as caught:
                await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting, address=address)
            tasks.cancel_scope.cancel()
        assert caught.value.detail == f"{address} closed the connection before its reply was complete"
        assert (caught.value.outcome.value, caught.value.attempts) == ("unknown", 1)


@pytest.mark.anyio
async def test_a_caller_that_closes_half_way_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with greeter() as (service, _):
        host, port = service.address.split(":")
        for sent in (b"POST /greeter/Say.Hello HT", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", b""):
            async with await anyio.connect_tcp(host, int(port)) as stream:
                await stream.send(sent)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.anyio
async def test_a_caller_that_leaves_a_stream_in_the_middle_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    say = Say()
    service = micro.Service("streamer")
    service.handler(say)
    with anyio.fail_after(20):
        async with service:
            async with service.client.stream("streamer", "Say.Endless", int) as stream:
                await stream.send(None)
                assert await stream.recv() == 1
            await say.left.wait()
            assert await service.client.call("streamer", "Say.Hello", Greeting("Ada"), Greeting) == Greeting("Ada")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.anyio
@pytest.mark.parametrize("broker", ["memory", "http"])
async def test_an_event_that_cannot_be_decoded_is_told_in_a_line_and_the_next_one_arrives(
    broker: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MICRO_BROKER", broker)
    monkeypatch.setenv(f"MICRO_BROKER_{broker.upper()}_ATTEMPTS", "2")
    monkeypatch.setenv("MICRO_BROKER_MEMORY_ADDRESS", "bad-input")
    service = micro.Service("mailer")
    arrived = anyio.Event()

    @service.subscriber("greetings")
    async def on_greeting(event: Greeting) -> None:
        arrived.set()

    with anyio.fail_after(20):
        async with service:
            await service.client.publish("greetings", {"name": 5})
            await service.client.publish("greetings", b"\xff", content_type="application/octet-stream")
            await eventually(lambda: dead_letters(caplog) == 2, within=10)
            await service.client.publish("greetings", Greeting("Ada"))
            await arrived.wait()
    lines = [record.getMessage() for record in caplog.records if "attempt 1 of" in record.getMessage()]
    said = "an event on topic 'greetings' cannot be decoded for subscriber "
    assert sum(said in line and "(application/json, 10 bytes): this is not the JSON of" in line for line in lines)
    assert sum(said in line and "(application/octet-stream, 1 bytes): " in line for line in lines)
    assert [record for record in caplog.records if record.exc_info] == []


def dead_letters(caplog: pytest.LogCaptureFixture) -> int:
    """How many were reported as such, with their reason."""
    letters = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    return sum("'greetings'" in letter and "cannot be decoded" in letter for letter in letters)


@pytest.mark.anyio
async def test_without_a_network_interface_a_service_serves_by_address_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MICRO_REGISTRY", "mdns")
    monkeypatch.setenv("MICRO_REGISTRY_MDNS_INTERFACES", "203.0.113.7")  # an address of nobody's
    monkeypatch.setenv("MICRO_REGISTER_WAIT", "100ms")
    service = micro.Service("greeter", options={"stop.propagation": 0.0})
    service.handler(Say())
    with anyio.fail_after(20):
        async with service, micro.Client() as client:
            reply = await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting, address=service.address)
            assert reply == Greeting("Ada")
            with pytest.raises(micro.errors.ServiceNotFound, match="registry 'mdns' did not answer"):
                await client.call("greeter", "Say.Hello", Greeting("Ada"), Greeting, timeout=2)
    told = [record.getMessage() for record in caplog.records if record.name == "micro.service" and record.levelno > 20]
    assert len(told) == 1
    assert told[0].startswith("greeter is not registered with mdns (")
    assert "interface 203.0.113.7: " in told[0]
    assert "by MICRO_REGISTRY_MDNS_INTERFACES" in told[0]
