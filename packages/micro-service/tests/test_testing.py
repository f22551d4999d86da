"""`micro.testing`: a service runs in memory whatever surrounds the test, with fakes, events and time of its own."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import micro
import micro.testing
import pytest
import trio.testing
from micro_conformance.polling import eventually
from micro_core import ServiceRecord
from micro_core.loader import load

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.anyio


@dataclass
class User:
    id: int
    email: str


class Mail(Protocol):
    """The contract of a service that is not there."""

    async def send(self, to: str) -> str: ...


class FakeMail:
    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, to: str) -> str:
        self.sent.append(to)
        return "sent"


class Outbox(Mail):
    async def send(self, to: str) -> str:
        return f"kept for {to}"


service = micro.Service(
    "users",
    registry="mdns",
    transport="http",
    broker="http",
    options={"server.address": "203.0.113.1:80", "registry.mdns.interface": "nowhere", "namespace": "prod"},
)
handled: list[User] = []


@service.handler
class Users:
    async def create(self, email: str) -> User:
        await service.client.proxy(Mail, "mail").send(email)
        user = User(1, email)
        await service.client.publish("users.created", user)
        return user

    async def wait(self, request: str) -> str:
        await anyio.sleep(60)
        return "waited"

    async def remaining(self, request: str) -> float:
        return micro.context().remaining or math.inf


@service.subscriber("users.created")
async def on_created(user: User) -> None:
    if user.id < 0:
        raise ValueError("not that one")
    handled.append(user)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What would be wrong, were it read."""
    handled.clear()
    (tmp_path / "micro.toml").write_text('registry = "broken" [')
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "REGISTRY": "nowhere", "TRANSPORT": "http", "BROKER": "http", "SERVER_NAME": "other", "NAMESPACE": "prod",
        "SERVER_ADDRESS": "203.0.113.1:80", "CLIENT_REQUEST_TIMEOUT": "nonsense",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MICRO_{name}", value)


@pytest.mark.parametrize("_", range(2))
async def test_a_service_of_a_module_runs_again_and_again(_: int) -> None:
    mail = FakeMail()
    async with micro.testing.run(service, fakes={"mail": mail}) as app:
        assert app.published("users.created") == []
        assert await app.client.proxy(Users, "users").create("a@b") == User(1, "a@b")
        assert mail.sent == ["a@b"]
        assert app.published("users.created", User) == [User(1, "a@b")]
        assert app.published("users.created") == [{"id": 1, "email": "a@b"}]
        assert app.messages("users.created")[0].head["micro-from-service"] == "users"
        await app.delivered()
        assert handled == [User(1, "a@b")]
        assert app.services[0] is service
    with pytest.raises(RuntimeError, match="does not serve"):
        str(service.address)
    assert service._objects == {}


async def test_runs_side_by_side_do_not_meet() -> None:
    other = micro.Service("other")
    async with micro.testing.run(service) as one, micro.testing.run(other) as two:
        assert [record.name for record in await one.client.list_services()] == ["users"]
        assert [record.name for record in await two.client.list_services()] == ["other"]
        await two.client.publish("users.created", User(1, "a@b"))
        assert one.published("users.created") == []
        with pytest.raises(micro.errors.ServiceNotFound):
            await two.client.call("users", "Users.Create", "a@b")


async def test_events_of_the_test_reach_subscribers() -> None:
    async with micro.testing.run(service) as app:
        await app.client.publish("users.created", User(2, "c@d"))
        await app.delivered()
        assert handled == [User(2, "c@d")]
        await app.client.publish("users.created", User(-1, ""))
        with pytest.raises(TimeoutError):
            await app.delivered(0.05)


@pytest.mark.parametrize(
    "fake", [FakeMail(), FakeMail, Outbox(), {"Mail": Outbox}, {"Mail": FakeMail(), "Box": Outbox()}]
)
async def test_a_fake_answers_for_the_contract(fake: object) -> None:
    async with micro.testing.run(fakes={"mail": fake}) as app:
        assert await app.client.proxy(Mail, "mail").send("a") in ("sent", "kept for a")


async def test_a_service_without_its_fake_is_told_what_is_missing() -> None:
    async with micro.testing.run(service) as app:
        with pytest.raises(micro.errors.ServiceUnavailable, match="no node of 'mail' in registry 'memory'"):
            await app.client.call("users", "Users.Create", "a@b", User)


async def test_a_fake_of_the_service_itself_is_refused() -> None:
    with pytest.raises(micro.errors.ConfigurationError, match="under test itself"):
        async with micro.testing.run(service, fakes={"users": FakeMail()}):
            pass


async def test_a_fake_that_cannot_be_served_is_told_with_the_line_of_the_run() -> None:
    with pytest.raises(micro.errors.ConfigurationError, match=r"^\S*test_testing\.py:\d+: print is a function"):
        async with micro.testing.run(service, fakes={"mail": print}):
            pass


async def test_an_object_given_in_code_is_replaced_for_the_run_only() -> None:
    cls = load("registry", "memory").cls

    class Forbidden(cls):  # type: ignore[misc, valid-type]
        async def register(self, service: ServiceRecord, *, ttl: float) -> None:
            raise AssertionError("the real registry is left alone")

    registry = Forbidden(cls.Options())
    made = micro.Service("made", registry=registry, client_middleware=())
    async with micro.testing.run(made, options={"client.request_timeout": 0.5}) as app:
        assert [record.name for record in await app.client.list_services()] == ["made"]
    assert made._objects == {"registry": registry}


async def test_what_a_test_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with micro.testing.run(service):
            raise KeyError


class TestClock:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> Any:
        if request.param == "trio":
            return "trio", {"clock": trio.testing.MockClock(rate=1)}
        return "asyncio", {"use_uvloop": False}

    async def test_time_moves_for_everything_in_the_run(self, anyio_backend: Any) -> None:
        outcome: list[object] = []
        async with micro.testing.run(service, clock=True) as app, anyio.create_task_group() as tasks:

            async def call(timeout: float) -> None:
                try:
                    outcome.append(await app.client.call("users", "Users.Wait", "", str, timeout=timeout))
                except micro.errors.Timeout as error:
                    outcome.append(type(error))

            tasks.start_soon(call, 30)
            await app.clock.advance(29)
            assert outcome == []
            await app.clock.advance(1.5)
            await eventually(lambda: outcome == [micro.errors.Timeout], within=5)
            tasks.start_soon(call, 90)
            await app.clock.advance(61)
            await eventually(lambda: outcome == [micro.errors.Timeout, "waited"], within=5)
            assert 4 < await app.client.call("users", "Users.Remaining", "", float) <= 5
            assert [record.name for record in await app.client.list_services()] == ["users"]
            with pytest.raises(ValueError, match="forward only"):
                await app.clock.advance(-1)

    async def test_the_clock_is_given_back(self, anyio_backend: Any) -> None:
        async with micro.testing.run(service, clock=True) as app:
            await app.clock.advance(0)
        async with micro.testing.run(service, clock=True) as app:
            await app.clock.advance(0)


async def test_a_run_has_a_clock_only_where_it_can(anyio_backend: Any) -> None:
    async with micro.testing.run() as app:
        with pytest.raises(RuntimeError, match="clock=True"):
            str(app.clock)
    if anyio_backend == ("asyncio", {"use_uvloop": False}):
        return
    with pytest.raises(micro.errors.ConfigurationError, match="clock=True"):
        async with micro.testing.run(clock=True):
            pass


class TestFixtures:
    @pytest.fixture
    def micro_service(self) -> micro.Service:
        return service

    @pytest.fixture
    def micro_fakes(self) -> dict[str, object]:
        return {"mail": FakeMail()}

    async def test_the_app_is_there(self, micro_app: micro.testing.App) -> None:
        assert await micro_app.client.call("users", "Users.Create", "a@b", User) == User(1, "a@b")

    @pytest.fixture
    async def created(self, micro_app: micro.testing.App) -> User:
        return await micro_app.client.call("users", "Users.Create", "a@b", User)

    async def test_it_serves_other_fixtures(self, created: User, micro_app: micro.testing.App) -> None:
        assert micro_app.published("users.created", User) == [created]


def test_the_plugin_is_found_and_says_what_it_needs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        textwrap.dedent("""
            import pytest

            @pytest.mark.anyio
            async def test_app(micro_app): ...
        """)
    )
    result = pytester.runpytest_subprocess("-p", "no:micro_conformance", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*needs a fixture `micro_service` that returns the service under test*"])
