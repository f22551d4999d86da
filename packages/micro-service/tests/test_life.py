"""The order of life: hooks, lifespans, registration, a lost registry, stopping under load."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import micro
import micro.testing
import pytest
from micro.config import Config
from micro.runtime import Runtime
from micro_conformance.polling import eventually
from micro_core import ConfigurationError, Node, Reach, RegistryUnavailable, ServiceRecord
from micro_registry_memory import MemoryRegistry

pytestmark = pytest.mark.anyio

Kinds = dict[str, Any]


class Echo:
    async def echo(self, text: str) -> str:
        return text

    async def slow(self, seconds: float) -> float:
        self.running = True
        await anyio.sleep(seconds)
        return seconds

    running = False


class Shaky(MemoryRegistry):
    """A registry that others can take away, and that remembers what it was told."""

    reach = Reach.NETWORK

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.away = False
        self.told: list[str] = []

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        self.told.append(f"register {service.name} {ttl:g}")
        if self.away:
            raise RegistryUnavailable("it is away")
        await super().register(service, ttl=ttl)

    async def deregister(self, service: ServiceRecord) -> None:
        self.told.append(f"deregister {service.name}")
        if self.away:
            raise RegistryUnavailable("it is away")
        await super().deregister(service)


def shaky(memory: Kinds) -> Shaky:
    return Shaky(MemoryRegistry.Options(address=memory["options"]["registry.memory.address"]))


def quick(memory: Kinds, registry: object = None, **options: Any) -> Kinds:
    """Stops without waiting, and takes the registry as an object."""
    settings = {"stop.propagation": 0, "register.wait": 0.1, **options}
    return {**memory, "registry": registry or memory["registry"], "options": {**memory["options"], **settings}}


async def test_hooks_and_lifespans_run_in_order(memory: Kinds) -> None:
    log: list[str] = []
    service = micro.Service("greeter", **memory)
    service.before_start(lambda: log.append("before start"))

    @service.after_start
    async def after_start() -> None:
        log.append(f"after start {service.address is not None}")

    @service.before_stop
    async def before_stop() -> None:
        log.append(f"before stop {await service.client.call('greeter', 'Echo.Echo', 'serves', str)}")

    service.after_stop(lambda: log.append("after stop"))

    @service.lifespan
    async def life() -> AsyncIterator[None]:
        log.append("life")
        service.handler(Echo())
        yield
        log.append("life over")

    @service.lifespan
    @asynccontextmanager
    async def inner() -> AsyncIterator[None]:
        log.append("inner")
        yield
        log.append("inner over")

    for _ in range(2):
        async with service:
            log.append("body")
        assert log == [
            "before start", "life", "inner", "after start True", "body", "before stop serves",
            "inner over", "life over", "after stop",
        ]  # fmt: skip
        log.clear()


async def test_a_failing_stop_hook_is_logged_and_the_rest_stops(
    memory: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    service = micro.Service("greeter", **memory)

    @service.before_stop
    def fail() -> None:
        raise OSError("not now")

    async with service:
        pass
    assert "the before_stop hook" in caplog.text
    with pytest.raises(RuntimeError, match="does not serve"):
        _ = service.address


async def test_an_exception_of_the_block_comes_out_as_it_is(memory: Kinds) -> None:
    service = micro.Service("greeter", **memory)
    with pytest.raises(LookupError, match="mine"):
        async with service:
            raise LookupError("mine")
    with pytest.raises(LookupError, match="mine"):
        async with micro.Client(**memory):
            raise LookupError("mine")


async def test_a_failing_start_leaves_nothing_behind(memory: Kinds) -> None:
    log: list[str] = []
    service = micro.Service("greeter", **memory)

    @service.lifespan
    async def life() -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append("life over")

    @service.handler
    class Wrong:
        async def hello(self, request: int): ...  # type: ignore[no-untyped-def]  # what the test is about

    with pytest.raises(ConfigurationError, match=r"Wrong.hello has no return annotation"):
        async with service:
            raise AssertionError("it started")
    assert log == ["life over"]


async def test_two_handlers_of_one_name_are_an_error(memory: Kinds) -> None:
    service = micro.Service("greeter", **memory)
    service.handler(Echo())
    service.handler(Echo())
    with pytest.raises(ConfigurationError, match=r"two handlers claim the endpoint Echo\.\w+"):
        async with service:
            raise AssertionError("it started")


async def test_a_node_says_what_it_is_made_of(memory: Kinds) -> None:
    service = micro.Service("greeter", version="7", metadata={"zone": "a"}, **memory)
    async with service:
        (node,) = service.record.nodes
        assert node.id.startswith("greeter-")
        assert len(node.id) == len("greeter-") + 36
        assert len(node.metadata.pop("micro-host")) == 16  # type: ignore[attr-defined]  # a dict as it was made
        assert node.metadata == {
            "zone": "a", "protocol": "mucp", "transport": "memory", "broker": "memory", "registry": "memory",
            "server": "rpc", "micro-py": "0.1.0",
        }  # fmt: skip
        assert (service.record.name, service.record.version) == ("greeter", "7")


async def test_it_is_registered_renewed_and_deregistered(memory: Kinds) -> None:
    registry = shaky(memory)
    kinds = quick(memory, registry, **{"register.ttl": 9, "register.interval": 0.05})
    async with micro.Service("greeter", **kinds):
        await eventually(lambda: len(registry.told) >= 3, within=5)
        assert set(registry.told) == {"register greeter 9"}
    assert registry.told[-1] == "deregister greeter"
    assert registry.told.count("deregister greeter") == 1


async def test_a_registry_that_is_away_at_start_is_tried_until_it_is_there(
    memory: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    registry = shaky(memory)
    registry.away = True
    service = micro.Service("greeter", **quick(memory, registry))
    service.handler(Echo())
    with caplog.at_level(logging.INFO, "micro.service"), anyio.fail_after(5):
        async with service:
            assert await service.client.call("greeter", "Echo.Echo", "a", str, address=service.address) == "a"
            await eventually(lambda: len(registry.told) >= 3, within=5)
            assert caplog.text.count("is not registered") == 1
            registry.away = False
            assert await service.client.call("greeter", "Echo.Echo", "b", str) == "b"
            await eventually(lambda: caplog.text.count("greeter is registered with Shaky") == 1, within=5)


async def test_a_client_enters_without_a_registry_and_finds_it_later(
    memory: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreachable(Shaky):
        async def __aenter__(self) -> Any:
            if self.away:
                raise RegistryUnavailable("it is away")
            return await super().__aenter__()

    registry = Unreachable(MemoryRegistry.Options(address=memory["options"]["registry.memory.address"]))
    registry.away = True
    service = micro.Service("greeter", **memory)
    service.handler(Echo())
    async with service, micro.Client(**quick(memory, registry)) as client:
        assert "no registry to look in: it is away; calls ask again" in caplog.text
        with pytest.raises(micro.errors.ServiceNotFound, match=r"it is away \(greeter Echo.Echo"):
            await client.call("greeter", "Echo.Echo", "a", str)
        with pytest.raises(RegistryUnavailable):
            await client.list_services()
        registry.away = False
        assert await client.call("greeter", "Echo.Echo", "a", str) == "a"


async def test_a_registry_that_hangs_while_it_is_entered_holds_nobody_up(memory: Kinds) -> None:
    class Hanging(Shaky):
        async def __aenter__(self) -> Any:
            await anyio.sleep_forever()

    kinds = quick(memory, Hanging(MemoryRegistry.Options(address="hanging")))
    service = micro.Service("greeter", **kinds)
    service.handler(Echo())
    with anyio.fail_after(5):
        async with service, micro.Client(**quick(memory, Hanging(MemoryRegistry.Options(address="hanging")))) as client:
            with pytest.raises(micro.errors.ServiceNotFound, match="not open by the deadline"):
                await client.call("greeter", "Echo.Echo", "a", str, timeout=0.1)
            with pytest.raises(micro.errors.BrokerUnavailable, match="not open by the deadline"):
                await client.publish("topic", 1, timeout=0.1)


async def test_a_registry_that_goes_and_comes_is_two_lines_of_log(
    memory: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    registry = shaky(memory)
    service = micro.Service("greeter", **quick(memory, registry, **{"register.interval": 0.05}))
    with caplog.at_level(logging.INFO, "micro.service"):
        async with service:
            registry.away = True
            told = len(registry.told)
            await eventually(lambda: len(registry.told) >= told + 4, within=5)
            registry.away = False
            await eventually(lambda: "is registered again" in caplog.text, within=5)
    assert caplog.text.count("is not registered with Shaky (it is away); trying on") == 1


async def test_a_registry_that_refuses_the_record_is_an_error_at_start(memory: Kinds) -> None:
    class Refusing(Shaky):
        async def register(self, service: ServiceRecord, *, ttl: float) -> None:
            raise ValueError("the name is too long")

    registry = Refusing(MemoryRegistry.Options(address="refusing"))
    with pytest.raises(ConfigurationError, match="'greeter' cannot be registered with Refusing: the name is too long"):
        async with micro.Service("greeter", **quick(memory, registry)):
            raise AssertionError("it started")


async def test_the_network_is_told_of_a_loopback_address(memory: Kinds, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "micro.service"):
        async with micro.Service("greeter", **quick(memory, shaky(memory))):
            pass
    assert caplog.text.count("MICRO_SERVER_ADDRESS=:0 serves the network") == 1


async def test_a_wider_bind_without_tls_says_so_once(memory: Kinds, caplog: pytest.LogCaptureFixture) -> None:
    kinds = quick(memory, **{"server.address": "0.0.0.0:0", "server.advertise": "127.0.0.1"})
    with caplog.at_level(logging.INFO, "micro.service"):
        async with micro.Service("greeter", **kinds) as service:
            assert service.address.startswith("0.0.0.0:")
    assert caplog.text.count("greeter is open to the network at 0.0.0.0:") == 1


async def test_start_tells_each_kind_and_the_addresses(memory: Kinds, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "micro.service"):
        async with micro.Service("greeter", **memory) as service:
            pass
    assert "server rpc (micro-rpc 0.1.0), chosen by default" in caplog.messages
    assert "transport memory (micro-transport-memory 0.1.0), chosen by transport in code" in caplog.messages
    assert any(message.startswith("greeter latest serves at 127.0.0.1:") for message in caplog.messages)
    assert service.name == "greeter"


async def test_calls_that_run_when_it_stops_are_answered_and_none_fails(memory: Kinds) -> None:
    kinds = quick(memory, **{"client.request_timeout": 5})
    answered, failed = [0], []
    stopping = anyio.Event()

    async def load(client: micro.Client) -> None:
        while not stopping.is_set():
            try:
                await client.call("greeter", "Echo.Slow", 0.01, float)
                answered[0] += 1
            except micro.errors.RPCError as error:
                failed.append(error)

    staying, going = micro.Service("greeter", **kinds), micro.Service("greeter", **kinds)
    staying.handler(Echo())
    going.handler(Echo())
    client = micro.Client(**kinds)
    async with staying, client, anyio.create_task_group() as tasks:
        async with going:
            for _ in range(8):
                tasks.start_soon(load, client)
            await eventually(lambda: answered[0] > 50, within=5)
        seen = answered[0]
        await eventually(lambda: answered[0] > seen + 50, within=5)
        stopping.set()
    assert failed == []


async def test_what_takes_longer_than_the_drain_is_cut_with_an_error(memory: Kinds) -> None:
    kinds = quick(memory, **{"stop.drain": 0.2})
    service, echo = micro.Service("greeter", **kinds), Echo()
    service.handler(echo)
    errors: list[micro.errors.RPCError] = []

    async def call(client: micro.Client) -> None:
        try:
            await client.call("greeter", "Echo.Slow", 60, float, timeout=60)
        except micro.errors.RPCError as error:
            errors.append(error)

    async with micro.Client(**kinds) as client, anyio.create_task_group() as tasks:
        with anyio.fail_after(5):
            async with service:
                tasks.start_soon(call, client)
                await eventually(lambda: echo.running, within=5)
    (error,) = errors
    assert isinstance(error, micro.errors.ServiceUnavailable)
    assert "Echo.Slow was cut short: greeter is stopping" in error.detail


async def test_a_cancelled_service_says_goodbye_and_ends_at_once(memory: Kinds) -> None:
    registry = shaky(memory)
    kinds = quick(memory, registry, **{"stop.propagation": 30})
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with micro.Service("greeter", **kinds):
            scope.cancel()
            await anyio.sleep_forever()
    assert registry.told[-1] == "deregister greeter"


async def test_it_serves_on_through_propagation(memory: Kinds) -> None:
    registry = shaky(memory)
    kinds = quick(memory, registry, **{"stop.propagation": 0.5})
    service = micro.Service("greeter", **kinds)
    service.handler(Echo())
    served: list[str] = []

    async def late(client: micro.Client, address: str) -> None:
        await eventually(lambda: registry.told[-1] == "deregister greeter", within=5)
        served.append(await client.call("greeter", "Echo.Echo", "late", str, address=address))

    async with micro.Client(**memory) as client, anyio.create_task_group() as tasks, service:
        tasks.start_soon(late, client, service.address)
    assert served == ["late"]


async def test_namespaces_keep_services_apart(memory: Kinds) -> None:
    mine, yours = (quick(memory, **{"namespace": name, "client.lookup_timeout": 0.2}) for name in ("mine", "yours"))
    service = micro.Service("greeter", **mine)
    service.handler(Echo())
    async with service, micro.Client(**mine) as client, micro.Client(**yours) as other:
        assert await client.call("greeter", "Echo.Echo", "a", str) == "a"
        assert [record.name for record in await client.list_services()] == ["greeter"]
        with pytest.raises(micro.errors.ServiceNotFound, match="namespace 'yours'"):
            await other.call("greeter", "Echo.Echo", "a", str)
        assert await other.list_services() == ()


@pytest.mark.parametrize(
    ("server", "advertise", "expected"),
    [
        ("127.0.0.1:0", "", ("127.0.0.1:0", "")),
        (":8080", "", (":0", "")),
        ("[::1]:8080", "example.com:99", ("[::1]:0", "example.com")),
        (":0", "[2001:db8::5]:8080", (":0", "[2001:db8::5]")),
        (":0", "example.com", (":0", "example.com")),
    ],
)
async def test_a_broker_listens_at_the_servers_host(
    memory: Kinds, server: str, advertise: str, expected: tuple[str, str]
) -> None:
    settings = {"server.address": server, "server.advertise": advertise}
    kinds = {**memory["options"], **settings, "registry": "memory", "broker": "http"}
    async with Runtime(micro.Service("greeter"), Config("greeter", kinds), {}, ()) as runtime:
        broker: Any = await runtime.parts.broker()
        assert (broker.options.address, broker.options.advertise) == expected


async def test_handlers_come_before_serving(memory: Kinds) -> None:
    service = micro.Service("greeter", **memory)
    async with service:
        with pytest.raises(ConfigurationError, match="serves already; add handlers before, or in a lifespan"):
            service.handler(Echo())
        with pytest.raises(RuntimeError, match="runs already"):
            await service.__aenter__()


async def test_what_is_wrong_in_code_is_told_with_its_line_by_every_start() -> None:
    log: list[str] = []
    wrong = micro.Service("greeter", registry=5)  # type: ignore[arg-type]  # what the test is about
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]  # CPython
    wrong.before_start(lambda: log.append("started"))
    wrong.handler(print)  # the second mistake
    said = rf"^\S*test_life\.py:{line}: registry=5 is neither a name nor an object of class micro_core"
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=said):
            await wrong.__aenter__()
    with pytest.raises(ConfigurationError, match=said):
        wrong.configure()
    with pytest.raises(ConfigurationError, match=said):
        await micro.testing.run(wrong).__aenter__()
    with pytest.raises(ConfigurationError, match=said.replace(str(line), r"\d+")):
        await micro.Client(registry=5).__aenter__()  # type: ignore[arg-type]  # what the test is about
    assert log == []


async def test_what_a_lifespan_did_wrong_ends_with_its_run(memory: Kinds) -> None:
    service, handlers = micro.Service("greeter", **memory), [print, Echo()]

    @service.lifespan
    async def life() -> AsyncIterator[None]:
        service.handler(handlers.pop(0))
        yield

    with pytest.raises(ConfigurationError, match=r"test_life\.py:\d+: print is a function; a handler is a class"):
        await service.__aenter__()
    async with service:
        assert [endpoint.name for endpoint in service.record.endpoints]


async def test_a_plugin_for_another_event_loop_says_so(memory: Kinds, anyio_backend_name: str) -> None:
    class Other(Shaky):
        backends = frozenset({"asyncio", "trio"} - {anyio_backend_name})

    registry = Other(MemoryRegistry.Options(address="other"))
    able = "trio" if anyio_backend_name == "asyncio" else "asyncio"
    said = f"registry 'Other' runs on {able} only, and this process runs on {anyio_backend_name}"
    with pytest.raises(ConfigurationError, match=said):
        async with micro.Client(**quick(memory, registry)):
            raise AssertionError("it started")


async def test_the_environment_is_read_when_it_starts(memory: Kinds, monkeypatch: pytest.MonkeyPatch) -> None:
    service = micro.Service("greeter", **memory)
    monkeypatch.setenv("MICRO_SERVER_NAME", "hallo")
    monkeypatch.setenv("MICRO_SERVER_METADATA", "zone=a")
    async with service:
        assert service.name == "hallo"
        assert isinstance(service.record.nodes[0], Node)
        assert service.record.nodes[0].metadata["zone"] == "a"
    assert service.name == "greeter"


async def test_a_client_that_runs_is_not_entered_again(memory: Kinds) -> None:
    client = micro.Client(**memory)
    for _ in range(2):
        async with client:
            with pytest.raises(RuntimeError, match="this client runs already"):
                await client.__aenter__()
            assert await client.list_services() == ()
