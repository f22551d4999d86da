"""Routing by version, labels and predicates, from `where=` of a call through to the node that answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import micro
import pytest
from micro_core import Node, ServiceRecord

pytestmark = pytest.mark.anyio

NODES = {"a": ("1", "eu"), "b": ("1", "us"), "c": ("2", "eu"), "d": ("2", "us")}
"""Version and zone by the name that a node answers with."""


class Who:
    def __init__(self, me: str) -> None:
        self._me = me

    async def am(self, request: str) -> str:
        return self._me

    async def count(self, limit: int) -> AsyncIterator[str]:
        for _ in range(limit):
            yield self._me


@asynccontextmanager
async def four_nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[micro.Client]:
    for kind in ("REGISTRY", "TRANSPORT", "BROKER"):
        monkeypatch.setenv(f"MICRO_{kind}", "memory")
    async with AsyncExitStack() as opened:
        for name, (version, zone) in NODES.items():
            service = micro.Service("who", version=version, metadata={"zone": zone, "name": name})
            service.handler(Who(name))
            await opened.enter_async_context(service)
        client = await opened.enter_async_context(micro.Client())
        with anyio.fail_after(20):
            yield client


async def asked(client: micro.Client, calls: int = 40, **options: Any) -> Counter[str]:
    return Counter([await client.call("who", "Who.Am", "", str, **options) for _ in range(calls)])


async def test_without_a_filter_all_nodes_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_nodes(monkeypatch) as client:
        assert set(await asked(client)) == set("abcd")


async def test_a_version_is_called_alone_and_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_nodes(monkeypatch) as client:
        assert await asked(client, version="2") == {"c": 20, "d": 20}


async def test_labels_must_all_be_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_nodes(monkeypatch) as client:
        assert set(await asked(client, where={"zone": "eu"})) == {"a", "c"}
        assert set(await asked(client, where={"zone": "eu", "name": "c"})) == {"c"}


async def test_a_version_and_labels_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_nodes(monkeypatch) as client:
        assert set(await asked(client, version="1", where={"zone": "us"})) == {"b"}


async def test_a_predicate_sees_record_and_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(record: ServiceRecord, node: Node) -> bool:
        return record.version == "2" or node.metadata["name"] == "a"

    async with four_nodes(monkeypatch) as client:
        assert set(await asked(client, where=wanted)) == {"a", "c", "d"}


async def test_a_filter_that_no_node_passes_is_not_found_and_says_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with four_nodes(monkeypatch) as client:
        unmet: list[dict[str, Any]] = [
            {"version": "3"},
            {"where": {"zone": "mars"}},
            {"where": lambda record, node: False},
        ]
        for options in unmet:
            with pytest.raises(micro.errors.ServiceNotFound, match="who"):
                await client.call("who", "Who.Am", "", str, timeout=0.3, **options)


async def test_a_stream_takes_the_same_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_nodes(monkeypatch) as client:
        for _ in range(4):
            async with client.stream("who", "Who.Count", reply=str, version="2", where={"zone": "eu"}) as stream:
                await stream.send(2)
                await stream.end()
                assert [reply async for reply in stream] == ["c", "c"]


async def test_a_key_stays_within_its_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_SELECTOR", "rendezvous")
    async with four_nodes(monkeypatch) as client:
        homes = {
            key: await asked(client, 5, version="1", key=key) for key in ("ada", "bob", "cyd", "dan", "eve", "fay")
        }
        assert all(len(home) == 1 and set(home) <= {"a", "b"} for home in homes.values())


async def test_a_node_that_comes_is_called_and_one_that_leaves_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_nodes(monkeypatch) as client:
        late = micro.Service("who", version="2", metadata={"zone": "mars"})
        late.handler(Who("late"))
        async with late:
            assert set(await asked(client, 10, where={"zone": "mars"})) == {"late"}
        with pytest.raises(micro.errors.ServiceNotFound):
            await client.call("who", "Who.Am", "", str, timeout=0.3, where={"zone": "mars"})
