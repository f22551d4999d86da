"""Calls, streams, proxies, context and middleware, over the memory plugins."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import micro
import pytest
from micro.config import Config
from micro.runtime import Runtime
from micro_core import Call, CallNext, DecodeError, Middleware, Node, Outcome, Reply, ServiceRecord
from micro_core.loader import plugins

pytestmark = pytest.mark.anyio

Kinds = dict[str, Any]


@dataclass
class Question:
    text: str


@dataclass
class Answer:
    text: str


class Say:
    """The contract and its implementation."""

    def __init__(self) -> None:
        self.left = anyio.Event()
        self.seen: list[micro.Context] = []

    async def hello(self, request: Question) -> Answer:
        self.seen.append(micro.context())
        return Answer(f"Hello {request.text}")

    async def fail(self, request: Question) -> Answer:
        raise micro.errors.Conflict(request.text)

    async def crash(self, request: Question) -> Answer:
        raise ValueError("secret")

    async def nothing(self) -> str:
        return "nothing asked"

    def thread(self, request: Question) -> str:
        return f"{threading.current_thread() is threading.main_thread()} {micro.context().metadata.get('who')}"

    async def wait(self, request: Question) -> Answer:
        try:
            await anyio.sleep_forever()
        finally:
            self.left.set()
        raise AssertionError

    async def remaining(self, request: Question) -> float:
        return micro.context().remaining or 0.0

    async def maybe(self, request: int) -> Answer | None:
        return Answer("some") if request else None

    async def optional(self, request: int | None = 7) -> str:
        return f"got {request}"

    async def down(self, start: int = 2) -> AsyncIterator[int]:
        for number in range(start, 0, -1):
            yield number

    async def count(self, to: int) -> AsyncIterator[int]:
        try:
            for number in range(to):
                yield number
        finally:
            self.left.set()

    async def broken(self, to: int) -> AsyncIterator[int]:
        yield to
        raise micro.errors.NotFound("no more")

    async def total(self, numbers: AsyncIterator[int]) -> int:
        total = 0
        async for number in numbers:
            total += number
            if total > 1000:
                raise micro.errors.UnprocessableEntity("too much")
        return total

    async def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            if message == "fail":
                raise micro.errors.Forbidden("not that word")
            yield message.upper()


class Front:
    """Calls on from inside a handler."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def ask(self, request: Question) -> Answer:
        answer: Answer = await self.client.call("back", "Say.Hello", request, Answer, metadata={"Own": "front"})
        return answer

    async def ask_long(self, request: Question) -> float:
        remaining: float = await self.client.call("back", "Say.Remaining", request, float, timeout=60)
        return remaining


def service(memory: Kinds, *handlers: object, name: str = "greeter", **kinds: Any) -> micro.Service:
    made = micro.Service(name, **{**memory, **kinds})
    for handler in handlers:
        made.handler(handler)
    return made


async def test_a_call_is_answered_by_its_handler(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        assert await client.call("greeter", "Say.Hello", Question("Ada"), Answer, timeout=2) == Answer("Hello Ada")
        assert await client.call("greeter", "Say.Hello", {"text": "Ada"}) == {"text": "Hello Ada"}
        assert await client.call("greeter", "Say.Maybe", 0, Answer | None) is None
        assert await client.call("greeter", "Say.Nothing", None, str) == "nothing asked"
        assert await client.call("greeter", "Say.Optional", None, str) == "got None"
        assert await client.call("greeter", "Say.Optional", 3, str) == "got 3"
        with pytest.raises(micro.errors.BadRequest):
            await client.call("greeter", "Say.Optional", {"a": 1}, str)


async def test_an_option_that_there_is_not_is_a_type_error(memory: Kinds) -> None:
    async with micro.Client(**memory) as client:
        calls: list[Any] = [client.call, client.call_response]
        for call in calls:
            with pytest.raises(TypeError, match=r"unknown option 'tiemout'.*did you mean 'timeout'"):
                await call("greeter", "Say.Hello", None, tiemout=1)
        opened: list[Any] = [client.stream, lambda *_, **options: client.proxy(Say, "greeter", **options)]
        for open_ in opened:
            with pytest.raises(TypeError, match="unknown option 'idempotent'"):
                open_("greeter", "Say.Hello", idempotent=True)


async def test_a_response_tells_who_answered(memory: Kinds) -> None:
    async with service(memory, Say()) as serving, micro.Client(**memory) as client:
        response = await client.call_response("greeter", "Say.Hello", Question("Ada"), Answer)
        assert response.value == Answer("Hello Ada")
        assert response.node == serving.record.nodes[0]
        assert [attempt.outcome for attempt in response.attempts] == [Outcome.OK]
        assert response.header["content-type"] == "application/json"


async def test_errors_arrive_as_their_class(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        with pytest.raises(micro.errors.Conflict, match="taken") as caught:
            await client.call("greeter", "Say.Fail", Question("taken"), Answer)
        error = caught.value
        assert (error.id, error.service, error.endpoint, error.attempts) == ("greeter", "greeter", "Say.Fail", 1)
        assert error.outcome is Outcome.ANSWERED
        with pytest.raises(micro.errors.InternalServerError) as crashed:
            await client.call("greeter", "Say.Crash", Question(""), Answer)
        assert "secret" not in str(crashed.value)
        with pytest.raises(micro.errors.NotFound):
            await client.call("greeter", "Say.Nope", Question(""), Answer)
        with pytest.raises(micro.errors.BadRequest):
            await client.call("greeter", "Say.Hello", 5, Answer)
        with pytest.raises(DecodeError):
            await client.call("greeter", "Say.Hello", Question(""), int)


async def test_an_unknown_service_says_where_was_looked(memory: Kinds) -> None:
    memory["options"]["client.lookup_timeout"] = 0.2
    async with service(memory, Say()), micro.Client(**memory) as client:
        with pytest.raises(micro.errors.ServiceNotFound, match=r"'greter' in registry 'memory'.*mean 'greeter'"):
            await client.call("greter", "Say.Hello", Question("Ada"), Answer)


async def test_a_sync_handler_runs_in_a_thread_with_its_context(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        assert await client.call("greeter", "Say.Thread", Question(""), str, metadata={"Who": "me"}) == "False me"


async def test_the_context_tells_of_the_call(memory: Kinds) -> None:
    say = Say()
    async with service(memory, say), micro.Client("caller", **memory) as client:
        await client.call("greeter", "Say.Hello", Question("Ada"), Answer, timeout=2, metadata={"Trace": "1"})
        (context,) = say.seen
        assert (context.service, context.endpoint, context.caller) == ("greeter", "Say.Hello", "caller")
        assert context.metadata == {"trace": "1"}
        assert context.peer is not None
        assert context.deadline is not None
        assert 1.0 < context.deadline - anyio.current_time() <= 2.0


async def test_there_is_no_context_outside_of_a_handler() -> None:
    with pytest.raises(LookupError, match="inside a handler or subscriber only"):
        micro.context()


async def test_metadata_crosses_hops_and_what_is_given_wins(memory: Kinds) -> None:
    say = Say()
    front = service(memory, name="front")
    front.handler(Front(front.client))
    async with service(memory, say, name="back"), front, micro.Client(**memory) as client:
        await client.call("front", "Front.Ask", Question("Ada"), Answer, metadata={"trace": "1", "own": "client"})
        assert say.seen[0].metadata == {"trace": "1", "own": "front"}
        assert say.seen[0].caller == "front"


async def test_nested_calls_inherit_the_deadline(memory: Kinds) -> None:
    front = service(memory, name="front")
    front.handler(Front(front.client))
    async with service(memory, Say(), name="back"), front, micro.Client(**memory) as client:
        assert await client.call("front", "Front.AskLong", Question(""), float, timeout=3) <= 3


async def test_the_least_of_option_default_and_cancel_scope_is_the_deadline(memory: Kinds) -> None:
    memory["options"]["client.request_timeout"] = 4
    async with service(memory, Say()), micro.Client(**memory) as client:
        ask = ("greeter", "Say.Remaining", Question(""), float)
        assert 3 < await client.call(*ask) <= 4
        assert 9 < await client.call(*ask, timeout=10) <= 10
        with anyio.fail_after(2):
            assert await client.call(*ask, timeout=10) <= 2


async def test_a_call_from_a_cancelled_scope_is_cancelled_and_not_sent(memory: Kinds) -> None:
    say = Say()
    async with service(memory, say), micro.Client(**memory) as client:
        await client.call("greeter", "Say.Hello", Question("first"), Answer)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.call("greeter", "Say.Hello", Question("never"), Answer)
        assert scope.cancelled_caught
        await client.call("greeter", "Say.Hello", Question("last"), Answer)
    assert len(say.seen) == 2


async def test_a_deadline_ends_the_handler(memory: Kinds) -> None:
    say = Say()
    async with service(memory, say), micro.Client(**memory) as client:
        with pytest.raises(micro.errors.Timeout):
            await client.call("greeter", "Say.Wait", Question(""), Answer, timeout=0.1)
        with anyio.fail_after(2):
            await say.left.wait()


async def test_a_cancelled_call_ends_the_handler(memory: Kinds) -> None:
    say = Say()
    async with service(memory, say), micro.Client(**memory) as client:
        with anyio.move_on_after(0.1):
            await client.call("greeter", "Say.Wait", Question(""), Answer, timeout=60)
        with anyio.fail_after(2):
            await say.left.wait()


async def test_nodes_are_chosen_by_version_and_metadata(memory: Kinds) -> None:
    async with (
        service(memory, Say(), version="1", metadata={"zone": "a"}) as one,
        service(memory, Say(), version="2", metadata={"zone": "b"}) as two,
        micro.Client(**memory) as client,
    ):
        ids = {one.record.nodes[0].id: "one", two.record.nodes[0].id: "two"}

        async def who(**where: Any) -> set[str]:
            asked = [
                await client.call_response("greeter", "Say.Hello", Question(""), Answer, **where) for _ in range(10)
            ]
            return {ids[response.node.id] for response in asked if response.node}

        def not_one(record: ServiceRecord, node: Node) -> bool:
            return record.version != "1"

        assert await who() == {"one", "two"}
        assert await who(version="1") == {"one"}
        assert await who(where={"zone": "b"}) == {"two"}
        assert await who(where=not_one) == {"two"}
        assert await who(where={"version": "2"}) == await who(version="2", where={"version": "2"}) == {"two"}
        with pytest.raises(micro.errors.ServiceNotFound):
            await who(where={"version": "1", "zone": "b"}, timeout=0.1)
        with pytest.raises(ValueError, match="two versions"):
            await who(version="1", where={"version": "2"})
        answer = await client.call_response("nobody", "Say.Hello", Question("Ada"), Answer, address=one.address)
        assert answer.value == Answer("Hello Ada")


async def test_a_proxy_has_the_four_shapes(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        say = client.proxy(Say, "greeter", timeout=2)
        assert await say.hello(Question("Ada")) == Answer("Hello Ada")
        assert await say.hello(request=Question("Ada")) == Answer("Hello Ada")
        assert await say.nothing() == "nothing asked"
        assert [number async for number in say.count(3)] == [0, 1, 2]
        assert await say.total(values([1, 2, 3])) == 6
        assert [reply async for reply in say.chat(values(["a", "b"]))] == ["A", "B"]


async def test_a_proxy_uses_the_default_of_a_parameter(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        say = client.proxy(Say, "greeter")
        assert [await say.optional(), await say.optional(None), await say.optional(request=3)] == [
            "got 7",
            "got None",
            "got 3",
        ]
        assert [number async for number in say.down()] == [2, 1]
        stub = client.proxy(Stub, "greeter", name="Say")
        with pytest.raises(TypeError, match=r"optional\(\) takes \(request\), not \(\)"):
            await stub.optional()


class Stub(Protocol):
    """Says that there is a default, but not which."""

    async def optional(self, request: int | None = ...) -> str: ...


class Who:
    """Says which node it is of."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    async def who(self) -> str:
        return self.name

    async def names(self) -> AsyncIterator[str]:
        yield self.name

    async def last(self, numbers: AsyncIterator[int]) -> str:
        return self.name


@pytest.mark.parametrize("options", [{"version": "2"}, {"where": {"zone": "b"}}, {"version": "2", "timeout": 2}])
async def test_a_proxy_chooses_nodes_for_all_its_calls(memory: Kinds, options: dict[str, Any]) -> None:
    async with (
        service(memory, Who("one"), version="1", metadata={"zone": "a"}),
        service(memory, Who("two"), version="2", metadata={"zone": "b"}),
        micro.Client(**memory) as client,
    ):
        who = client.proxy(Who, "greeter", **options)
        for _ in range(5):
            assert await who.who() == "two"
            assert [name async for name in who.names()] == ["two"]
            assert await who.last(values([1])) == "two"


async def test_a_proxys_key_reaches_the_selector(memory: Kinds) -> None:
    keys: list[bytes | None] = []

    async def note(call: Call, call_next: CallNext) -> Reply:
        keys.append(call.key)
        return await call_next(call)

    async with service(memory, Say()), micro.Client(**memory, client_middleware=[note]) as client:
        say = client.proxy(Say, "greeter", key="user-17")
        await say.nothing()
        assert [number async for number in say.count(1)] == [0]
    assert keys == [b"user-17"] * 2


async def values(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def test_a_proxy_says_what_it_cannot_do(memory: Kinds) -> None:
    async with micro.Client(**memory) as client:
        say = client.proxy(Say, "greeter")
        with pytest.raises(micro.errors.ConfigurationError, match="a contract declares `async def thread"):
            say.thread(Question(""))
        with pytest.raises(AttributeError, match="no public method 'nope'"):
            say.nope  # type: ignore[attr-defined]  # noqa: B018 - what the test is about
        with pytest.raises(TypeError, match=r"nothing\(\) takes \(\), not \(1\)"):
            await say.nothing(1)  # type: ignore[call-arg]  # what the test is about
        with pytest.raises(TypeError, match=r"hello\(\) takes \(request\), not \(\)"):
            await say.hello()  # type: ignore[call-arg]  # what the test is about
        with pytest.raises(micro.errors.ConfigurationError, match="needs a class"):
            client.proxy(lambda: None, "greeter")


async def test_a_proxy_bounds_unary_calls_and_carries_metadata(memory: Kinds) -> None:
    handler = Say()
    async with service(memory, handler), micro.Client(**memory) as client:
        say = client.proxy(Say, "greeter", timeout=0.1, metadata={"Who": "me"})
        with pytest.raises(micro.errors.Timeout):
            await say.wait(Question(""))
        assert await say.total(slowly()) == 3
        await say.hello(Question(""))
        assert handler.seen[0].metadata == {"who": "me"}


async def test_a_streams_timeout_begins_when_it_is_opened(memory: Kinds) -> None:
    memory["options"]["client.lookup_timeout"] = 60
    async with micro.Client(**memory) as client:
        say = client.proxy(Say, "greeter", timeout=0.1)
        made = say.count(1), say.chat(values(["a"])), client.stream("greeter", "Say.Count", int, timeout=0.1)
        with anyio.fail_after(5):
            for opening in (lambda: anext(made[0]), lambda: anext(made[1]), made[2].__aenter__):
                with pytest.raises(micro.errors.ServiceNotFound) as caught:
                    await opening()
                assert 0.09 <= caught.value.elapsed < 2


async def slowly() -> AsyncIterator[int]:
    """For longer than the proxy's timeout, which bounds only the opening."""
    for number in range(3):
        await anyio.sleep(0.1)
        yield number


async def test_a_servers_error_wakes_a_caller_that_streams(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        say = client.proxy(Say, "greeter")
        with anyio.fail_after(5):
            with pytest.raises(micro.errors.UnprocessableEntity, match="too much"):
                await say.total(then_for_ever([2000]))
            replies = say.chat(then_for_ever(["a", "fail"]))
            assert await anext(replies) == "A"
            with pytest.raises(micro.errors.Forbidden, match="not that word"):
                await anext(replies)
            with pytest.raises(micro.errors.NotFound, match="no more"):
                assert [number async for number in say.broken(3)] == [3]


async def then_for_ever(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
    await anyio.sleep_forever()


async def test_an_exception_of_the_callers_own_values_comes_out(memory: Kinds) -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise LookupError("mine")

    async def failing_late() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise LookupError("mine")

    async with service(memory, Say()), micro.Client(**memory) as client:
        for numbers in (failing(), failing_late()):
            with pytest.raises(LookupError, match="mine"), anyio.fail_after(5):
                await client.proxy(Say, "greeter").total(numbers)


async def test_a_value_that_cannot_be_sent_comes_out_at_once(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        say: Any = client.proxy(Say, "greeter")
        with anyio.fail_after(5):
            with pytest.raises(micro.errors.BadRequest, match="cannot"):
                await say.hello(object())
            with pytest.raises(micro.errors.BadRequest, match="cannot"):
                await anext(say.count(object()))
            with pytest.raises(micro.errors.BadRequest, match="cannot"):
                await say.total(then_for_ever([object()]))
            with pytest.raises(micro.errors.BadRequest, match="cannot"):
                await anext(say.chat(then_for_ever([object()])))


async def test_a_stream_that_the_server_ends_first_ends_here_too(memory: Kinds) -> None:
    class Short:
        async def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
            yield await anext(messages)

    async with service(memory, Short()), micro.Client(**memory) as client:
        with anyio.fail_after(5):
            short = client.proxy(Short, "greeter")
            assert [reply async for reply in short.chat(then_for_ever(["a", "b"]))] == ["a"]
            async with client.stream("greeter", "Short.Chat", str) as stream:
                await stream.send("a")
                assert [reply async for reply in stream] == ["a"]


async def test_a_stream_that_is_left_early_ends_at_the_server(memory: Kinds) -> None:
    handler = Say()
    async with service(memory, handler), micro.Client(**memory) as client:
        async with micro.streaming(client.proxy(Say, "greeter").count(10**9)) as numbers:
            async for number in numbers:
                if number == 3:
                    break
        with anyio.fail_after(2):
            await handler.left.wait()


async def test_a_stream_that_is_dropped_ends_at_the_server(memory: Kinds) -> None:
    handler = Say()
    async with service(memory, handler), micro.Client(**memory) as client:
        numbers = client.proxy(Say, "greeter").count(10**9)
        assert await anext(numbers) == 0
        del numbers
        with anyio.fail_after(2):
            await handler.left.wait()


async def test_streaming_takes_a_handlers_own_iterator() -> None:
    handler = Say()
    async with micro.streaming(handler.count(10)) as numbers:
        assert await anext(numbers) == 0
    assert handler.left.is_set()
    with pytest.raises(StopAsyncIteration):
        await anext(numbers)


async def test_the_low_level_stream_sends_receives_and_ends(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        async with client.stream("greeter", "Say.Chat", str) as stream:
            await stream.send("a")
            assert await stream.recv() == "A"
            await stream.send("b")
            await stream.end()
            assert [reply async for reply in stream] == ["B"]
        with pytest.raises(micro.errors.NotFound):
            async with client.stream("greeter", "Say.Nope", str) as stream:
                await stream.recv()


async def test_the_timeout_of_a_stream_bounds_all_of_it(memory: Kinds) -> None:
    async with service(memory, Say()), micro.Client(**memory) as client:
        with anyio.fail_after(5), pytest.raises(micro.errors.Timeout):
            async with client.stream("greeter", "Say.Chat", str, timeout=0.2) as stream:
                await stream.recv()


def noting(log: list[str], name: str) -> Middleware:
    async def middleware(call: Call, call_next: CallNext) -> Reply:
        log.append(f"{name} {call.endpoint}{' stream' if call.streaming else ''}")
        try:
            return await call_next(call)
        finally:
            log.append(f"{name} done")

    return middleware


async def test_middleware_wraps_calls_and_streams_in_order(memory: Kinds) -> None:
    log: list[str] = []
    around: dict[str, Any] = {
        "server_middleware": [noting(log, "s1"), noting(log, "s2")],
        "client_middleware": [noting(log, "c1"), noting(log, "c2")],
    }
    async with service(memory, Say(), **around) as serving:
        await serving.client.call("greeter", "Say.Hello", Question(""), Answer)
        assert log == [
            "c1 Say.Hello", "c2 Say.Hello", "s1 Say.Hello", "s2 Say.Hello", "s2 done", "s1 done", "c2 done", "c1 done",
        ]  # fmt: skip
        log.clear()
        assert [reply async for reply in serving.client.proxy(Say, "greeter").count(1)] == [0]
        assert log[:4] == ["c1 Say.Count stream", "c2 Say.Count stream", "c2 done", "c1 done"]
        assert sorted(log[4:]) == ["s1 Say.Count stream", "s1 done", "s2 Say.Count stream", "s2 done"]


async def test_middleware_sees_the_calls_context_and_may_answer_itself(memory: Kinds) -> None:
    async def refuse(call: Call, call_next: CallNext) -> Reply:
        raise micro.errors.Forbidden(micro.context().metadata["who"])

    async with service(memory, Say(), server_middleware=[refuse]), micro.Client(**memory) as client:
        with pytest.raises(micro.errors.Forbidden, match="me"):
            await client.call("greeter", "Say.Hello", Question(""), Answer, metadata={"who": "me"})


async def test_without_middleware_the_plugins_own_method_is_called(memory: Kinds) -> None:
    memory["options"]["extensions.disabled"] = [plugin.name for plugin in plugins("micro.extension")]
    client = micro.Client(**memory)
    async with client:
        assert client._call.__name__ == "call"
        assert client._call.__self__.__class__.__name__ == "RPCClient"  # type: ignore[attr-defined]


async def test_a_client_that_does_not_run_says_so(memory: Kinds) -> None:
    client = micro.Client(**memory)
    with pytest.raises(RuntimeError, match="a client works while it runs"):
        await client.call("greeter", "Say.Hello", Question(""), Answer)
    async with client:
        pass
    with pytest.raises(RuntimeError, match="a client works while it runs"):
        await client.publish("topic", 1)


async def test_a_component_that_is_first_used_in_a_handler_is_opened_there(memory: Kinds) -> None:
    class Publishing:
        async def publish(self, request: int) -> int:
            await serving.client.publish("numbers", request)
            return request

    serving = service(memory, Publishing())
    async with serving, micro.Client(**memory) as client:
        assert await client.call("greeter", "Publishing.Publish", 5, int) == 5


async def test_what_nobody_uses_is_not_opened(memory: Kinds) -> None:
    class Host:
        name, version = "x", "1"

    runtime = Runtime(Host(), Config("x", {"registry": "memory", "transport": "memory"}), {}, ())
    async with runtime:
        await runtime.parts.server()
        assert [part for part in ("broker", "client", "discovery", "registry") if runtime.parts.opened(part)] == []


async def test_a_stream_without_a_timeout_has_no_deadline(memory: Kinds) -> None:
    deadlines: list[float | None] = []

    class Look:
        async def look(self, number: int) -> AsyncIterator[int]:
            deadlines.append(micro.context().deadline)
            yield number

    async with service(memory, Look()), micro.Client(**memory) as client:
        assert [number async for number in client.proxy(Look, "greeter").look(1)] == [1]
        assert deadlines == [None]
