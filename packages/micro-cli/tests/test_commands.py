"""Every command against two nodes of a service, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Micro = Callable[..., Any]
Started = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("greeters")


def values(ended: Any) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out]


def test_list_shows_a_row_per_service(micro_: Micro) -> None:
    head, row = micro_("list").out
    assert head.split() == ["SERVICE", "VERSION", "NODES", "ENDPOINTS"]
    assert row.split(maxsplit=3) == ["greeter", "latest", "2", "Say.Fail, Say.Hello, Say.Up, Say.Who"]


def test_get_shows_nodes_and_endpoints(micro_: Micro) -> None:
    out = micro_("get", "greeter").out
    assert "zone=a" in "\n".join(out)
    assert [line.split() for line in out[-9:]] == [
        ["TYPE", "FIELD", "HOLDS", "DEFAULT"],
        ["Address", "city", "str", "required"],
        ["HelloReply", "text", "str", "required"],
        ["process", "int", "required"],
        ["HelloRequest", "name", "str", "required"],
        ["times", "int", "1"],
        ["tags", "list[str]", "[]"],
        ["address", "Address", "|", "None", "-"],
        ["at", "datetime", "|", "None", "-"],
    ]
    endpoints = [line.split(maxsplit=2) for line in out if line.startswith("Say.")]
    assert endpoints == [
        ["Say.Fail", "str", "int"], ["Say.Hello", "HelloRequest", "HelloReply"],
        ["Say.Up", "stream", "of str  stream of str"], ["Say.Who", "str", "str"],
    ]  # fmt: skip
    assert not [line for line in out if "micro-py-schema" in line]


def test_call_reads_arguments_by_the_schema(micro_: Micro, greeters: list[int]) -> None:
    (reply,) = values(micro_("call", "greeter", "Say.Hello", "name=4711", "times=2", "tags=x", "tags=y"))
    assert reply["text"] == "Hello 4711Hello 4711xy"
    assert reply["process"] in greeters


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(["--json", '{"name": "Ada"}'], None), (["--json", "-"], '{"name": "Ada"}'), (['name:="Ada"'], None)],
)
def test_call_takes_json(micro_: Micro, arguments: list[str], stdin: str | None) -> None:
    (reply,) = values(micro_("call", "greeter", "Say.Hello", *arguments, stdin=stdin))
    assert reply["text"] == "Hello Ada"


def test_call_reads_inner_fields(micro_: Micro) -> None:
    (reply,) = values(micro_("call", "greeter", "Say.Hello", "name=x", "address.city=Rome", "at=2030-01-31T12:00:00Z"))
    assert reply["text"] == "Hello x of Rome"


def test_call_sends_what_is_wrong_when_it_is_told_to(micro_: Micro) -> None:
    ended = micro_("call", "greeter", "Say.Hello", "nam=x", "--no-check")
    assert ended.code == 1
    assert "missing required field `name`" in ended.err[0]
    assert values(micro_("call", "greeter", "Say.Hello", "name=x", "nam=y", "--no-check"))[0]["text"] == "Hello x"
    ended = micro_("stream", "greeter", "Say.Up", "--json", "5", "--no-check")
    assert ended.code == 1
    assert "Expected `str`, got `int`" in ended.err[0]


def test_call_reads_a_pipe(start: Started) -> None:
    out, _ = start("call", "greeter", "Say.Hello").communicate('{"name": "pipe"}', timeout=10)
    assert json.loads(out)["text"] == "Hello pipe"


def test_call_sends_a_bare_value_where_the_schema_has_one(micro_: Micro) -> None:
    assert micro_("call", "greeter", "Say.Who", "a=b").out == ['"a=b"']


def test_call_tells_node_and_time_when_asked(micro_: Micro) -> None:
    ended = micro_("call", "greeter", "Say.Who", "me", "-v")
    assert ended.out == ['"me"']
    (line,) = ended.err
    assert line.startswith("greeter-")
    assert line.endswith(" ms, 1 attempt")


def test_call_goes_where_it_is_sent(micro_: Micro, greeters: list[int]) -> None:
    for zone, process in zip("ab", greeters, strict=True):
        (reply,) = values(micro_("call", "greeter", "Say.Hello", "name=x", "--where", f"zone={zone}"))
        assert reply["process"] == process


def test_call_each_asks_every_node_once(micro_: Micro, greeters: list[int]) -> None:
    asked = values(micro_("call", "greeter", "Say.Hello", "name=x", "--each", "--output", "json"))
    assert sorted(each["reply"]["process"] for each in asked) == sorted(greeters)
    assert len(micro_("call", "greeter", "Say.Hello", "name=x", "--each").out) == 2


def test_an_answered_error_is_exit_code_1(micro_: Micro) -> None:
    ended = micro_("call", "greeter", "Say.Fail", "x")
    assert ended.code == 1
    (line,) = ended.err
    assert line.startswith("error: 409 Conflict: no such luck (greeter Say.Fail at greeter-")
    assert micro_("call", "greeter", "Say.Fail", "x", "--each").code == 1


def test_stream_sends_lines_and_prints_what_comes(micro_: Micro) -> None:
    assert micro_("stream", "greeter", "Say.Up", stdin='"a"\n\n"b"\n').out == ['"A"', '"B"']
    assert micro_("stream", "greeter", "Say.Up", "c").out == ['"C"']


def test_health_and_stats_have_a_row_per_node(micro_: Micro) -> None:
    head, *rows = micro_("health", "greeter").out
    assert head.split() == ["SERVICE", "NODE", "ADDRESS", "TIME", "STATUS"]
    assert [row.split()[-1] for row in rows] == ["ok", "ok"]
    figures = values(micro_("stats", "--json"))
    assert [each["reply"]["threads"] for each in figures] == [1, 1]
    assert "MiB" in micro_("stats").out[1]


def test_what_is_published_is_printed_by_who_subscribed(micro_: Micro, start: Started, line_with: Any) -> None:
    subscriber = start("subscribe", "users", "--count", "1", "--json")
    assert subscriber.stderr is not None
    assert subscriber.stderr.readline() == "subscribed to users\n"
    assert micro_("publish", "users", "name=Ada", "age=3", "-m", "who=me").code == 0
    event = json.loads(line_with(subscriber, "topic"))
    assert event["body"] == {"name": "Ada", "age": 3}
    assert event["head"]["who"] == "me"
    assert subscriber.wait(10) == 0


def test_list_watch_has_a_line_for_what_is_there_and_for_what_comes(start: Started, line_with: Any) -> None:
    watching = start("list", "--watch")
    assert line_with(watching, "greeter").startswith("+ greeter latest  greeter-")


def test_doctor_finds_a_working_host_well(micro_: Micro) -> None:
    ended = micro_("doctor", "--json")
    found = values(ended)
    assert {each["level"] for each in found} == {"ok", "warning"}, found
    texts = "\n".join(each["text"] for each in found)
    for sentence in (
        "mdns, by default: micro-registry-mdns", "multicast works on 127.0.0.1", "a registration made here came back",
        "can be dialled", "a call by name was answered", "an event came back",
    ):  # fmt: skip
        assert sentence in texts


def test_doctor_leaves_nothing_behind(micro_: Micro) -> None:
    assert micro_("doctor").code == 0
    assert not [line for line in micro_("list").out if "doctor" in line]
