"""The rules by which snapshots and reports become node sets."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from micro_core import Endpoint, Filter, Node, NodeSet, Outcome, ServiceRecord, Snapshot
from micro_discovery.host import HOST_KEY
from micro_discovery.nodes import MAX_FILTERS, ServiceNodes
from micro_discovery.usable import usable, version_order

HERE = "here"
REFUSED = Outcome.NOT_PROCESSED


def node(key: str, address: str = "10.0.0.1:80", **metadata: str) -> Node:
    return Node(key, address, {name.replace("_", "-"): value for name, value in metadata.items()})


def record(ids: str, version: str = "1", *endpoints: Endpoint) -> ServiceRecord:
    return ServiceRecord("greeter", version, tuple(node(key) for key in ids), endpoints)


def snapshot(ids: str, departed: str = "", *, stale: bool = False) -> Snapshot:
    return Snapshot((record(ids),) if ids else (), frozenset(departed), 1.0 if stale else None)


def made(ids: str = "") -> ServiceNodes:
    nodes = ServiceNodes("greeter", HERE)
    if ids:
        nodes.apply(snapshot(ids))
    return nodes


def ids(nodes: ServiceNodes, filter: Filter | None = None) -> str:
    found = nodes.select(filter)
    return "" if found is None else "".join(each.id for each in found.nodes)


@pytest.mark.parametrize(
    ("first", "then", "expected", "doubted"),
    [
        ("ab", snapshot("bc"), "bc", False),
        ("ab", snapshot("a"), "a", False),
        ("ab", snapshot("", "ab"), "", False),
        ("ab", snapshot("", "a"), "b", True),
        ("ab", snapshot(""), "ab", True),
        ("ab", snapshot("", stale=True), "ab", False),
        ("ab", snapshot("", "a", stale=True), "b", False),
        ("ab", snapshot("c", stale=True), "abc", False),
        ("ab", snapshot("ab", "a"), "ab", False),
        ("", snapshot(""), "", False),
        ("", snapshot("a", stale=True), "a", False),
    ],
)
def test_a_snapshot_follows_another(first: str, then: Snapshot, expected: str, doubted: bool) -> None:
    nodes = made(first)
    changed = nodes.apply(then)
    assert ids(nodes) == expected
    assert nodes.doubted is doubted
    assert changed is (first != expected)


def test_a_doubted_set_goes_when_every_node_refused() -> None:
    nodes = made("ab")
    nodes.apply(snapshot(""))
    assert nodes.report(node("a"), REFUSED) is False
    assert ids(nodes) == "ab"
    assert nodes.report(node("b"), REFUSED) is True
    assert nodes.select(None) is None


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.ANSWERED, Outcome.UNKNOWN])
def test_a_node_that_answers_after_all_keeps_the_set(outcome: Outcome) -> None:
    nodes = made("ab")
    nodes.apply(snapshot(""))
    nodes.report(node("a"), REFUSED)
    nodes.report(node("a"), outcome)
    nodes.report(node("b"), REFUSED)
    assert ids(nodes) == "ab"


def test_refusals_count_from_the_doubt_on() -> None:
    nodes = made("a")
    nodes.report(node("a"), REFUSED)
    nodes.apply(snapshot(""))
    assert ids(nodes) == "a"
    nodes.apply(snapshot(""))
    nodes.report(node("stranger"), REFUSED)
    assert ids(nodes) == "a"
    nodes.report(node("a"), REFUSED)
    assert ids(nodes) == ""


def test_refusals_survive_a_repeated_empty_snapshot_and_end_with_a_full_one() -> None:
    nodes = made("ab")
    nodes.apply(snapshot(""))
    nodes.report(node("a"), REFUSED)
    nodes.apply(snapshot("", "c"))
    nodes.report(node("b"), REFUSED)
    assert ids(nodes) == ""
    nodes.apply(snapshot("a"))
    nodes.report(node("a"), REFUSED)
    assert ids(nodes) == "a"


def test_a_goodbye_in_doubt_leaves_those_that_refused() -> None:
    nodes = made("ab")
    nodes.apply(snapshot(""))
    nodes.report(node("a"), REFUSED)
    nodes.apply(snapshot("", "b"))
    assert ids(nodes) == "a"
    nodes.report(node("a"), REFUSED)
    assert ids(nodes) == ""


Step = tuple[str, set[str], set[str], bool, str, Outcome]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["snapshot", "report"]),
        st.sets(st.sampled_from("abcd")),
        st.sets(st.sampled_from("abcd")),
        st.booleans(),
        st.sampled_from("abcd"),
        st.sampled_from(Outcome),
    ),
    max_size=12,
)


class Model:
    """The table in the module's essay, on bare sets."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.refused: set[str] = set()
        self.doubted = False

    def report(self, key: str, outcome: Outcome) -> None:
        if outcome is REFUSED:
            self.refused.add(key)
            if self.doubted and self.known <= self.refused:
                self.known, self.doubted = set(), False
        elif outcome is not Outcome.CANCELLED:
            self.refused.discard(key)

    def snapshot(self, listed: set[str], departed: set[str], stale: bool) -> None:
        if stale:
            self.known = (self.known - departed) | listed
            self.doubted = self.doubted and bool(self.known)
        elif listed:
            self.known, self.doubted = set(listed), False
        else:
            self.known -= departed
            if not self.doubted:
                self.refused.clear()
            self.doubted = bool(self.known)


@settings(max_examples=300, deadline=None)
@example(
    [
        ("snapshot", {"a", "b", "c"}, set(), False, "a", Outcome.OK),
        ("snapshot", set(), set(), False, "a", Outcome.OK),
        ("report", set(), set(), False, "c", REFUSED),
        ("snapshot", set(), {"a", "b"}, False, "a", Outcome.OK),
        ("report", set(), set(), False, "a", Outcome.OK),
    ]
)
@given(STEPS)
def test_any_sequence_and_the_same_object_exactly_while_nothing_changed(steps: list[Step]) -> None:
    nodes, model, last, before = made(), Model(), None, set[str]()
    for kind, listed, departed, stale, key, outcome in steps:
        if kind == "report":
            nodes.report(node(key), outcome)
            model.report(key, outcome)
        else:
            nodes.apply(snapshot("".join(listed), "".join(departed), stale=stale))
            model.snapshot(listed, departed, stale)
        found = nodes.select(None)
        assert ids(nodes) == "".join(sorted(model.known))
        assert nodes.doubted is model.doubted
        assert (found is last) is (model.known == before)
        last, before = found, set(model.known)


def test_the_same_object_while_nothing_changed() -> None:
    nodes = made("ab")
    first = nodes.select(None)
    assert nodes.apply(snapshot("ba")) is False
    assert nodes.select(None) is first


def test_a_filtered_set_is_the_same_object_while_others_change() -> None:
    nodes, one = made(), Filter(version="1")
    nodes.apply(Snapshot((record("a"), record("b", "2"))))
    kept, everything = nodes.select(one), nodes.select(None)
    nodes.apply(Snapshot((record("a"), record("bc", "2"))))
    assert nodes.select(one) is kept
    assert nodes.select(None) is not everything


def test_changed_metadata_is_a_change() -> None:
    nodes = made("a")
    first = nodes.select(None)
    assert nodes.apply(Snapshot((replace(record(""), nodes=(node("a", zone="x"),)),)))
    assert nodes.select(None) is not first


def test_filters() -> None:
    nodes = made()
    zoned = ServiceRecord("greeter", "2", (node("c", zone="x"), node("d")), (), {"zone": "y"})
    nodes.apply(Snapshot((record("ab"), zoned)))
    assert ids(nodes, Filter(version="1")) == "ab"
    assert ids(nodes, Filter(labels=frozenset({("zone", "x")}))) == "c"
    assert ids(nodes, Filter(labels=frozenset({("zone", "y")}))) == "d"
    assert ids(nodes, Filter(predicate=lambda _, node: node.id > "b")) == "cd"
    assert nodes.select(Filter(version="3")) is None


def test_sets_kept_are_bounded() -> None:
    nodes = made("a")
    for _ in range(3):
        for number in range(MAX_FILTERS * 2):
            nodes.select(Filter(predicate=lambda *_, number=number: bool(number)))
        nodes.apply(snapshot("ab"))
        nodes.apply(snapshot("a"))
    assert len(nodes._sets) + len(nodes._old_sets) <= 3 * MAX_FILTERS


def test_a_predicate_without_a_hash() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, record: ServiceRecord, node: Node) -> bool:
            return node.id == "a"

    assert ids(made("ab"), Filter(predicate=Odd())) == "a"


def test_endpoints_of_all_versions_together_the_newest_counting() -> None:
    old, new = Endpoint("Say.Hello", metadata={"v": "9"}), Endpoint("Say.Hello", metadata={"v": "10"})
    nodes = made()
    nodes.apply(Snapshot((record("b", "1.10", new), record("a", "1.9", old, Endpoint("Say.Old")))))
    found = nodes.select(None)
    assert found is not None
    assert dict(found.endpoints) == {"Say.Hello": new, "Say.Old": Endpoint("Say.Old")}


NODES = st.builds(
    Node, st.sampled_from("abcde"), st.sampled_from(["10.0.0.1:1", "10.0.0.2:2", "h:0", ":1", "unix:/x", "h:3"])
)
RECORDS = st.builds(ServiceRecord, st.just("greeter"), st.sampled_from(["1", "2", "10"]), st.lists(NODES).map(tuple))


@settings(deadline=None)
@given(st.lists(RECORDS, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(records: list[ServiceRecord], order: random.Random) -> None:
    one, other = made(), made()
    one.apply(Snapshot(tuple(records)))
    order.shuffle(records)
    other.apply(Snapshot(tuple(replace(r, nodes=tuple(order.sample(r.nodes, len(r.nodes)))) for r in records)))
    first, second = one.select(None), other.select(None)
    assert nodes_of(first) == nodes_of(second)
    keys = [node.id for node in nodes_of(first)]
    assert keys == sorted(set(keys))


def nodes_of(found: NodeSet | None) -> tuple[Node, ...]:
    return found.nodes if found else ()


@pytest.mark.parametrize(
    "address",
    [
        "h:0", ":80", "h", "h:", "h:x", "h:65536", "h:-1", "user@h:80", "u:p@h:80", "h h:80", "h:80 ", "h:80\n",
        "unix:/tmp/s", "unix:80:", "http://h:80", "h/x:80", "[::1:80", "[127.0.0.1]:80", "::1:80", "[zz]:80",
        "h\x00:80", "bücher.example:80", "a..b:80", ".:80", f"{'a' * 64}:80", f"{'a.' * 127}a:80", "h:٣", "", "[]:80",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_dialled(address: str) -> None:
    listed = usable("greeter", [ServiceRecord("greeter", "1", (Node("a", address), node("b")))], HERE)
    assert [each.id for each in listed.records[0].nodes] == ["b"]
    assert set(listed.rejected) == {"a"}


@pytest.mark.parametrize(
    "address",
    ["h:80", "10.0.0.1:65535", "[2001:db8::1]:80", "[fe80::1%eth0]:80", "my_host-1.example.com:80", "127.0.0.1:1"],
)
def test_addresses_that_can_be_dialled(address: str) -> None:
    assert usable("greeter", [ServiceRecord("greeter", "1", (Node("a", address),))], HERE).records


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:80", "127.1:80", "2130706433:80", "0x7f.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80",
        "localhost:80", "LOCALHOST.:80", "x.localhost:80", "0.0.0.0:80", "[::]:80", "0:80",
    ],
)  # fmt: skip
def test_loopback_records_of_another_host_are_left_out(address: str) -> None:
    def listed(host: str | None) -> bool:
        metadata = {} if host is None else {HOST_KEY: host}
        return bool(usable("greeter", [ServiceRecord("greeter", "1", (Node("a", address, metadata),))], HERE).records)

    assert listed(HERE)
    assert listed(None)
    assert not listed("there")


def test_another_hosts_other_addresses_are_fine() -> None:
    theirs = ServiceRecord("greeter", "1", (Node("a", "10.0.0.1:80", {HOST_KEY: "there"}),))
    assert usable("greeter", [theirs], HERE).records == (theirs,)


def test_the_number_of_nodes_is_capped() -> None:
    many = ServiceRecord("greeter", "1", tuple(node(f"n{number:03}") for number in range(30)))
    listed = usable("greeter", [many], HERE, limit=10)
    assert [each.id for each in listed.records[0].nodes] == [f"n{number:03}" for number in range(10)]
    assert len(listed.rejected) == 20


def test_other_services_and_empty_ids_stay_out() -> None:
    other = ServiceRecord("Greeter", "1", (node("x"),))
    odd = ServiceRecord("greeter", "1", (node(""), node("y" * 300), node("z")))
    assert [each.id for each in usable("greeter", [other, odd], HERE).records[0].nodes] == ["z"]


def test_a_node_listed_twice_counts_in_its_highest_version() -> None:
    nodes = made()
    nodes.apply(Snapshot((record("a", "1.10"), record("ab", "1.9"))))
    assert ids(nodes, Filter(version="1.10")) == "a"
    assert ids(nodes, Filter(version="1.9")) == "b"


def test_versions_are_ordered_by_their_numbers_and_long_ones_do_no_harm() -> None:
    assert sorted(["1.10", "1.9", "latest", "v2"], key=version_order) == ["latest", "v2", "1.9", "1.10"]
    version_order("9" * 100_000)
