"""Subscribers in processes that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from micro_core import Node, Registry, ServiceRecord


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio"


class Members:
    """Processes that are one queue, or broadcast subscribers."""

    def __init__(self, queue: str, path: Path) -> None:
        self._queue = queue
        self._path = path
        self._running: list[tuple[subprocess.Popen[str], ServiceRecord]] = []
        path.touch()

    def start(self) -> ServiceRecord:
        command = [sys.executable, str(Path(__file__).with_name("subscriber_process.py")), self._queue, str(self._path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        id_, address, metadata = json.loads(process.stdout.readline())
        version = self._queue or "ff.http.broadcast"
        record = ServiceRecord("micro.http.broker", version, (Node(id_, address, metadata),))
        self._running.append((process, record))
        return record

    def kill(self) -> ServiceRecord:
        process, record = self._running.pop(0)
        process.kill()
        process.communicate(timeout=5)
        return record

    def kill_all(self) -> None:
        while self._running:
            self.kill()

    @property
    def handled(self) -> Counter[str]:
        return Counter(self._path.read_text().split())


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Members]:
    members = Members("q", tmp_path / "queue")
    yield members
    members.kill_all()


@pytest.fixture
def broadcast(tmp_path: Path) -> Iterator[Members]:
    members = Members("", tmp_path / "broadcast")
    yield members
    members.kill_all()


@pytest.mark.anyio
async def test_no_event_is_lost_while_members_of_a_queue_are_killed(
    make: Any, tools: Any, registry: Registry, queue: Members
) -> None:
    for _ in range(3):
        await registry.register(await anyio.to_thread.run_sync(queue.start), ttl=60)
    expected = {str(number) for number in range(600)}
    async with make(backoff=0.01) as publisher:

        async def publish() -> None:
            for name in sorted(expected):
                await publisher.publish("t", tools.text(name), deadline=tools.soon(20))
                await anyio.sleep(0.002)

        async with anyio.create_task_group() as group:
            group.start_soon(publish)
            for _ in range(3):
                before = set(queue.handled)
                await tools.until(lambda before=before: queue.handled.keys() > before or set(queue.handled) == expected)
                await anyio.to_thread.run_sync(queue.kill)  # still registered
                await registry.register(await anyio.to_thread.run_sync(queue.start), ttl=60)
        await publisher.flush(tools.soon(10))
    handled = queue.handled
    assert set(handled) == expected
    assert sum(handled.values()) <= len(expected) + 3 * 16, "no more twice than were with those that were killed"


@pytest.mark.anyio
async def test_a_killed_broadcast_subscriber_holds_up_nobody(
    make: Any, tools: Any, registry: Registry, broadcast: Members, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        await registry.register(await anyio.to_thread.run_sync(broadcast.start), ttl=60)
    async with make() as publisher:
        await publisher.publish("t", tools.text("both"), deadline=tools.soon())
        await publisher.flush(tools.soon())
        dead = await anyio.to_thread.run_sync(broadcast.kill)
        for number in range(50):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await tools.until(lambda: set(broadcast.handled) == {"both", *map(str, range(50))})
        await registry.deregister(dead)
        await publisher.flush(tools.soon())
    assert broadcast.handled["both"] == 2
    assert "gave up 50 events" in caplog.text
