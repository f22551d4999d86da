"""Events over TLS: who posts to whom, what is verified, and what is told of those who get nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trustme
from micro_core import ConfigurationError, Event, Registry, SubscribeOptions

pytestmark = pytest.mark.anyio
QUEUE = SubscribeOptions(queue="q")


class Files:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signer = trustme.CA()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._signer.cert_pem.bytes())

    def issue(self, *names: str) -> dict[str, Any]:
        """Options of a broker with a certificate for these names."""
        path = self._folder / f"{names[0]}.pem"
        path.write_bytes(self._signer.issue_cert(*names).private_key_and_cert_chain_pem.bytes())
        return {"tls_cert": path, "tls_ca": self.ca}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def _nothing(_: Event) -> None: ...


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (("greeter",), {"tls_name": "greeter"}),
        (("127.0.0.1",), {}),
        (("127.0.0.1",), {"tls_name": "elsewhere", "tls_identity": "host"}),
        (("mesh.internal",), {"tls_identity": "mesh.internal"}),
    ],
)
async def test_events_are_posted_to_who_holds_the_name(
    make: Any, tools: Any, registry: Registry, files: Files, names: tuple[str, ...], more: dict[str, Any]
) -> None:
    inbox = tools.Inbox()
    options = {**files.issue(*names), **more, "tls_client_auth": True}
    async with make(**options) as subscriber, make(**options) as publisher:
        await subscriber.subscribe("t", inbox, QUEUE)
        (record,) = await registry.get_service("micro.http.broker")
        assert record.nodes[0].metadata["secure"] == "true"
        for at in range(20):
            await publisher.publish("t", tools.text(str(at)), deadline=tools.soon())
        await publisher.flush(tools.soon())
    assert sorted(inbox.bodies, key=int) == [str(at) for at in range(20)]


async def test_who_does_not_hold_the_name_that_it_says_gets_nothing(make: Any, tools: Any, files: Files) -> None:
    inbox = tools.Inbox()
    liar = {**files.issue("evil"), "tls_name": "greeter"}
    async with make(**liar) as subscriber, make(tls_ca=files.ca) as publisher:
        await subscriber.subscribe("t", inbox, QUEUE)
        await publisher.publish("t", tools.text("secret"), deadline=tools.soon())
        await publisher.flush(tools.soon(0.5))
    assert inbox.bodies == []


async def test_who_shows_no_certificate_posts_nothing_where_one_is_demanded(
    make: Any, tools: Any, files: Files
) -> None:
    inbox = tools.Inbox()
    strict = {**files.issue("greeter"), "tls_name": "greeter", "tls_client_auth": True}
    async with make(**strict) as subscriber, make(tls_ca=files.ca) as publisher:
        await subscriber.subscribe("t", inbox, QUEUE)
        await publisher.publish("t", tools.text("forged"), deadline=tools.soon())
        await publisher.flush(tools.soon(0.5))
    assert inbox.bodies == []


@pytest.mark.parametrize("secure", [True, False])
async def test_publishers_and_subscribers_that_cannot_reach_each_other_are_told_of_once(
    make: Any, tools: Any, files: Files, caplog: pytest.LogCaptureFixture, secure: bool
) -> None:
    caplog.set_level(logging.WARNING, "micro.broker.http")
    tls = {**files.issue("greeter"), "tls_name": "greeter"}
    async with make(**(tls if secure else {})) as subscriber, make(**({} if secure else tls)) as publisher:
        await subscriber.subscribe("t", tools.Inbox(), QUEUE)
        await tools.until(lambda: [r for r in caplog.records if "it gets no events" in r.getMessage()])
        await publisher.publish("t", tools.text("x"), deadline=tools.soon())
        await subscriber.subscribe("u", tools.Inbox(), QUEUE)
        await tools.until(lambda: len([r for r in caplog.records if "it gets no events" in r.getMessage()]) == 2)
    assert all("MICRO_BROKER_TLS_CA" in record.getMessage() for record in caplog.records)


async def test_a_broker_without_a_certificate_publishes_and_does_not_subscribe(make: Any, files: Files) -> None:
    async with make(tls_ca=files.ca) as broker:
        with pytest.raises(ConfigurationError, match="MICRO_BROKER_TLS_CERT"):
            await broker.subscribe("t", _nothing, QUEUE)
