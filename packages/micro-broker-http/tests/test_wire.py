"""Bytes captured from Go Micro v4.11.0, and hostile ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_broker_http.intake import Intake
from micro_broker_http.wire import BadEvent, decode_event, encode_event, posted_id, request_path, seconds
from micro_core import Event, Message, Peer, Registry, SubscribeOptions, UnaryCall

VECTORS = Path(__file__).parent / "vectors"


def captured(pattern: str) -> Iterator[Any]:
    for path in sorted(VECTORS.glob(pattern)):
        for connection in json.loads(path.read_text())["connections"]:
            steps = [step for step in connection["steps"] if "text" in step]
            for ask, answer in zip(steps[::2], steps[1::2], strict=True):
                yield pytest.param(ask["text"], answer["text"], id=path.stem)


def split(text: str) -> tuple[str, dict[str, str], str]:
    head, _, body = text.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return first, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


@pytest.mark.anyio
@pytest.mark.parametrize(("ask", "answer"), [*captured("broker-raw-*.json"), *captured("broker-publish-*.json")])
async def test_every_post_of_go_is_answered_as_go_answers(
    make: Any, tools: Any, registry: Registry, ask: str, answer: str
) -> None:
    inbox = tools.Inbox()
    first, _, body = split(ask)
    method, target, _ = first.split(" ")
    async with make() as broker:
        await broker.subscribe("events", inbox, SubscribeOptions())
        (node_id,) = broker.subscriptions
        known = target.replace(posted_id(target), node_id) if "id=events-" in target else target
        raw = f"{method} {known} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        raw += f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}"
        status, reply_head, reply = split(await exchange(broker, raw.encode()))
        expected_status, expected_head, expected = split(answer)
        assert status.split()[1] == expected_status.split()[1]
        if "Error parsing" in expected:
            assert {**json.loads(reply), "detail": ""} == {**json.loads(expected), "detail": ""}
        else:
            assert reply.strip() == expected.strip()
        assert reply_head.get("content-type") == expected_head.get("content-type")
        delivered = expected_status.split()[1] == "200" and '"Micro-Topic"' in body and "nobody" not in body
        if delivered and "id=events-" in target:
            await tools.until(lambda: inbox.ended == 1)
            assert inbox.events[0].message.body == base64.b64decode(
                json.loads(body.replace('"body"', '"Body"'))["Body"] or ""
            )
            assert inbox.events[0].message.head["content-type"].startswith("application/")
        else:
            assert inbox.events == []


async def exchange(broker: Any, raw: bytes) -> str:
    host, _, port = broker._listener.address.rpartition(":")
    stream = await anyio.connect_tcp(host, int(port))
    async with stream:
        await stream.send(raw)
        received = b""
        with anyio.fail_after(5):
            try:
                while True:
                    received += await stream.receive()
            except anyio.EndOfStream:
                return received.decode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "500"),
        (b"[]", "500"),
        (b"null", "500"),
        (b'{"Header": [], "Body": ""}', "500"),
        (b'{"Header": {"Micro-Topic": 1}, "Body": ""}', "500"),
        (b'{"Header": {"Micro-Topic": "a\\nb"}, "Body": ""}', "500"),
        (b'{"Header": {"Micro-Topic": "t"}, "Body": "?"}', "500"),
        (b'{"Header": {"Micro-Topic": "t"}, "Body": "YQ"}', "500"),
        (b'{"Header": {"Micro-Topic": "t"}, "Body": {}}', "500"),
        (b'{"Header": {"Micro-Topic": "\xff"}, "Body": ""}', "500"),
        (b"[" * 100_000, "500"),
        (b'{"Header":' + b'{"a":' * 100_000, "500"),
        (b'{"Header": {"Micro-Topic": "t"}, "Body": "' + base64.b64encode(b"x" * 101) + b'"}', "413"),
        (b'{"Header": {"Micro-Topic": "t", "a": "' + b"x" * 20_000 + b'"}, "Body": ""}', "413"),
        (json.dumps({"Header": {str(n): "" for n in range(101)}, "Body": ""}).encode(), "413"),
    ],
)
def test_what_is_no_event_is_refused_with_the_error_of_go(body: bytes, status: str) -> None:
    with pytest.raises(BadEvent) as caught:
        decode_event(body, 100)
    reply = caught.value.reply
    assert reply.head[":status"] == status
    assert json.loads(reply.body)["id"] == "go.micro.broker"


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    try:
        decode_event(body, 100)
    except BadEvent:
        return


def test_control_characters_of_a_peer_go_no_further() -> None:
    body = json.dumps({"Header": {"Micro-Topic": "t", "A": "b\r\nc\u0000", "D\n": "e"}, "Body": ""}).encode()
    assert decode_event(body, 100).head == {"micro-topic": "t", "a": "b  c "}


@settings(deadline=None)
@given(
    st.dictionaries(st.text("abc-", min_size=1), st.text(st.characters(exclude_categories=["C"])), max_size=5),
    st.binary(),
)
def test_what_is_encoded_is_decoded(head: dict[str, str], body: bytes) -> None:
    message = Message({**head, "micro-topic": "t"}, body)
    again = decode_event(encode_event(message), 1000)
    assert (again.head, again.body) == (message.head, body)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_node_id_survives_the_path(name: str) -> None:
    assert posted_id(request_path(name)) == name


@pytest.mark.parametrize("path", ["/", "/?", "/?x=1", "/?id", "?" + "&" * 1000, "/?id=%ff%00", ""])
def test_odd_paths_name_nobody_known(path: str) -> None:
    assert posted_id(path) in ("", "\ufffd\x00")


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "1e9"])
def test_seconds_without_sense_are_none(text: str) -> None:
    assert seconds({"micro-wait": text}, "micro-wait") is None


def test_limits_are_exact() -> None:
    for size, fits in ((99, True), (100, True), (101, False)):
        body = json.dumps({"Header": {"Micro-Topic": "t"}, "Body": base64.b64encode(b"x" * size).decode()}).encode()
        if fits:
            assert len(decode_event(body, 100).body) == size
        else:
            with pytest.raises(BadEvent, match="limit of 100"):
                decode_event(body, 100)


def test_another_method_than_post_is_refused_by_its_head(stranger: Peer) -> None:
    answer = Intake({}, 100).accept({":method": "PUT"}, stranger)
    assert isinstance(answer, Message)
    assert answer.head[":status"] == "405"


@pytest.mark.anyio
async def test_an_unknown_subscription_is_told_to_our_own_alone(stranger: Peer) -> None:
    intake = Intake({}, 100)
    body = encode_event(Message({"micro-topic": "t"}))
    for head, status in (({}, "200"), ({"micro-py": "1"}, "404")):
        call = intake.accept({":method": "POST", ":path": "/?id=x", **head}, stranger)
        assert isinstance(call, UnaryCall)
        reply = await call.run(body)
        assert reply is not None
        assert reply.head[":status"] == status


@pytest.mark.anyio
async def test_events_of_go_are_redelivered_here(make: Any, tools: Any) -> None:
    async def third_time(event: Event) -> None:
        if event.attempt < 3:
            raise RuntimeError("not yet")

    inbox = tools.Inbox(third_time)
    async with make(backoff=0.001) as broker:
        await broker.subscribe("events", inbox, SubscribeOptions())
        (node_id,) = broker.subscriptions
        body = encode_event(Message({"micro-topic": "events", "micro-id": "1"}, b"x")).decode()
        raw = f"POST {request_path(node_id)} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
        raw += f"Connection: close\r\n\r\n{body}"
        for _ in range(2):
            assert (await exchange(broker, raw.encode())).startswith("HTTP/1.1 200 ")
        await tools.until(lambda: inbox.ended)
    assert [event.attempt for event in inbox.events] == [1, 2, 3]
