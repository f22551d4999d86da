"""The retry loop: every outcome, over several nodes, with failures put between client and memory transport."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from micro_core import (
    Buffer,
    Call,
    Exchange,
    Handler,
    Head,
    Listener,
    Message,
    Node,
    Outcome,
    Reset,
    RPCError,
    ServiceNotFound,
    Transport,
    TransportError,
    errors,
)
from micro_core.transport import Accept
from rpc_rig import Rig, hello, unary

pytestmark = pytest.mark.anyio

REFUSED = TransportError("connection refused", Reset.REFUSED, processed=False)
LOST = TransportError("connection reset", Reset.GONE, processed=True)
UNPROCESSED = Message({"micro-error": '{"id":"x","code":503,"detail":"busy"}', "micro-unprocessed": "1"})
BUSY = Message({"micro-error": '{"id":"x","code":503,"detail":"busy"}'})
LATE = Message({"micro-error": '{"id":"x","code":408,"detail":"late"}'})
CONFLICT = Message({"micro-error": '{"id":"x","code":409,"detail":"no"}'})
TEXT = Message({"micro-error": "rpc: can't find method X"})
PROXY = Message({":status": "502", "content-type": "text/html"}, b"<h1>Bad gateway</h1>")


class Faulty(Transport):
    """Does what it is told for an address, in turn; passes the rest on."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.faults: dict[str, list[BaseException | Message]] = defaultdict(list)
        self.always: dict[str, BaseException | Message] = {}
        self.seen: list[tuple[str, Head]] = []

    def _fault(self, address: str, head: Head) -> Message | None:
        self.seen.append((address, head))
        faults = self.faults[address]
        fault = faults.pop(0) if faults else self.always.get(address)
        if isinstance(fault, BaseException):
            raise fault
        return None if fault is None else Message(dict(fault.head), fault.body)

    async def call(self, address: str, request: Message, *, verify_name: str | None = None, deadline: float) -> Message:
        assert verify_name == "greeter"
        fault = self._fault(address, request.head)
        return fault or await self.inner.call(address, request, deadline=deadline)

    async def open(
        self, address: str, head: Head, *, opening: Buffer = b"", verify_name: str | None = None, deadline: float
    ) -> Exchange:
        self._fault(address, head)
        return await self.inner.open(address, head, opening=opening, deadline=deadline)

    async def listen(self, address: str, accept: Accept) -> Listener:
        return await self.inner.listen(address, accept)


class Cluster:
    """Three nodes, of which each says who it is."""

    def __init__(self, rig: Rig, transport: Faulty, client: Any) -> None:
        self.rig = rig
        self.transport = transport
        self.client = client
        self.call: Call = hello({})

    @property
    def addresses(self) -> list[str]:
        return [listener.address for listener in self.rig.listeners]

    def fault(self, node: int, *faults: BaseException | Message) -> None:
        self.transport.faults[self.addresses[node - 1]].extend(faults)

    def always(self, node: int, fault: BaseException | Message) -> None:
        self.transport.always[self.addresses[node - 1]] = fault

    async def run(self, **options: Any) -> Any:
        self.call = hello({}, **options)
        return (await self.client.call(self.call)).value

    async def fails(self, kind: type[RPCError] = RPCError, **options: Any) -> RPCError:
        with pytest.raises(kind) as caught:
            await self.run(**options)
        assert caught.value.attempts == len(self.call.attempts)
        return caught.value

    def outcomes(self) -> list[tuple[str, str]]:
        return [(attempt.node.id, attempt.outcome.value) for attempt in self.call.attempts]


@pytest.fixture
def make_cluster(rig: Rig) -> Callable[..., Any]:
    def says(number: int, idempotent: bool) -> Handler:
        return unary(lambda call: number, idempotent=idempotent)

    async def make(idempotent: bool = False, nodes: int = 3) -> Cluster:
        for number in range(1, nodes + 1):
            await rig.serve(says(number, idempotent))
        transport = Faulty(rig.transport)
        return Cluster(rig, transport, await rig.client(transport))

    return make


@pytest.mark.parametrize("fault", [REFUSED, UNPROCESSED, ValueError("no address")])
async def test_not_processed_goes_to_an_untried_node_whatever_the_call(make_cluster: Any, fault: Any) -> None:
    cluster = await make_cluster()
    cluster.always(1, fault)
    cluster.fault(2, fault)
    assert await cluster.run(idempotent=False, retries=0) == 3
    assert cluster.outcomes() == [("node-1", "not_processed"), ("node-2", "not_processed"), ("node-3", "ok")]
    assert cluster.rig.discovery.reports == [
        ("node-1", Outcome.NOT_PROCESSED),
        ("node-2", Outcome.NOT_PROCESSED),
        ("node-3", Outcome.OK),
    ]


async def test_when_all_were_tried_a_new_round_begins(make_cluster: Any) -> None:
    cluster = await make_cluster()
    for node in (1, 2, 3):
        cluster.fault(node, REFUSED, REFUSED)
    assert await cluster.run() == 1
    assert [node for node, _ in cluster.outcomes()] == ["node-1", "node-2", "node-3"] * 2 + ["node-1"]


async def test_a_node_that_came_meanwhile_is_tried_before_those_that_failed(make_cluster: Any) -> None:
    cluster = await make_cluster()
    cluster.always(1, REFUSED)
    cluster.always(2, REFUSED)
    nodes = cluster.rig.discovery.nodes.nodes
    cluster.rig.discovery.set(nodes[:2])
    known = cluster.rig.discovery.known

    def grows(service: str, filter: Any = None) -> Any:
        found = known(service, filter)
        cluster.rig.discovery.set(nodes)
        return found

    cluster.rig.discovery.known = grows
    assert await cluster.run() == 3
    assert len(cluster.call.attempts) == 3


async def test_at_the_deadline_the_last_nodes_own_error_is_raised(make_cluster: Any) -> None:
    cluster = await make_cluster()
    for node in (1, 2, 3):
        cluster.always(node, REFUSED)
    error = await cluster.fails(errors.ServiceUnavailable, timeout=0.1)
    assert error.outcome is Outcome.NOT_PROCESSED
    assert "connection refused" in error.detail
    assert error.__cause__ is REFUSED
    assert error.attempts > 3
    assert error.elapsed < 2.0  # the deadline of this call, not the client's default of 5 s


async def test_unprocessed_503_until_the_deadline_stays_a_503(make_cluster: Any) -> None:
    cluster = await make_cluster(nodes=1)
    cluster.always(1, UNPROCESSED)
    error = await cluster.fails(errors.ServiceUnavailable, timeout=0.05)
    assert (error.id, error.outcome) == ("x", Outcome.NOT_PROCESSED)


@pytest.mark.parametrize("fault", [LOST, LATE, TransportError("truncated", Reset.PROTOCOL, processed=True)])
async def test_unknown_is_repeated_only_for_idempotent_calls(make_cluster: Any, fault: Any) -> None:
    cluster = await make_cluster()
    cluster.always(1, fault)
    error = await cluster.fails()
    assert (error.outcome, error.attempts, error.node) == (Outcome.UNKNOWN, 1, "node-1")
    assert await cluster.run(idempotent=True) == 2
    assert cluster.outcomes() == [("node-1", "unknown"), ("node-2", "ok")]


async def test_a_reply_over_the_limit_is_not_asked_for_again(make_cluster: Any) -> None:
    cluster = await make_cluster(idempotent=True)
    cluster.always(1, TransportError("too large", Reset.LIMIT, processed=True))
    error = await cluster.fails(errors.BadGateway)
    assert (error.outcome, error.attempts, error.node) == (Outcome.ANSWERED, 1, "node-1")


async def test_an_endpoint_says_by_metadata_that_it_is_idempotent(make_cluster: Any) -> None:
    cluster = await make_cluster(idempotent=True)
    cluster.always(1, LOST)
    assert await cluster.run() == 2
    assert (await cluster.fails(idempotent=False)).attempts == 1


@pytest.mark.parametrize(("retries", "attempts"), [(None, 3), (0, 1), (1, 2), (5, 6)])
async def test_unknown_is_repeated_at_most_so_often(make_cluster: Any, retries: Any, attempts: int) -> None:
    cluster = await make_cluster()
    for node in (1, 2, 3):
        cluster.always(node, LOST)
    error = await cluster.fails(idempotent=True, retries=retries)
    assert (error.attempts, error.outcome) == (attempts, Outcome.UNKNOWN)
    assert error.__cause__ is LOST


@pytest.mark.parametrize(("fault", "code"), [(CONFLICT, 409), (BUSY, 503), (TEXT, 0), (PROXY, 502)])
async def test_answered_is_never_repeated(make_cluster: Any, fault: Any, code: int) -> None:
    cluster = await make_cluster()
    cluster.always(1, fault)
    error = await cluster.fails(idempotent=True, retries=5)
    assert (error.outcome, error.attempts, error.code) == (Outcome.ANSWERED, 1, code)


async def test_a_go_server_that_does_not_know_the_content_type_is_a_415(make_cluster: Any) -> None:
    cluster = await make_cluster()
    cluster.always(1, Message({"content-type": "text/plain"}, b"Unsupported Content-Type: application/json"))
    error = await cluster.fails(errors.UnsupportedMediaType)
    assert (error.outcome, error.attempts) == (Outcome.ANSWERED, 1)


async def test_a_deadline_during_the_attempt_is_a_408_of_unknown_outcome(make_cluster: Any) -> None:
    cluster = await make_cluster()
    cluster.always(1, TransportError("late", Reset.DEADLINE, processed=True))
    error = await cluster.fails(errors.Timeout)
    assert (error.id, error.code, error.outcome) == ("go.micro.client", 408, Outcome.UNKNOWN)
    cluster.always(1, TransportError("late", Reset.DEADLINE, processed=False))
    cluster.always(2, TransportError("late", Reset.DEADLINE, processed=False))
    cluster.always(3, TransportError("late", Reset.DEADLINE, processed=False))
    error = await cluster.fails(errors.Timeout, timeout=0.05)
    assert error.outcome is Outcome.NOT_PROCESSED


async def test_a_bug_in_a_transport_gives_the_node_back(make_cluster: Any) -> None:
    cluster = await make_cluster()
    cluster.always(1, KeyError("a bug"))
    with pytest.raises(KeyError):
        await cluster.run()
    assert cluster.rig.selector.outcomes == [Outcome.UNKNOWN]


async def test_an_address_skips_discovery_and_selector(make_cluster: Any) -> None:
    cluster = await make_cluster()
    assert await cluster.run(address=cluster.addresses[1]) == 2
    cluster.fault(3, REFUSED)
    assert await cluster.run(address=cluster.addresses[2]) == 3
    assert len(cluster.call.attempts) == 2
    assert not cluster.rig.selector.taken
    assert not cluster.rig.discovery.reports
    cluster.transport.always["nonsense"] = ValueError("'nonsense' is no address")
    error = await cluster.fails(errors.BadRequest, address="nonsense")
    assert (error.outcome, error.attempts) == (Outcome.NOT_PROCESSED, 1)


async def test_nodes_of_another_protocol_are_not_called(make_cluster: Any) -> None:
    cluster = await make_cluster()
    one, two, _ = cluster.rig.discovery.nodes.nodes
    thrift = Node(one.id, one.address, {"protocol": "thrift"})
    cluster.rig.discovery.set((thrift, Node(two.id, two.address)))
    assert await cluster.run() == 2
    cluster.rig.discovery.set((thrift,))
    error = await cluster.fails(errors.ServiceUnavailable)
    assert not isinstance(error, ServiceNotFound)  # they are there
    assert "speak thrift" in error.detail
    assert error.attempts == 0


async def test_nodes_that_are_called_by_tls_alone_are_not_called_without(make_cluster: Any) -> None:
    cluster = await make_cluster()
    one, two, _ = cluster.rig.discovery.nodes.nodes
    secured = Node(one.id, one.address, {"protocol": "mucp", "tls": "1"})
    cluster.rig.discovery.set((secured, Node(two.id, two.address, {"protocol": "mucp", "tls": "0"})))
    assert await cluster.run() == 2
    cluster.rig.discovery.set((secured,))
    error = await cluster.fails(errors.ServiceUnavailable)
    assert not isinstance(error, ServiceNotFound)  # they are there
    assert "MICRO_TRANSPORT_TLS_CA" in error.detail
    assert (error.outcome, error.attempts) == (Outcome.NOT_PROCESSED, 0)


async def test_a_transport_with_tls_calls_every_node(make_cluster: Any) -> None:
    """It dials none without, whatever a record says."""
    cluster = await make_cluster()
    one, two, _ = cluster.rig.discovery.nodes.nodes
    cluster.transport.node_metadata = {"tls": "1"}
    cluster.rig.discovery.set((Node(one.id, one.address, {"protocol": "mucp", "tls": "1"}), two))
    cluster.fault(1, REFUSED)
    assert await cluster.run() == 2


async def test_nodes_of_another_protocol_are_no_untried_nodes(make_cluster: Any) -> None:
    cluster = await make_cluster()
    one, two, _ = cluster.rig.discovery.nodes.nodes
    cluster.rig.discovery.set((one, Node(two.id, two.address, {"protocol": "thrift"})))
    cluster.fault(1, REFUSED, REFUSED)
    assert await cluster.run() == 1
    assert [node for node, _ in cluster.outcomes()] == ["node-1"] * 3


async def test_the_selector_sees_the_same_set_while_nothing_changes(make_cluster: Any) -> None:
    cluster = await make_cluster()
    one, two, three = cluster.rig.discovery.nodes.nodes
    cluster.rig.discovery.set((Node(one.id, one.address, {"protocol": "thrift"}), two, three))
    sets: list[Any] = []
    select = cluster.rig.selector.select

    def watched(nodes: Any, *, key: Any = None) -> Any:
        sets.append(nodes)
        return select(nodes, key=key)

    cluster.rig.selector.select = watched
    await cluster.run()
    await cluster.run()
    assert sets[0] is sets[1]


async def test_when_the_service_vanishes_the_nodes_own_error_remains(make_cluster: Any) -> None:
    cluster = await make_cluster(nodes=1)
    cluster.always(1, REFUSED)
    cluster.rig.discovery.report = lambda *_: cluster.rig.discovery.set(())
    error = await cluster.fails(errors.ServiceUnavailable)
    assert "connection refused" in error.detail
    assert error.__cause__ is REFUSED


async def test_a_cancelled_pause_leaves_nothing_taken(make_cluster: Any) -> None:
    cluster = await make_cluster(nodes=1)
    cluster.always(1, REFUSED)
    with anyio.move_on_after(0.03) as scope:
        await cluster.run(timeout=10)
    assert scope.cancelled_caught
    assert cluster.rig.settled()


async def test_the_head_of_a_request(make_cluster: Any) -> None:
    cluster = await make_cluster()
    await cluster.run(caller="shop", timeout=3)
    await cluster.run(timeout=float("inf"))
    first, second = (head for _, head in cluster.transport.seen)
    timeout = int(first.pop("timeout"))
    assert 2_900_000_000 < timeout <= 3_000_000_000
    assert first == {
        "micro-service": "greeter",
        "micro-endpoint": "Say.Hello",
        "micro-method": "Say.Hello",
        "micro-from-service": "shop",
        "micro-id": "0",
        "content-type": "application/json",
        "accept": "application/json",
    }
    assert second["micro-id"] == "1"
    assert "timeout" not in second
