"""Each sentence of ClientServerConformance has a quirk that breaks it, and is caught by that sentence's test.

The double is a client and a server over the transport `memory`; a quirk names the one thing that they do wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import Any

import anyio
import pytest
import sniffio
from micro_conformance import ClientServerConformance
from micro_conformance.pair import Parts
from micro_conformance.parts import PlainCodec
from micro_conformance.works import Streaming, Work
from micro_core import (
    Attempt,
    Call,
    Client,
    ConfigurationError,
    DecodeError,
    EndOfStream,
    Message,
    Node,
    NodeSet,
    Outcome,
    Reply,
    Reset,
    RPCError,
    Server,
    ServiceNotFound,
    Stream,
    TransportError,
    UnsupportedContentType,
    UnsupportedType,
)
from micro_core.errors import BadRequest, NotFound, ServiceUnavailable, Timeout, UnsupportedMediaType, from_wire
from micro_core.loader import load

log = logging.getLogger("micro.server.double")
JSON = "application/json"


def to_head(error: RPCError) -> dict[str, str]:
    fields = {"id": error.id, "code": error.code, "detail": error.detail, "status": error.status}
    return {"content-type": JSON, "micro-error": json.dumps(fields)}


def from_head(head: dict[str, str]) -> RPCError | None:
    if "micro-error" not in head:
        return None
    fields = json.loads(head["micro-error"])
    return from_wire(fields["detail"], id=fields["id"], code=fields["code"])


class DoubleServer(Server):
    def __init__(self, transport: Any, codecs: Any, quirk: str) -> None:
        if quirk == "speaks another protocol":
            self.protocol = "another"  # type: ignore[misc]
        if quirk == "the server needs a loop":
            sniffio.current_async_library()
        self.transport = transport
        self.codecs = codecs
        self.quirk = quirk
        self.lock = anyio.Lock()

    async def serve(self, address: str, service: str, handlers: Any) -> Any:
        try:
            if self.quirk != "any type":
                for handler in handlers:
                    self.codecs(JSON).decoder(handler.request_type)
            listener = await self.transport.listen(address, partial(self.accept, service, list(handlers)))
        except UnsupportedType as error:
            raise ConfigurationError(str(error)) from error
        except ConfigurationError as error:
            if self.quirk == "a foreign bind error":
                raise OSError(str(error)) from error
            raise
        if self.quirk == "serves for ever":
            listener.aclose = anyio.lowlevel.checkpoint
        return listener

    def accept(self, service: str, handlers: Any, head: Any, peer: Any) -> Any:
        found = {handler.endpoint.name: handler for handler in handlers}.get(head["micro-endpoint"])
        if found is None and self.quirk == "drops unknown streams":
            return Message({})
        if found is None:
            return Message(to_head(NotFound("no such endpoint", id=service) if self.quirk != "any 500" else RPCError()))
        if found.streaming != ("micro-stream" in head) and self.quirk != "any shape":
            return Message(to_head(BadRequest("not that kind of call", id=service)))
        try:
            self.codecs(head["content-type"])
        except UnsupportedContentType as error:
            kind = BadRequest if self.quirk == "415 is 400" else UnsupportedMediaType
            return Message(to_head(kind(str(error), id=service)))
        call = self.call_of(service, head, peer)
        if "micro-stream" in head:
            return Streaming(partial(self.stream, found, call), head)
        work = Work(partial(self.unary, found, call), head)
        if self.quirk == "runs on":
            work.cancel = lambda reason: None  # type: ignore[method-assign]
        return work

    def call_of(self, service: str, head: Any, peer: Any) -> Call:
        call = Call(service, head["micro-endpoint"], streaming="micro-stream" in head)
        call.metadata = {name: value for name, value in head.items() if name.startswith("x-")}
        if self.quirk == "heads are metadata" or (self.quirk == "stream heads are metadata" and call.streaming):
            call.metadata = dict(head)
        call.caller = head.get("micro-from-service", "")
        call.peer = peer
        if "timeout" in head:
            call.deadline = anyio.current_time() + float(head["timeout"])
        return call

    async def unary(self, handler: Any, call: Call, head: Any, body: bytes) -> Message | None:
        if self.quirk == "one task":
            async with self.lock:
                return await self.answer(handler, call, body)
        return await self.answer(handler, call, body)

    async def answer(self, handler: Any, call: Call, body: bytes) -> Message:
        type_ = Any if self.quirk == "undecoded" else handler.request_type
        try:
            call.request = self.codecs(JSON).decoder(type_)(body)
        except DecodeError as error:
            return Message(to_head(BadRequest(str(error), id=call.service)))
        try:
            with anyio.CancelScope(deadline=call.deadline or float("inf")):
                reply = await handler.handle(call)
                value = self.codecs(JSON).encoder(handler.reply_type)(reply.value)
                return Message({**({} if self.quirk == "drops headers" else reply.header), "content-type": JSON}, value)
        except Exception as error:
            return Message(to_head(self.translated(error, call)))
        return Message(to_head(Timeout("too late", id=call.service)))

    def translated(self, error: Exception, call: Call) -> RPCError:
        if isinstance(error, RPCError):
            if not error.id and self.quirk != "no id":
                error.id = call.service
            return error if self.quirk != "any 500" else RPCError(str(error))
        if self.quirk != "fails in silence":
            log.error("a handler failed", exc_info=error)
        shown = repr(error) if self.quirk == "tells secrets" else type(error).__name__
        return RPCError(shown, id=call.service, code=500)

    async def stream(self, handler: Any, call: Call, exchange: Any) -> None:
        call.stream = DoubleStream(exchange, None, self.quirk, type_=handler.request_type)
        try:
            with anyio.CancelScope(deadline=call.deadline or float("inf")) as scope:
                await handler.handle(call)
            trailer = to_head(Timeout("too late", id=call.service)) if scope.cancelled_caught else None
        except Exception as error:
            trailer = to_head(self.translated(error, call)) if self.quirk != "drops stream errors" else None
        if self.quirk == "streams stay open":
            await anyio.sleep_forever()
        await exchange.end(trailer)


class DoubleStream(Stream):
    def __init__(self, exchange: Any, over: Any, quirk: str, deadline: float | None = None, type_: Any = Any) -> None:
        self.exchange = exchange
        self.decode = PlainCodec().decoder(Any if quirk == "untyped streams" else type_)
        self.fail = lambda error: error
        self.over = over
        self.quirk = quirk
        self.deadline = float("inf") if deadline is None else deadline

    @property
    def header(self) -> Any:
        if self.quirk == "streams without header":
            return {}
        return self.exchange.request if self.over is None else self.exchange.reply

    @property
    def peer(self) -> Any:
        return self.exchange.peer

    async def send(self, value: Any) -> None:
        try:
            if self.quirk == "foreign errors" and self.over and from_head(self.exchange.trailer):
                raise TransportError("over", Reset.GONE, processed=True)
            body = PlainCodec().encoder(Any)(value if self.quirk != "no nulls" else value or 0)
            await self.exchange.send(body)
        except UnsupportedType:
            if self.quirk == "a bad value ends the stream":
                self.exchange.reset(Reset.CANCELLED)
            raise
        except TransportError as error:
            if self.quirk == "foreign errors":
                raise
            raise RPCError("over", code=500) from error

    async def recv(self) -> Any:
        try:
            with anyio.CancelScope(deadline=self.deadline if self.quirk != "deadlines of openings" else float("inf")):
                return self.decoded(await self.exchange.recv())
        except EndOfStream:
            error = from_head({**self.exchange.reply, **self.exchange.trailer})
            self.finish()
            if error is not None and self.over and self.quirk != "refusals are ends":
                raise self.fail(error) from None
            raise
        except TransportError as error:
            self.finish()
            raise RPCError("over", code=500) from error
        self.exchange.reset(Reset.DEADLINE)
        raise Timeout("too late")

    def decoded(self, body: bytes) -> Any:
        try:
            if self.broken:
                raise RPCError("broken")
            return self.decode(body)
        except DecodeError:
            self.broken = self.quirk == "a bad message ends the stream"
            raise

    broken = False

    def finish(self) -> None:
        over, self.over = self.over, (lambda: None) if self.over else None
        if over:
            over()

    async def end(self) -> None:
        await self.exchange.end()
        if self.quirk == "an end is a reset":
            self.exchange.reset(Reset.CANCELLED)

    def reset(self, reason: Reset = Reset.CANCELLED) -> None:
        if self.quirk != "resets are lost":
            self.exchange.reset(reason)
        self.finish()


class DoubleClient(Client):
    def __init__(self, discovery: Any, selector: Any, transport: Any, codecs: Any, quirk: str) -> None:
        self.discovery = discovery
        self.selector = selector
        self.transport = transport
        self.codecs = codecs
        self.quirk = quirk
        self.left = False
        self.id = "" if quirk == "nameless errors" else "go.micro.client"
        if quirk == "the client needs a loop":
            sniffio.current_async_library()

    async def __aexit__(self, kind, error, trace):
        if self.left and self.quirk == "leaves once":
            raise RuntimeError("left")
        if self.quirk == "hangs when cancelled" and kind is not None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.1)
        self.left = True
        if self.quirk == "raises groups" and isinstance(error, LookupError):
            raise ExceptionGroup("unhandled", [error])

    def head(self, call: Call) -> dict[str, str]:
        head = {"micro-endpoint": call.endpoint, "content-type": call.content_type or JSON, **call.metadata}
        head["micro-from-service"] = call.caller
        if call.deadline is not None and self.quirk != "deadlines of openings":
            head["timeout"] = str(max(0.001, call.deadline - anyio.current_time()))
        return head

    async def nodes(self, call: Call, deadline: float) -> Any:
        if call.address and self.quirk != "asks discovery":
            yield Node("" if self.quirk == "nameless addresses" else call.address, call.address), False
            return
        filter_ = None if self.quirk == "no filter" else call.filter
        found = self.discovery.known(call.service, filter_)
        if found is None:
            if self.quirk == "unknown is 500":
                raise RPCError("unknown")
            found = await self.discovery.find(call.service, filter_, deadline=deadline)
        usable = tuple(node for node in found.nodes if self.speaks(node.metadata.get("protocol")))
        for node in self.selector.select(NodeSet(call.service, usable, found.endpoints), key=call.key):
            yield node, True

    def speaks(self, protocol: str | None) -> bool:
        if self.quirk == "demands a protocol":
            return protocol == self.protocol
        return protocol in (None, self.protocol) or self.quirk == "any protocol"

    def may_repeat(self, call: Call) -> bool:
        endpoints = self.discovery.known(call.service).endpoints
        said = endpoints[call.endpoint].metadata.get("idempotent") if call.endpoint in endpoints else None
        word = said == "true" and self.quirk != "endpoints have no say"
        if not (word if call.idempotent is None else call.idempotent) and self.quirk != "repeats everything":
            return False
        unknown = sum(attempt.outcome is Outcome.UNKNOWN for attempt in call.attempts)
        retries = 2 if call.retries is None or self.quirk == "retries are ignored" else call.retries
        return unknown <= retries

    def outcome_of(self, failure: RPCError | None, head: dict[str, str]) -> Outcome:
        if failure is None:
            return Outcome.OK
        if "micro-unprocessed" in head and self.quirk != "unprocessed is answered":
            return Outcome.NOT_PROCESSED
        return Outcome.UNKNOWN if failure.code == 408 and self.quirk != "408 is an answer" else Outcome.ANSWERED

    def done(self, call: Call, node: Node, taken: bool, outcome: Outcome, error: BaseException | None = None) -> None:
        if self.quirk != "no attempts":
            call.attempts.append(Attempt(node, outcome, 0.0, error if self.quirk != "errors are lost" else None))
        if taken and not (self.quirk == "keeps failed nodes" and outcome is not Outcome.OK):
            self.selector.done(node, outcome, 0.0)
        hears = outcome is not Outcome.CANCELLED or self.quirk == "reports the cancelled"
        if taken and hears and not (self.quirk == "reports failures" and outcome is Outcome.OK):
            self.discovery.report(call.service, node, outcome)

    async def call(self, call: Call) -> Reply:  # noqa: C901
        started = anyio.current_time()
        if self.quirk == "anyio in a callback" and sniffio.current_async_library() == "asyncio":
            await in_a_callback()
        if call.deadline is None and self.quirk != "no default":
            call.deadline = started + 5
        deadline = call.deadline or started + 5
        try:
            body = self.codecs(JSON).encoder(call.request_type)(call.request)
        except UnsupportedType as error:
            if self.quirk == "encodes late":
                call.attempts.append(Attempt(Node("x", "x:1"), Outcome.OK, 0.0))
            raise BadRequest(str(error), id=self.id) from error
        last: RPCError = ServiceNotFound("no node")
        async for node, taken in self.nodes(call, deadline):
            try:
                reply = await self.transport.call(node.address, Message(self.head(call), body), deadline=deadline)
            except TransportError as error:
                outcome = Outcome.UNKNOWN if error.processed else Outcome.NOT_PROCESSED
                self.done(call, node, taken, outcome, error)
                kind = Timeout if error.reason is Reset.DEADLINE and self.quirk != "any 500" else ServiceUnavailable
                last = self.filled(kind(str(error), id=self.id), call, node, outcome, started)
                if outcome is Outcome.NOT_PROCESSED and self.quirk != "tries once":
                    continue
                if outcome is Outcome.UNKNOWN and self.may_repeat(call):
                    continue
                raise last from error
            except BaseException:
                self.done(call, node, taken, Outcome.OK if self.quirk == "cancelled is ok" else Outcome.CANCELLED)
                raise
            failure = from_head(reply.head)
            outcome = self.outcome_of(failure, reply.head)
            self.done(call, node, taken, outcome, failure)
            if failure is not None:
                last = self.filled(failure, call, node, outcome, started)
                if self.quirk == "repeats answers" or outcome is Outcome.NOT_PROCESSED:
                    continue
                if outcome is Outcome.UNKNOWN and self.may_repeat(call):
                    continue
                raise last
            type_ = Any if self.quirk == "untyped replies" else call.reply_type
            value = self.codecs(JSON).decoder(type_)(reply.body)
            return Reply(value, reply.head, node if taken else None)
        if self.quirk == "its own error":
            raise self.filled(RPCError("all failed"), call, Node("", ""), Outcome.NOT_PROCESSED, started)
        raise last

    def filled(self, error: RPCError, call: Call, node: Node, outcome: Outcome, started: float) -> RPCError:
        if self.quirk == "bare errors":
            return error
        error.outcome, error.service, error.endpoint = outcome, call.service, call.endpoint
        error.node, error.attempts = node.id, len(call.attempts)
        error.elapsed = anyio.current_time() - started
        return error

    async def stream(self, call: Call) -> Reply:
        deadline = call.open_deadline or anyio.current_time() + 5
        async for node, taken in self.nodes(call, deadline):
            try:
                if self.quirk == "a cancelled opening keeps the node":
                    await anyio.lowlevel.checkpoint()
            except BaseException:
                return Reply()
            try:
                exchange = await self.transport.open(
                    node.address, {**self.head(call), "micro-stream": "1"}, deadline=deadline
                )
            except TransportError as error:
                self.done(call, node, taken, Outcome.NOT_PROCESSED, error)
                if self.quirk == "opens once":
                    raise RPCError(str(error)) from error
                continue
            except BaseException:
                self.done(call, node, taken, Outcome.CANCELLED)
                raise
            over = partial(self.done, call, node, taken, Outcome.OK)
            stream = DoubleStream(exchange, over, self.quirk, call.deadline, call.reply_type)

            def fail(error: RPCError, node: Node = node, exchange: Any = exchange) -> RPCError:
                outcome = self.outcome_of(error, {**exchange.reply, **exchange.trailer})
                if self.quirk == "refused streams are answered":
                    outcome = Outcome.ANSWERED
                return self.filled(error, call, node, outcome, deadline)

            stream.fail = fail
            return Reply(None, None, node, stream)
        raise RPCError("no node")


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


class Suite(ClientServerConformance):
    patience = 6.0


class Impatient(Suite):
    patience = 0.9


BROKEN = [
    ("no attempts", "a_call_is_encoded_sent_and_decoded"),
    ("heads are metadata", "the_handler_is_given_the_whole_call"),
    ("no default", "a_call_without_deadline_gets_the_clients_default"),
    ("drops headers", "header_that_a_handlers_middleware_adds_reaches_the_caller"),
    ("one task", "each_handler_runs_in_a_task_of_its_own"),
    ("no id", "an_rpc_error_of_the_handler_becomes_the_callers"),
    ("any 500", "an_rpc_error_of_the_handler_becomes_the_callers"),
    ("bare errors", "errors_say_outcome_service_endpoint_node_attempts_and_elapsed"),
    ("tells secrets", "anything_else_is_a_500_that_names_the_type_alone_and_is_logged"),
    ("fails in silence", "anything_else_is_a_500_that_names_the_type_alone_and_is_logged"),
    ("any 500", "an_unknown_endpoint_is_not_found"),
    ("415 is 400", "a_content_type_that_the_server_lacks_is_a_415"),
    ("undecoded", "a_request_that_cannot_be_decoded_is_a_400_and_runs_no_handler"),
    ("encodes late", "a_request_that_cannot_be_encoded_is_bad_and_nothing_is_sent"),
    ("untyped replies", "a_reply_of_another_type_is_a_decode_error"),
    ("any 500", "at_the_deadline_the_handler_is_cancelled_and_the_caller_gets_a_timeout"),
    ("runs on", "the_handler_is_cancelled_when_the_caller_goes_away"),
    ("cancelled is ok", "the_handler_is_cancelled_when_the_caller_goes_away"),
    ("tries once", "a_node_that_cannot_have_processed_it_is_followed_by_another"),
    ("errors are lost", "a_node_that_cannot_have_processed_it_is_followed_by_another"),
    ("keeps failed nodes", "a_node_that_cannot_have_processed_it_is_followed_by_another"),
    ("its own error", "when_attempts_run_out_the_error_is_the_last_nodes_own"),
    ("repeats everything", "an_unknown_outcome_is_repeated_only_where_that_is_safe"),
    ("repeats answers", "what_was_answered_is_not_repeated"),
    ("unprocessed is answered", "a_reply_that_says_unprocessed_is_followed_by_another"),
    ("408 is an answer", "when_the_server_answers_408_the_outcome_is_unknown"),
    ("repeats everything", "when_the_server_answers_408_the_outcome_is_unknown"),
    ("endpoints have no say", "an_endpoint_may_say_that_it_is_idempotent"),
    ("retries are ignored", "retries_bound_how_often_an_unknown_outcome_is_repeated"),
    ("nameless errors", "errors_made_by_the_client_have_its_id"),
    ("nameless addresses", "the_attempts_of_a_call_by_address_name_the_address"),
    ("asks discovery", "the_attempts_of_a_call_by_address_name_the_address"),
    ("any protocol", "nodes_that_name_another_protocol_are_not_called"),
    ("demands a protocol", "nodes_that_name_another_protocol_are_not_called"),
    ("speaks another protocol", "nodes_that_name_another_protocol_are_not_called"),
    ("reports failures", "discovery_is_told_of_every_attempt_but_the_cancelled"),
    ("reports the cancelled", "discovery_is_told_of_every_attempt_but_the_cancelled"),
    ("unknown is 500", "an_unknown_service_is_service_not_found"),
    ("asks discovery", "a_call_by_address_asks_no_discovery"),
    ("no filter", "filter_and_key_reach_discovery_and_selector"),
    ("a foreign bind error", "an_address_that_cannot_be_bound_is_a_configuration_error"),
    ("any type", "types_that_no_codec_carries_are_a_configuration_error"),
    ("serves for ever", "it_serves_until_the_listener_is_closed"),
    ("anyio in a callback", "it_works_under_plain_asyncio"),
    ("the client needs a loop", "constructing_needs_no_event_loop"),
    ("the server needs a loop", "constructing_needs_no_event_loop"),
    ("leaves once", "leaving_twice_does_nothing"),
    ("hangs when cancelled", "leaving_releases_everything_also_when_cancelled"),
    ("raises groups", "an_exception_inside_the_block_comes_out_as_it_is"),
    ("no nulls", "values_go_both_ways_until_both_ended"),
    ("streams stay open", "a_stream_ends_when_its_handler_returns"),
    ("stream heads are metadata", "the_handler_of_a_stream_is_given_the_whole_call"),
    ("drops stream errors", "an_error_of_the_handler_ends_the_stream"),
    ("resets are lost", "a_reset_cancels_the_handler"),
    ("deadlines of openings", "a_deadline_bounds_the_whole_stream"),
    ("foreign errors", "sending_on_a_stream_that_is_over_is_an_rpc_error"),
    ("drops unknown streams", "a_stream_of_an_unknown_endpoint_or_service_is_refused"),
    ("any shape", "a_unary_call_of_a_stream_and_the_reverse_are_refused"),
    ("streams without header", "the_handler_of_a_stream_is_given_the_whole_call"),
    ("an end is a reset", "one_side_may_end_while_the_other_goes_on"),
    ("untyped streams", "a_value_of_another_type_is_a_decode_error_and_the_stream_goes_on"),
    ("a bad message ends the stream", "a_value_of_another_type_is_a_decode_error_and_the_stream_goes_on"),
    ("a bad value ends the stream", "a_value_that_cannot_be_carried_is_not_sent_and_the_stream_goes_on"),
    ("opens once", "a_stream_opens_on_the_first_node_that_takes_it"),
    ("refusals are ends", "a_refusal_is_raised_by_the_streams_first_recv"),
    ("refusals are ends", "a_refusal_before_dispatch_is_raised_as_such_or_the_stream_moves"),
    ("refused streams are answered", "a_refusal_before_dispatch_is_raised_as_such_or_the_stream_moves"),
    ("a cancelled opening keeps the node", "a_cancelled_opening_gives_the_node_back"),
]


def fixtures(quirk):
    memory = load("transport", "memory").cls
    make_transport = lambda: memory(memory.Options(address="kit"))  # noqa: E731

    def make_client(*parts):
        return DoubleClient(*parts, quirk)

    def make_server(*parts):
        return DoubleServer(*parts, quirk)

    parts = Parts(make_transport, make_client, make_server)
    return {"parts": parts, "make_component": lambda: Suite().component(parts)}


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures("")) == {}


@pytest.mark.parametrize(("quirk", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, quirk, sentence):
    assert run_suite(Impatient, lambda: fixtures(quirk), f"test_{sentence}")


def test_every_sentence_has_a_quirk_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
