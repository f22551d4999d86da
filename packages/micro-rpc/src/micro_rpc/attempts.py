"""The attempts of one call: which node is next, and whether there is a next one.

    how it failed    what is known                                       what follows
    not processed    the dial failed, nothing was written, or the        another node, until the deadline
                     server refused before dispatch and said so
    unknown          reset after sending, 408, a truncated reply         another node if the call is idempotent,
                                                                         at most `retries` times
    answered         any other error, a reply over a limit of ours       it is the caller's

Nodes that were not tried come first. When all were, discovery is looked at again and a new round begins after a pause
with full jitter. Every node taken from the selector is given back by `done` exactly once; discovery hears of every
attempt but the cancelled. When there is no further attempt, the last node's own error is raised; a deadline that passes
during an attempt is a 408 of the client's own. A budget for retries belongs into `_may_repeat`; nodes that keep failing
are discovery's to leave out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio
from micro_core import Attempt, Call, Node, NodeSet, Outcome, Reset, RPCError, ServiceNotFound, TransportError
from micro_core.codec import content_type_of
from micro_core.errors import BadGateway, BadRequest, ServiceUnavailable, Timeout

from micro_rpc.dialect import MUCP, Dialect
from micro_rpc.dialects import BY_PROTOCOL, content_type_at
from micro_rpc.wire import CLIENT_ID, bare

if TYPE_CHECKING:
    from micro_rpc.client import RPCClient
    from micro_rpc.plans import Plan

_NONE: Iterator[Node] = iter(())
_CANCELLED = Outcome.CANCELLED
Known: TypeAlias = tuple[NodeSet, NodeSet, Mapping[str, Dialect] | None]
"""Nodes as discovery knows them, those of them that may be called, and what these speak if that is not mucp alone."""


class Attempts:
    """The state of one call's retry loop.

    Attributes:
        dialects: what the nodes speak, by their ids; None where all of them speak mucp.
    """

    # Of the class, since most calls never look at them.
    _last: RPCError | None = None
    _nodes: NodeSet | None = None
    _order = _NONE
    _repeats = 0
    _rounds = 0
    _tried: set[str] | None = None

    def __init__(self, client: RPCClient, call: Call, started: float, deadline: float) -> None:
        self._client = client
        self._call = call
        self._started = started
        self._deadline = deadline
        self._address = call.address
        self.dialects: Mapping[str, Dialect] | None = None

    def first(self) -> Node | None:
        """A node, without waiting, where discovery knows one."""
        call = self._call
        if self._started >= self._deadline:
            raise self.circumstances(self._late(processed=False))
        if self._address is not None:
            return Node(self._address, self._address)
        client = self._client
        nodes = client.discovery.known(call.service, call.filter)
        if nodes is None:
            return None
        known = client.usable.get(call.service)
        if known is None or known[0] is not nodes:
            known = self._look_through(nodes)
        self._nodes = nodes = known[1]
        if known[2] is not None:
            self.dialects = known[2]
        self._order = order = iter(client.selector.select(nodes, key=call.key))
        return next(order, None)

    async def next(self) -> Node:
        """The node for the next attempt; waits for discovery, or between rounds. Raises RPCError when there is none."""
        if self._last is not None:
            node = next(self._order, None)
            if node is not None:
                return node
            if self._address is not None:
                await self._pause()
                return Node(self._address, self._address)
        return await self._next_round()

    async def _next_round(self) -> Node:
        while True:
            nodes = self._usable(await self._look())
            tried = self._tried
            if tried:
                untried = tuple(node for node in nodes.nodes if node.id not in tried)
                if untried:
                    nodes = NodeSet(nodes.service, untried, nodes.endpoints)
                else:
                    tried.clear()
                    await self._pause()
                    continue
            node = self._begin(nodes)
            if node is not None:
                return node
            await self._pause()

    async def _look(self) -> NodeSet:
        call = self._call
        discovery = self._client.discovery
        nodes = discovery.known(call.service, call.filter)
        if nodes is not None and nodes.nodes:
            return nodes
        try:
            return await discovery.find(call.service, call.filter, deadline=self._deadline)
        except ServiceNotFound as error:
            if self._last is None:
                raise self.circumstances(error) from None
            raise self.circumstances(self._last) from self._last.__cause__

    def _begin(self, nodes: NodeSet) -> Node | None:
        self._nodes = nodes
        self._order = iter(self._client.selector.select(nodes, key=self._call.key))
        return next(self._order, None)

    def _usable(self, nodes: NodeSet) -> NodeSet:
        known = self._client.usable.get(nodes.service)
        if known is None or known[0] is not nodes:
            known = self._look_through(nodes)
        self.dialects = known[2]
        return known[1]

    def _look_through(self, nodes: NodeSet) -> Known:
        usable = self._without_others(nodes)
        dialects = {node.id: BY_PROTOCOL[node.metadata.get("protocol", "")] for node in usable.nodes}
        mixed = any(dialect is not MUCP for dialect in dialects.values())
        known = self._client.usable[nodes.service] = nodes, usable, dialects if mixed else None
        return known

    def content_type_at(self, node: Node, plan: Plan) -> str | None:
        """The content type for a call at that node; None where it is the plan's."""
        dialects = self.dialects or {}
        call = self._call
        named = call.content_type or self._client.options.content_type
        asked = named or content_type_of(call.request_type, call.reply_type)
        wanted = bare(content_type_at(dialects.get(node.id, MUCP), asked))
        return None if wanted == plan.content_type else wanted

    @contextmanager
    def giving_back(self, node: Node) -> Iterator[None]:
        """A node that a call turns out not to be encodable for is given back; it did nothing wrong."""
        try:
            yield
        except BaseException as error:
            self.done(node, Outcome.CANCELLED, self.now(), error)
            raise

    def _without_others(self, nodes: NodeSet) -> NodeSet:
        spoken = [node for node in nodes.nodes if node.metadata.get("protocol", "") in BY_PROTOCOL]
        usable = self._within_reach(nodes, spoken)
        if len(usable) == len(nodes.nodes):
            return nodes
        if not usable:
            theirs = ", ".join(sorted({node.metadata["protocol"] for node in nodes.nodes}))
            ours = " and ".join(sorted(filter(None, BY_PROTOCOL)))
            raise self._unusable(f"the nodes of {nodes.service!r} speak {theirs}; the client 'rpc' speaks {ours}")
        return NodeSet(nodes.service, tuple(usable), nodes.endpoints)

    def _within_reach(self, nodes: NodeSet, ours: list[Node]) -> list[Node]:
        """Without those that are called by TLS alone, where this transport has none."""
        if _by_tls(self._client.transport.node_metadata):
            return ours
        plain = [node for node in ours if not _by_tls(node.metadata)]
        if ours and not plain:
            text = "are called by TLS alone: set MICRO_TRANSPORT_TLS_CA to their CA's file"
            raise self._unusable(f"the nodes of {nodes.service!r} {text}")
        return plain

    def _unusable(self, text: str) -> RPCError:
        """There are nodes, and this client can call none of them."""
        error = ServiceUnavailable(text, id=CLIENT_ID)
        error.outcome = Outcome.NOT_PROCESSED
        return self.circumstances(error)

    async def _pause(self) -> None:
        client = self._client
        longest = min(client.options.backoff * 2.0 ** min(self._rounds, 30), client.options.backoff_max)
        self._rounds += 1
        delay = random.uniform(0.0, longest)  # noqa: S311 - jitter, no secret
        if client.clock() + delay >= self._deadline:
            raise self.expired()
        await anyio.sleep(delay)

    def abandoned(self, node: Node, began: float, error: BaseException) -> None:
        """The attempt was cut off by something that is no answer: a cancellation, or a bug."""
        cancelled = isinstance(error, self._client.cancelled)
        self.done(node, Outcome.CANCELLED if cancelled else Outcome.UNKNOWN, began, error)

    def failed(self, node: Node, began: float, failure: TransportError | ValueError | RPCError) -> None:
        """Returns when there may be another attempt, else raises what the caller should see."""
        error = self.translated(node, failure)
        outcome = error.outcome
        self.done(node, outcome, began, error)
        if self._last is None or outcome is not Outcome.NOT_PROCESSED or not isinstance(error, Timeout):
            self._last = error
        if self._tried is None:
            self._tried = set()
        self._tried.add(node.id)
        if not self._may_repeat(outcome, failure):
            raise self.circumstances(self._last) from self._last.__cause__

    def _may_repeat(self, outcome: Outcome, failure: Exception) -> bool:
        if isinstance(failure, ValueError) and self._address is not None:
            return False
        if outcome is Outcome.ANSWERED or self._client.clock() >= self._deadline:
            return False
        if outcome is Outcome.NOT_PROCESSED:
            return True
        self._repeats += 1
        call = self._call
        most = self._client.options.retries if call.retries is None else call.retries
        return self._repeats <= most and self._idempotent()

    def _idempotent(self) -> bool:
        call = self._call
        if call.idempotent is not None:
            return call.idempotent
        endpoint = None if self._nodes is None else self._nodes.endpoints.get(call.endpoint)
        return endpoint is not None and endpoint.metadata.get("idempotent") == "true"

    def translated(self, node: Node | None, failure: TransportError | ValueError | RPCError) -> RPCError:
        """A failure as the caller sees it, with its outcome."""
        if isinstance(failure, RPCError):
            return failure
        error: RPCError
        if isinstance(failure, ValueError):
            kind = BadRequest if self._address is not None else ServiceUnavailable
            error = kind(f"{_shown(node)} cannot be called: {failure}", id=CLIENT_ID)
            error.outcome = Outcome.NOT_PROCESSED
        elif failure.reason is Reset.DEADLINE:
            error = self._late(processed=failure.processed)
        elif failure.reason is Reset.LIMIT and failure.processed:
            error = BadGateway(_at(node, failure), id=CLIENT_ID)
            error.outcome = Outcome.ANSWERED
        else:
            failed_before = not failure.processed
            error = (ServiceUnavailable if failed_before else BadGateway)(_at(node, failure), id=CLIENT_ID)
            error.outcome = Outcome.NOT_PROCESSED if failed_before else Outcome.UNKNOWN
        error.__cause__ = failure
        return error

    def _late(self, *, processed: bool) -> RPCError:
        error = Timeout("the deadline passed", id=CLIENT_ID)
        error.outcome = Outcome.UNKNOWN if processed else Outcome.NOT_PROCESSED
        return error

    def nothing_sent(self, error: RPCError) -> RPCError:
        """An error that was found before anything was sent."""
        error.outcome = Outcome.NOT_PROCESSED
        return self.circumstances(error)

    def expired(self) -> RPCError:
        """The error of a call whose deadline passed between two attempts."""
        return self.circumstances(self._last or self._late(processed=False))

    def now(self) -> float:
        """Clock seconds."""
        return self._client.clock()

    def done(self, node: Node, outcome: Outcome, began: float, error: BaseException | None = None) -> None:
        """Gives the node back, writes the attempt down, and tells discovery how it ended."""
        client, call = self._client, self._call
        clock = client.clock
        seconds = clock() - began
        call.attempts.append(Attempt(node, outcome, seconds, error))
        if self._address is None:
            client.selector.done(node, outcome, seconds)
            if outcome is not _CANCELLED:
                client.discovery.report(call.service, node, outcome)

    def circumstances(self, error: RPCError) -> RPCError:
        """The error with what only the caller's side knows."""
        call = self._call
        error.service = call.service
        error.endpoint = call.endpoint
        error.attempts = len(call.attempts)
        error.node = call.attempts[-1].node.id if call.attempts else None
        error.elapsed = self._client.clock() - self._started
        return error


def _by_tls(metadata: Mapping[str, str]) -> bool:
    return metadata.get("tls") == "1"


def _at(node: Node | None, failure: TransportError) -> str:
    """The transport's own words, with the address unless they name it."""
    text, address = str(failure), _shown(node)
    return text if address in text else f"{address}: {text}"


def _shown(node: Node | None) -> str:
    return "the server" if node is None else node.address
