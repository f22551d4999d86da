"""The client: calls and streams, each an attempt at one node after another until one answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import Self

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from micro_core import (
    Call,
    Client,
    Clock,
    Codecs,
    DecodeError,
    Discovery,
    Head,
    Message,
    Node,
    Outcome,
    Reply,
    Selector,
    Transport,
    TransportError,
    UnsupportedType,
    capture_clock,
    option,
)
from micro_core.errors import BadRequest, UnsupportedMediaType
from micro_core.scopes import capture_scopes

from micro_rpc.attempts import Attempts, Known
from micro_rpc.client_stream import ClientStream
from micro_rpc.plans import Plan, Plans
from micro_rpc.wire import CLIENT_ID, unreadable

_OK = Outcome.OK


@dataclass(frozen=True, slots=True)
class RPCClientOptions:
    """Options of the client `rpc`."""

    request_timeout: float = option(5.0, help="seconds for a call that names no deadline", minimum=0.001)
    retries: int = option(2, help="how often an idempotent call of unknown outcome is repeated", minimum=0)
    content_type: str = option(
        "", help="of calls that name none; by default application/protobuf for messages, else application/json"
    )
    backoff: float = option(0.05, help="longest pause in seconds before the second round of nodes", minimum=0.0)
    backoff_max: float = option(1.0, help="longest pause in seconds between rounds of nodes", minimum=0.0)


class RPCClient(Client):
    """Calls by Go Micro's mucp (WIRE §5), in its envelopes, and by gRPC: as the content type or the node asks."""

    Options = RPCClientOptions

    def __init__(
        self, discovery: Discovery, selector: Selector, transport: Transport, codecs: Codecs, options: RPCClientOptions
    ) -> None:
        self.discovery = discovery
        self.selector = selector
        self.options = options
        self.clock: Clock = _not_entered
        self._scopes: Clock = _not_entered
        self.cancelled: type[BaseException] = BaseException
        self.usable: dict[str, Known] = {}
        self.transport = transport
        self._plans = Plans(codecs)
        self._ids = count()

    async def __aenter__(self) -> Self:
        self.clock = capture_clock()
        self._scopes = capture_scopes()
        self.cancelled = anyio.get_cancelled_exc_class()
        return self

    async def call(self, call: Call) -> Reply:  # noqa: D102
        clock = self.clock
        started = clock()
        deadline = started + self.options.request_timeout if call.deadline is None else call.deadline
        call.deadline = deadline
        attempts = Attempts(self, call, started, deadline)
        plan, head = self._prepare(call, attempts)
        body = self._encode(call, plan, head, attempts)
        scopes = self._scopes
        scoped = scopes()
        told = min(deadline, scoped)
        if told == -math.inf:
            await checkpoint_if_cancelled()  # before anything is sent
            told = deadline
        node = attempts.first() or await attempts.next()
        while True:
            if attempts.dialects is not None:
                plan, head, body = self._as_spoken_at(node, plan, head, body, call, attempts)
            began = clock()
            if told < math.inf:
                timeout = plan.timeout
                head[plan.timeout_header] = timeout(told - began)
            try:
                reply = await self.transport.call(
                    node.address, Message(head, body), verify_name=call.service, deadline=deadline
                )
            except (TransportError, ValueError) as error:
                attempts.failed(node, began, error)
            except BaseException as error:
                attempts.abandoned(node, began, error)
                raise
            else:
                refusal, decode = plan.refusal, plan.decode
                failure = refusal(reply.head, reply.body)
                if failure is None:
                    attempts.done(node, _OK, began)
                    try:
                        value = decode(reply.body)
                    except DecodeError as error:
                        raise self._undecodable(call, plan, attempts, reply, error) from None
                    return Reply(value, reply.head, None if call.address else node)
                attempts.failed(node, began, failure)
            head = head.copy()  # whoever got the last one may hold it still
            node = await attempts.next()

    async def stream(self, call: Call) -> Reply:  # noqa: D102
        started = self.clock()
        deadline = call.open_deadline
        if deadline is None:
            deadline = started + self.options.request_timeout
        if call.deadline is not None:
            deadline = min(deadline, call.deadline)
        attempts = Attempts(self, call, started, deadline)
        stream = ClientStream(self, call, attempts, deadline)
        await stream.open()
        return Reply(None, None, stream.node, stream)

    def opening(self, call: Call, attempts: Attempts, content_type: str | None = None) -> tuple[Plan, Head]:
        """What a stream is opened with; by the call's own content type, or another. Raises BadRequest."""
        plan, head = self._prepare(call, attempts, content_type)
        if plan.numbered:
            head["micro-stream"] = head["micro-id"]
        if call.deadline is not None and call.deadline < math.inf:
            told = self._told(call.deadline)
            left = (told if told > -math.inf else call.deadline) - self.clock()
            head[plan.timeout_header] = plan.timeout(left)
        return plan, head

    def _prepare(
        self, call: Call, attempts: Attempts, content_type: str | None = None, id: str | None = None
    ) -> tuple[Plan, Head]:
        try:
            plan = self._plans.get(call, content_type or call.content_type or self.options.content_type)
            head = plan.head.copy()
            if call.metadata:
                metadata = plan.metadata
                head.update(metadata(call.metadata))
        except BadRequest as error:
            raise attempts.nothing_sent(error) from error.__cause__
        except ValueError as error:
            raise attempts.nothing_sent(BadRequest(str(error), id=CLIENT_ID)) from None
        if plan.numbered:
            head["micro-id"] = id or str(next(self._ids))
        return plan, head

    def _as_spoken_at(
        self, node: Node, plan: Plan, head: Head, body: bytes, call: Call, attempts: Attempts
    ) -> tuple[Plan, Head, bytes]:
        other = attempts.content_type_at(node, plan)
        if other is None:
            return plan, head, body
        with attempts.giving_back(node):
            plan, head = self._prepare(call, attempts, other, head.get("micro-id"))
            return plan, head, self._encode(call, plan, head, attempts)

    def _told(self, deadline: float) -> float:
        """The deadline that the server is told: the caller's scopes count, but end the call here by themselves.

        Minus infinity where one of them is cancelled.
        """
        return min(deadline, self._scopes())

    def _encode(self, call: Call, plan: Plan, head: Head, attempts: Attempts) -> bytes:
        try:
            encode, pack = plan.encode, plan.pack
            body = encode(call.request)
            return body if pack is None else pack(head, body)
        except UnsupportedType as error:
            text = f"the request cannot be encoded as {plan.head['content-type']}: {error}"
            raise attempts.nothing_sent(BadRequest(text, id=CLIENT_ID)) from error

    def _undecodable(self, call: Call, plan: Plan, attempts: Attempts, reply: Message, error: DecodeError) -> Exception:
        call.attempts[-1].error = error
        said = reply.body[:200].decode("utf-8", "replace")
        if said.lower().startswith("unsupported content-type"):
            return attempts.circumstances(UnsupportedMediaType(said, id=CLIENT_ID))
        what, asked = f"the reply of {call.service} {call.endpoint}", plan.head["content-type"]
        return unreadable(what, call.attempts[-1].node, reply.head, reply.body, asked, error)


def _not_entered() -> float:
    raise RuntimeError("the client makes calls only inside `async with`")
