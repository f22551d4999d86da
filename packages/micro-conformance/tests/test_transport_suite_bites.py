"""Each sentence of TransportConformance has a quirk that breaks it, and is caught by that sentence's test.

The double waits by looking again every half millisecond; a quirk is the name of the one thing that it does wrong.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Any

import anyio
import pytest
import sniffio
from micro_conformance import TransportConformance
from micro_core import (
    ConfigurationError,
    EndOfStream,
    Exchange,
    Listener,
    Message,
    Peer,
    Reset,
    StreamCall,
    Transport,
    TransportError,
)

LIMIT = 1_000_000
PEER = Peer("double:1")


async def look_again() -> None:
    await anyio.sleep(0.0005)


class Pipe:
    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.ended = False
        self.trailer: dict[str, str] = {}
        self.failure: Reset | None = None

    def fail(self, reason: Reset) -> None:
        if not self.ended:
            self.failure = self.failure or reason


class DoubleExchange(Exchange):
    def __init__(self, quirk: str, request: dict[str, str], incoming: Pipe, outgoing: Pipe) -> None:
        self.quirk = quirk
        self.request = {} if quirk == "request is empty" else dict(request)
        self.reply: dict[str, str] = {}
        self.trailer: dict[str, str] = {}
        self.peer = Peer("") if quirk == "nobody is the peer" else PEER
        self.incoming = incoming
        self.outgoing = outgoing
        self.other: DoubleExchange | None = None
        self.work: StreamCall | None = None
        self.over = False

    async def send(self, body: Any) -> None:
        out = self.outgoing
        if self.quirk == "cancelled send cuts" and len(out.items) == 7:
            out.items.append(bytes(body)[:10])
        while len(out.items) >= 8 and out.failure is None and self.quirk != "takes everything":
            await look_again()
        if self.quirk == "cancelled send cuts" and out.items and len(out.items[-1]) == 10:
            out.items.pop()
        if self.quirk == "reset wakes no send" and len(out.items) >= 8:
            await anyio.sleep_forever()
        if out.failure or (out.ended and self.quirk != "sends after its end"):
            raise TransportError("over", out.failure or Reset.PROTOCOL, processed=True)
        if self.quirk == "swaps messages" and out.items and self.work is not None:
            out.items.appendleft(bytes(body))
        else:
            out.items.append(body if self.quirk == "keeps the buffer" else bytes(body))

    async def end(self, trailer: Any = None, body: Any = b"") -> None:
        if self.quirk == "ends once" and self.outgoing.ended:
            raise TransportError("ended", Reset.PROTOCOL, processed=True)
        if self.quirk == "end closes both" and not self.incoming.ended:
            self.incoming.fail(Reset.GONE)
        if self.outgoing.failure:
            raise TransportError("over", self.outgoing.failure, processed=True)
        if body and self.quirk == "the end's body is a message":
            self.outgoing.items.append(bytes(body))
        if not self.outgoing.ended:
            self.outgoing.trailer = {} if self.quirk == "drops trailers" else dict(trailer or {})
            if self.quirk == "always a trailer" and trailer is None:
                self.outgoing.trailer = {"micro-status": "ok"}
        self.outgoing.ended = True

    async def recv(self) -> bytes:
        incoming = self.incoming
        if self.quirk == "cancelled recv loses" and incoming.items:
            body = incoming.items.popleft()
            await look_again()
            return bytes(body)
        while not incoming.items and not incoming.ended and incoming.failure is None:
            await look_again()
        ends = self.quirk == "no reply head at the end" and not incoming.items
        if self.other is not None and self.quirk != "no reply head" and not ends:
            self.reply = dict(self.other.reply)
        if self.quirk == "a reset drops messages" and incoming.failure:
            incoming.items.clear()
        if incoming.items:
            return bytes(incoming.items.popleft())
        if incoming.ended and not (self.over and self.quirk == "ends, then fails"):
            self.trailer, self.over = incoming.trailer, True
            raise EndOfStream
        if self.quirk == "reset wakes no recv":
            await anyio.sleep_forever()
        raise TransportError("over", incoming.failure or Reset.GONE, processed=True)

    def send_nowait(self, body: Any) -> bool:
        out, quirk = self.outgoing, self.quirk
        if (out.ended or out.failure) and quirk != "sends without waiting after its end":
            return False
        if len(out.items) >= 8 and quirk != "takes everything without waiting":
            return False
        if quirk == "overtakes without waiting":
            out.items.appendleft(bytes(body))
        elif quirk != "sends nothing without waiting":
            out.items.append(body if quirk == "keeps the buffer without waiting" else bytes(body))
        return True

    def recv_nowait(self) -> bytes | None:
        if not self.incoming.items:
            return b"" if self.quirk == "receives nothing without waiting" else None
        if self.other is not None and self.quirk != "no reply head without waiting":
            self.reply = dict(self.other.reply)
        return bytes(self.incoming.items.popleft())

    def reset(self, reason: Reset) -> None:
        ended = self.incoming.ended and self.outgoing.ended
        if ended and self.quirk != "a late reset cancels":
            return
        if self.quirk == ("server resets are lost" if self.work is None else "client resets are lost"):
            return
        self.incoming.fail(reason)
        self.outgoing.fail(reason)
        if self.work is not None:
            self.work.cancel(reason)


class DoubleListener(Listener):
    def __init__(self, owner: Double, address: str, accept: Any) -> None:
        self.owner = owner
        self.quirk = owner.quirk
        self.address = address
        self.accept = accept
        self.works: list[Any] = []
        self.exchanges: list[DoubleExchange] = []
        self.draining = False
        self.closed = False

    async def run(self, work: Any, *arguments: Any) -> None:
        slot: dict[str, Any] = arguments[-1]
        self.works.append(work)
        try:
            slot["reply"] = await work.run(*arguments[:-1])
        finally:
            slot["done"] = True
            self.works.remove(work)

    async def drain(self, deadline: float) -> None:
        self.draining = self.quirk != "drain goes on serving"
        if self.quirk == "drain returns at once":
            return
        if self.quirk == "drain cuts streams":
            for exchange in self.exchanges:
                exchange.reset(Reset.GONE)
        while self.works and (anyio.current_time() < deadline or self.quirk == "drain waits for ever"):
            await look_again()
        if self.quirk == "drain ends the work":
            for work in tuple(self.works):
                work.cancel(Reset.GONE)

    async def aclose(self) -> None:
        if self.quirk == "cancelled aclose does nothing":
            await anyio.lowlevel.checkpoint()
        self.close()

    def close(self) -> None:
        if self.closed and self.quirk == "closes once":
            raise RuntimeError("closed")
        self.closed = True
        self.owner.net.pop(self.address, None)
        if self.quirk == "the address stays taken":
            self.owner.net[self.address] = "taken"
        for work in tuple(self.works):
            work.cancel(Reset.CANCELLED if self.quirk == "aclose cancels without a reason" else Reset.GONE)
        for exchange in self.exchanges:
            exchange.reset(Reset.GONE)


class Double(Transport):
    def __init__(self, net: dict[str, Any], quirk: str = "") -> None:
        self.net = net
        self.quirk = quirk
        if quirk == "needs a loop":
            sniffio.current_async_library()
        self.opened: list[DoubleExchange] = []
        self.listeners: list[DoubleListener] = []
        self.late: Any = None
        self.slots: list[Any] = []
        self.ports = count(5000) if quirk != "one port" else iter([5000] * 99)
        self.group: Any = None
        self.left = False

    @property
    def node_metadata(self) -> Any:
        if self.quirk == "says what is no text":
            return {"tls": 1}
        return {"served": "1"} if self.listeners and self.quirk == "says something else later" else {}

    async def __aenter__(self):
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        return self

    async def __aexit__(self, kind, error, trace):
        if self.left and self.quirk == "leaves once":
            raise RuntimeError("left")
        if self.quirk == "hangs when cancelled" and kind is not None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
        self.left = True
        if self.quirk != "keeps listening":
            for listener in self.listeners:
                with suppress(RuntimeError):
                    listener.close()
        if self.quirk != "a client leaves in silence":
            for exchange in self.opened:
                exchange.reset(Reset.GONE)
        group, self.group = self.group, None
        if group is not None:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)
        if self.quirk == "raises groups" and isinstance(error, LookupError):
            raise ExceptionGroup("unhandled", [error])

    def check(self, address: str, head: dict[str, str]) -> None:
        if self.quirk != "any head":
            for name, value in head.items():
                if not name.strip() or set(name + value) & set("\r\n\0") or " " in name:
                    raise ValueError("a head that cannot be")
        self.parse(address)

    def parse(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if self.quirk != "any address" and not (host and port.isdigit() and int(port) < 65536):
            raise ValueError(f"no address: {address!r}")

    def reach(self, address: str, *, streams: bool = False) -> DoubleListener:
        listener = self.net.get(address)
        if streams and isinstance(listener, DoubleListener) and self.quirk == "streams are opened while draining":
            return listener
        if not isinstance(listener, DoubleListener):
            raise TransportError("refused", Reset.REFUSED, processed=self.quirk == "a dial that failed is unknown")
        if listener.draining:
            raise TransportError("draining", Reset.REFUSED, processed=self.quirk == "draining loses calls")
        return listener

    async def call(self, address: str, request: Message, *, verify_name: Any = None, deadline: float) -> Message:
        if sniffio.current_async_library() == "asyncio" and self.quirk == "anyio in a callback":
            await in_a_callback()
        self.check(address, request.head)
        listener = self.reach(address)
        if self.quirk == "marks requests":
            request.head["x-mark"] = "1"
        if self.quirk == "empties requests":
            request = self.emptied(request)
        if len(request.body) > LIMIT and self.quirk != "any request":
            return Message({"micro-error": "too large"})
        head = request.head if self.quirk == "shares heads" else dict(request.head)
        if self.quirk == "drops heads":
            head.pop("x-empty", None)
        if self.late is not None and self.quirk == "late replies":
            late, self.late = self.late, None
            return await self.reply(late, deadline)
        work = listener.accept(head, Peer("") if self.quirk == "nobody calls" else PEER)
        if isinstance(work, Message):
            return Message({}) if self.quirk == "empty refusals" else Message(dict(work.head), work.body)
        slot: dict[str, Any] = {}
        self.slots.append(slot)
        listener.owner.group.start_soon(listener.run, work, bytes(request.body), slot)
        try:
            with anyio.CancelScope(deadline=deadline if self.quirk != "no deadline" else float("inf")):
                return await self.reply(self.slots[0] if self.quirk == "mixes replies" else slot, deadline)
        except BaseException:
            self.late = slot
            if self.quirk != "cancelled calls run on":
                work.cancel(Reset.CANCELLED)
            raise
        work.cancel(Reset.DEADLINE)
        raise TransportError("deadline", Reset.DEADLINE, processed=True)

    def emptied(self, request: Message) -> Message:
        sent, request.body = Message(request.head, request.body), b""
        return sent

    async def reply(self, slot: dict[str, Any], deadline: float) -> Message:
        while "done" not in slot:
            await look_again()
        if slot.get("reply") is None:
            raise TransportError("gone", Reset.GONE, processed=self.quirk != "gone is not processed")
        reply: Message = slot["reply"]
        if len(reply.body) > LIMIT and self.quirk != "any reply":
            raise TransportError("too large", Reset.LIMIT, processed=True)
        if "micro-error" in reply.head and self.quirk == "raises replies":
            raise TransportError(reply.head["micro-error"], Reset.PROTOCOL, processed=True)
        return reply if self.quirk == "shares heads" else Message(dict(reply.head), reply.body)

    async def open(
        self, address: str, head: Any, *, opening: Any = b"", verify_name: Any = None, deadline: float
    ) -> Exchange:
        self.check(address, head)
        listener = self.reach(address, streams=True)
        work = listener.accept(dict(head), PEER)
        there, back = Pipe(), Pipe()
        near = DoubleExchange(self.quirk, head, back, there)
        self.opened.append(near)
        if isinstance(work, Message):
            self.refuse(back, work)
            return near
        far = DoubleExchange(self.quirk, head, there, back)
        near.other, near.work = far, work
        if self.quirk == "mixes streams":
            near.outgoing = far.incoming = self.opened[0].outgoing
        if opening and self.quirk == "the opening is a message":
            there.items.append(bytes(opening))
        listener.exchanges.append(far)
        listener.owner.group.start_soon(listener.run, work, far, {})
        if self.quirk == "the deadline is for life":
            self.group.start_soon(cut, near, deadline)
        while self.quirk == "an opening waits for an answer" and not (back.items or back.ended):
            await look_again()
        return near

    def refuse(self, back: Pipe, refusal: Message) -> None:
        back.ended, back.trailer = True, {} if self.quirk == "empty refusals" else dict(refusal.head)
        if self.quirk == "a refusal without error is a message" and "micro-error" not in refusal.head:
            back.items.append(refusal.body)
        if self.quirk == "the body of a refusal is a message" and refusal.body:
            back.items.append(refusal.body)
        if self.quirk == "a refusal is a reset":
            back.ended, back.failure = False, Reset.REFUSED

    async def listen(self, address: str, accept: Any) -> Listener:
        try:
            self.parse(address)
        except ValueError as error:
            if self.quirk == "unbound is a value error":
                raise
            raise ConfigurationError(str(error)) from error
        host, _, port = address.rpartition(":")
        bound = address if port != "0" else next(self.free(host))
        if bound in self.net and self.quirk != "one port":
            raise ConfigurationError("in use")
        listener = DoubleListener(self, bound, accept)
        if self.quirk == "port 0 stays 0":
            listener.address = address
        self.net[listener.address] = listener
        self.listeners.append(listener)
        return listener

    def forget(self, address: str) -> None:
        if self.quirk == "forgets known addresses alone":
            self.parse(address)
        elif self.quirk == "forgets for ever":
            del self.net[address]
        elif self.quirk == "forgetting cuts":
            for exchange in self.opened:
                exchange.reset(Reset.GONE)

    def free(self, host: str) -> Any:
        return (f"{host}:{port}" for port in self.ports if f"{host}:{port}" not in self.net or self.quirk == "one port")


async def cut(exchange: DoubleExchange, deadline: float) -> None:
    await anyio.sleep(deadline - anyio.current_time())
    exchange.reset(Reset.DEADLINE)


async def in_a_callback() -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def now() -> None:
        try:
            ready.set_result(anyio.current_time())
        except Exception as error:
            ready.set_exception(error)

    loop.call_soon(now)
    await ready


class Suite(TransportConformance):
    patience = 2.0
    max_message = LIMIT


class Impatient(Suite):
    patience = 0.6


BROKEN = [
    ("drops heads", "heads_and_bodies_arrive_as_they_were_sent"),
    ("raises replies", "call_returns_the_reply_whatever_its_head_says"),
    ("shares heads", "a_head_that_was_given_may_be_changed_by_whoever_got_it"),
    ("marks requests", "the_request_is_left_as_it_is"),
    ("empties requests", "the_request_is_left_as_it_is"),
    ("mixes replies", "many_calls_at_once_each_get_their_own_reply"),
    ("no deadline", "at_the_deadline_the_outcome_is_unknown_and_the_work_is_cancelled"),
    ("cancelled calls run on", "a_cancelled_call_cancels_the_work"),
    ("late replies", "a_cancelled_call_leaves_no_late_reply_to_another_call"),
    ("a dial that failed is unknown", "when_nobody_can_have_seen_the_call_it_is_not_processed"),
    ("gone is not processed", "when_the_peer_goes_half_way_it_is_gone_and_may_be_processed"),
    ("any head", "a_head_that_no_header_may_hold_is_a_value_error"),
    ("any address", "a_malformed_address_is_a_value_error"),
    ("any reply", "a_reply_over_the_limit_is_told_from_one_that_cannot_be_parsed"),
    ("any request", "a_request_over_the_limit_never_runs"),
    ("forgetting cuts", "forget_leaves_what_is_under_way_and_what_comes_later_alone"),
    ("forgets for ever", "forget_leaves_what_is_under_way_and_what_comes_later_alone"),
    ("forgets known addresses alone", "forget_never_raises"),
    ("says what is no text", "what_its_nodes_say_is_texts_and_the_same_for_its_life"),
    ("says something else later", "what_its_nodes_say_is_texts_and_the_same_for_its_life"),
    ("empty refusals", "a_refusal_is_sent_as_it_is"),
    ("nobody calls", "the_peer_is_told_to_both_sides"),
    ("nobody is the peer", "the_peer_is_told_to_both_sides"),
    ("one port", "port_0_is_any_free_one_and_the_address_says_which"),
    ("port 0 stays 0", "port_0_is_any_free_one_and_the_address_says_which"),
    ("unbound is a value error", "an_address_that_cannot_be_bound_is_a_configuration_error"),
    ("drain returns at once", "drain_returns_when_what_was_accepted_has_ended"),
    ("drain waits for ever", "drain_returns_at_the_deadline"),
    ("drain goes on serving", "calls_that_arrive_while_draining_may_be_tried_elsewhere"),
    ("draining loses calls", "calls_that_arrive_while_draining_may_be_tried_elsewhere"),
    ("streams are opened while draining", "streams_that_arrive_while_draining_may_be_opened_elsewhere"),
    ("draining loses calls", "streams_that_arrive_while_draining_may_be_opened_elsewhere"),
    ("drain cuts streams", "drain_leaves_accepted_work_alone_also_at_the_deadline"),
    ("drain ends the work", "drain_leaves_accepted_work_alone_also_at_the_deadline"),
    ("aclose cancels without a reason", "aclose_cancels_running_calls_with_gone_and_is_idempotent"),
    ("closes once", "aclose_cancels_running_calls_with_gone_and_is_idempotent"),
    ("cancelled aclose does nothing", "aclose_closes_the_address_also_when_cancelled"),
    ("the address stays taken", "a_server_that_came_back_at_its_address_is_called_again"),
    ("keeps listening", "leaving_the_transport_closes_what_it_listens_at"),
    ("anyio in a callback", "it_works_under_plain_asyncio"),
    ("needs a loop", "constructing_needs_no_event_loop"),
    ("leaves once", "leaving_twice_does_nothing"),
    ("hangs when cancelled", "leaving_releases_everything_also_when_cancelled"),
    ("raises groups", "an_exception_inside_the_block_comes_out_as_it_is"),
    ("swaps messages", "messages_go_both_ways_in_order"),
    ("mixes streams", "many_streams_at_once_do_not_mix"),
    ("request is empty", "request_is_what_the_caller_opened_with"),
    ("the opening is a message", "the_body_of_the_opening_message_is_no_message"),
    ("an opening waits for an answer", "open_returns_when_the_opening_was_sent"),
    ("empty refusals", "a_refusal_of_the_opening_ends_the_exchange_and_is_its_trailer"),
    ("a refusal is a reset", "a_refusal_of_the_opening_ends_the_exchange_and_is_its_trailer"),
    ("a refusal without error is a message", "a_refusal_of_the_opening_ends_the_exchange_and_is_its_trailer"),
    ("the body of a refusal is a message", "a_refusal_of_the_opening_ends_the_exchange_and_is_its_trailer"),
    ("the end's body is a message", "a_body_that_comes_with_the_end_is_no_message"),
    ("no reply head at the end", "the_reply_head_is_complete_once_recv_raised"),
    ("no reply head", "the_reply_head_is_complete_once_recv_returned"),
    ("the deadline is for life", "the_deadline_covers_opening_it_not_its_life"),
    ("takes everything", "send_waits_while_the_peer_does_not_read"),
    ("keeps the buffer", "the_buffer_may_be_reused_once_send_returned"),
    ("cancelled send cuts", "a_cancelled_send_leaves_an_exchange_that_works_or_was_reset"),
    ("sends after its end", "sending_after_end_is_a_transport_error"),
    ("overtakes without waiting", "what_is_sent_and_received_without_waiting_stays_in_order"),
    ("sends nothing without waiting", "what_is_sent_and_received_without_waiting_stays_in_order"),
    ("takes everything without waiting", "send_nowait_says_no_at_last_while_the_peer_does_not_read"),
    ("sends without waiting after its end", "send_nowait_sends_nothing_when_this_side_has_ended_or_was_reset"),
    ("keeps the buffer without waiting", "the_buffer_may_be_reused_once_send_nowait_returned"),
    ("receives nothing without waiting", "recv_nowait_gives_nothing_where_nothing_arrived_and_at_the_end"),
    ("no reply head without waiting", "the_reply_head_is_complete_once_recv_nowait_returned_a_message"),
    ("end closes both", "one_side_may_end_while_the_other_goes_on"),
    ("ends once", "end_is_idempotent"),
    ("drops trailers", "the_trailer_is_complete_once_recv_raised_end_of_stream"),
    ("always a trailer", "the_trailer_is_complete_once_recv_raised_end_of_stream"),
    ("ends, then fails", "end_of_stream_comes_again_at_every_further_call"),
    ("cancelled recv loses", "a_cancelled_recv_loses_nothing"),
    ("a reset drops messages", "messages_that_had_arrived_are_delivered_before_a_reset"),
    ("reset wakes no recv", "reset_wakes_a_waiting_recv"),
    ("reset wakes no send", "reset_wakes_a_waiting_send"),
    ("client resets are lost", "a_reset_at_the_client_reaches_the_server"),
    ("server resets are lost", "a_reset_at_the_server_reaches_the_client"),
    ("a late reset cancels", "reset_is_idempotent_and_nothing_after_both_sides_ended"),
    ("a client leaves in silence", "a_client_that_disappears_cancels_the_stream"),
]


def fixtures(quirk):
    net: dict[str, Any] = {}
    make = lambda: Double(net, quirk)  # noqa: E731
    return {"make_transport": make, "make_component": make}


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures("")) == {}


@pytest.mark.parametrize(("quirk", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, quirk, sentence):
    assert run_suite(Impatient, lambda: fixtures(quirk), f"test_{sentence}")


def test_every_sentence_has_a_quirk_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
