"""An agent that is killed, hung, restarted with nothing, answers nonsense, or refuses the token."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from consul_agent import Agent, running, with_acl
from micro_conformance.polling import eventually
from micro_core import Node, NotRegistered, RegistryUnavailable, Secret, ServiceRecord, Snapshot
from micro_registry_consul import ConsulRegistry
from scripted import Asked, Script, Scripted, answer

pytestmark = pytest.mark.anyio
TWO = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
StartScripted = Callable[[Script], Scripted]


def registry_at(*addresses: str, **options: Any) -> ConsulRegistry:
    return ConsulRegistry(ConsulRegistry.Options(address=addresses, **options))


def record(*ids: str, name: str = "greeter") -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(id, f"127.0.0.1:{9000 + at}") for at, id in enumerate(ids)))


def ids(snapshot: Snapshot) -> set[str]:
    return {node.id for service in snapshot.services for node in service.nodes}


async def until(
    snapshots: AsyncIterator[Snapshot], wanted: Callable[[Snapshot], bool], within: float = 5.0
) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if wanted(snapshot):
                return snapshot
    raise AssertionError("the watch ended")


def entries(*ids: str) -> list[Any]:
    return [
        {
            "Node": {"Address": "127.0.0.1"},
            "Service": {"ID": id, "Service": "greeter", "Tags": ["v=1"], "Address": "127.0.0.1", "Port": 9000 + at},
            "Checks": [],
        }
        for at, id in enumerate(ids)
    ]


@TWO
async def test_after_a_kill_it_goes_on_with_what_is_known_and_registers_again_within_5_s(
    own_agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async with registry_at(own_agent.address) as one, registry_at(own_agent.address) as other:
        await one.register(record("a"), ttl=90)
        await one.register(record("b", name="other"), ttl=0)
        async with other.watch("greeter") as snapshots:
            await until(snapshots, lambda seen: ids(seen) == {"a"})
            own_agent.kill()
            stale = await until(snapshots, lambda seen: seen.stale_since is not None)
            assert ids(stale) == {"a"}
            with pytest.raises(RegistryUnavailable, match=own_agent.address):
                await other.get_service("greeter")
            await anyio.to_thread.run_sync(own_agent.start)
            back = time.monotonic()
            last = await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"})
            assert last.departed == frozenset()
            await eventually(lambda: reads(other, record("b", name="other")), within=3)
            assert time.monotonic() - back < 5
    assert 1 <= sum("going on with what is known" in entry.message for entry in caplog.records) <= 2


@TWO
async def test_a_hung_agent_is_noticed_and_believed_again(own_agent: Agent) -> None:
    async with (
        registry_at(own_agent.address, wait=1.0, timeout=0.5) as registry,
        registry.watch("greeter") as snapshots,
    ):
        await registry.register(record("a"), ttl=90)
        await until(snapshots, lambda seen: ids(seen) == {"a"})
        own_agent.signal(signal.SIGSTOP)
        try:
            stale = await until(snapshots, lambda seen: seen.stale_since is not None)
            assert ids(stale) == {"a"}
            began = time.monotonic()
            with pytest.raises(RegistryUnavailable, match=r"does not answer"):
                await registry.get_service("greeter")
            assert time.monotonic() - began < 1.8
        finally:
            own_agent.signal(signal.SIGCONT)
        await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"})


@TWO
async def test_a_crashed_process_is_left_out_after_its_liveness(own_agent: Agent) -> None:
    own_agent.warm()
    async with registry_at(own_agent.address) as other, other.watch("greeter") as snapshots:
        async with registry_at(own_agent.address, liveness=0.9) as registry:
            await registry.register(record("a"), ttl=90)
            await until(snapshots, lambda seen: ids(seen) == {"a"})
            with anyio.move_on_after(2) as scope:  # kept alive by beats
                await until(snapshots, lambda seen: not ids(seen))
            assert scope.cancelled_caught
        gone = await until(snapshots, lambda seen: not ids(seen), within=5)
        assert gone.departed == frozenset()


@TWO
async def test_answers_of_500_cost_one_request_a_second_however_many_watch(
    scripted: StartScripted, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted(lambda asked: answer(entries("a")) if not asked.index else (500, {}, b"No cluster leader"))
    async with registry_at(server.address) as registry, anyio.create_task_group() as group:
        for name in ("greeter", "one", "two", "three"):
            group.start_soon(follow, registry, name)
        await eventually(lambda: len(server.asked) >= 8, within=3)
        await anyio.sleep(3)
        assert server.count(2.5) <= 3
        group.cancel_scope.cancel()
    assert sum("No cluster leader" in entry.message for entry in caplog.records) == 1


async def follow(registry: ConsulRegistry, name: str) -> None:
    async with registry.watch(name) as snapshots:
        async for _ in snapshots:
            pass


@TWO
async def test_an_agent_that_is_not_there_is_asked_once_a_second(scripted: StartScripted) -> None:
    def hang_up(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        raise ConnectionResetError

    server = scripted(hang_up)
    async with registry_at(server.address) as registry, anyio.create_task_group() as group:
        for name in ("greeter", "one", "two"):
            group.start_soon(follow, registry, name)
        group.start_soon(register_for_ever, registry)
        await anyio.sleep(1)
        before = len(server.asked)
        await anyio.sleep(2.6)
        assert 1 <= len(server.asked) - before <= 3
        group.cancel_scope.cancel()


async def register_for_ever(registry: ConsulRegistry) -> None:
    while True:
        with pytest.raises(RegistryUnavailable):
            await registry.register(record("a"), ttl=90)
        await anyio.sleep(0.05)


@TWO
@pytest.mark.parametrize("grows", [False, True], ids=["index stands still", "index grows"])
async def test_a_server_that_spins_is_asked_once_a_second(scripted: StartScripted, grows: bool) -> None:
    server = scripted(lambda asked: answer(entries("a"), asked.index + 1 if grows else 7))
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, lambda seen: ids(seen) == {"a"})
        await anyio.sleep(0.5)
        before = len(server.asked)
        await anyio.sleep(2.6)
        assert len(server.asked) - before <= 3
    assert len(server.asked) <= (15 if grows else 5)


@TWO
async def test_an_index_that_goes_backwards_starts_anew_and_none_is_below_1(scripted: StartScripted) -> None:
    indices = iter([50, 60, 20, 20])

    def script(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        index = next(indices, 0)
        if not index:
            time.sleep(5)
        return answer(entries(f"a{index}"), index)

    server = scripted(script)
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, lambda seen: ids(seen) == {"a20"})
        await eventually(lambda: len(server.asked) == 5, within=3)
    assert [asked.index for asked in server.asked] == [0, 50, 60, 0, 20]
    zero = scripted(lambda asked: answer(entries("a"), 0))
    async with registry_at(zero.address) as registry, registry.watch("greeter"):
        await eventually(lambda: len(zero.asked) == 2, within=3)
    assert zero.asked[1].index == 1


@TWO
async def test_an_empty_list_is_no_goodbye(scripted: StartScripted) -> None:
    server = scripted(lambda asked: answer([] if len(server.asked) > 1 else entries("a"), len(server.asked)))
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        empty = await until(snapshots, lambda seen: not ids(seen))
        assert empty == Snapshot(())


@pytest.mark.parametrize(
    "nonsense",
    [
        (200, {}, b"<html>"),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"not": "a list"}'),
        (404, {}, b""),
        (301, {"Location": "http://127.0.0.1:1/"}, b""),
        (200, {"Content-Length": "1000"}, b"cut short"),
        (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
        (429, {}, b"Your IP is issuing too many concurrent connections"),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nonsense_is_unavailable(scripted: StartScripted, nonsense: tuple[int, dict[str, str], bytes]) -> None:
    def script(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return (nonsense[0], {"Connection": "close", **nonsense[1]}, nonsense[2])

    server = scripted(script)
    async with registry_at(server.address) as registry:
        with pytest.raises(RegistryUnavailable, match=server.address):
            await registry.get_service("greeter")
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        assert (await until(snapshots, lambda seen: True)).stale_since is not None


@TWO
async def test_several_addresses_are_tried(agent: Agent) -> None:
    name = f"several-{uuid4().hex[:8]}"
    async with registry_at("127.0.0.1:1", agent.address) as registry, registry.watch(name) as snapshots:
        await registry.register(record("a", name=name), ttl=90)
        await until(snapshots, lambda seen: ids(seen) == {"a"} and seen.stale_since is None)
        await registry.deregister(record("a", name=name))
        with pytest.raises(NotRegistered):
            await registry.get_service(name)


async def test_what_the_environment_says_does_not_win_over_options(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "https://127.0.0.1:1/nonsense")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "theirs")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with registry_at(agent.address) as registry:
        await registry.list_services()


def allowed(agent: Agent, rules: str) -> tuple[str, str, str]:
    """A token with those rules: its secret, its id, its policy's id."""
    policy = agent.ask("PUT", "/v1/acl/policy", {"Name": uuid4().hex, "Rules": rules})
    token = agent.ask("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
    return token["SecretID"], token["AccessorID"], policy["ID"]


FULL = 'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" }'


@TWO
async def test_tokens(binary: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(with_acl(binary)) as agent:
        secret, accessor, policy = allowed(agent, FULL)
        async with registry_at(agent.address) as registry:
            with pytest.raises(
                RegistryUnavailable, match=r"refuses requests without a token .*MICRO_REGISTRY_CONSUL_TOKEN"
            ):
                await registry.register(record("a"), ttl=90)
        async with registry_at(agent.address, token=Secret("wrong\r\nX: y")) as registry:
            with pytest.raises(RegistryUnavailable, match="holds characters") as caught:
                await registry.list_services()
            assert "wrong" not in str(caught.value)

        file = tmp_path / "token"
        file.write_text("11111111-2222-3333-4444-555555555555")
        async with registry_at(agent.address, token=Secret(path=file), wait=1.0) as registry:
            with pytest.raises(RegistryUnavailable, match="refuses the token"):
                await registry.register(record("a"), ttl=90)
            file.write_text(secret)
            await eventually(lambda: registered(registry), within=4)
            async with registry.watch("greeter") as snapshots:
                await until(snapshots, lambda seen: ids(seen) == {"a"})
                caplog.clear()
                agent.ask("PUT", f"/v1/acl/policy/{policy}", {"Name": "none", "Rules": ""})
                stale = await until(snapshots, lambda seen: seen.stale_since is not None)
                assert ids(stale) == {"a"}
                await eventually(lambda: "rights were revoked" in caplog.text, within=2)
                agent.ask("PUT", f"/v1/acl/policy/{policy}", {"Name": "all", "Rules": FULL})
                await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"}, within=8)
                caplog.clear()
                agent.ask("DELETE", f"/v1/acl/token/{accessor}")
                await eventually(lambda: "refuses the token" in caplog.text, within=8)
                stale = await until(snapshots, lambda seen: seen.stale_since is not None)
                assert ids(stale) == {"a"}
                file.write_text(allowed(agent, FULL)[0])
                await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"})
        assert secret not in caplog.text


async def registered(registry: ConsulRegistry) -> bool:
    try:
        await registry.register(record("a"), ttl=90)
    except RegistryUnavailable:
        return False
    return True


async def test_bodies_are_json_that_consul_reads(agent: Agent) -> None:
    name = f"odd-{uuid4().hex[:8]}"
    node = Node('id "quoted" é', "[::1]:80", {"é": "ü", "long": "x" * 600, "consul-x": "1", "ok": "1"})
    odd = ServiceRecord(name, "v/1 é", (node,), (), {"owner": "é"})
    async with registry_at(agent.address) as registry:
        await registry.register(odd, ttl=90)
        await eventually(lambda: reads(registry, odd), within=2)
        meta = agent.ask("GET", f"/v1/catalog/service/{name}")[0]["ServiceMeta"]
        assert json.loads(json.dumps(meta)) == {"ok": "1"}
        await registry.deregister(odd)
        with pytest.raises(NotRegistered):
            await registry.get_service(name)


async def reads(registry: ConsulRegistry, wanted: ServiceRecord) -> bool:
    try:
        return await registry.get_service(wanted.name) == (wanted,)
    except NotRegistered:
        return False
