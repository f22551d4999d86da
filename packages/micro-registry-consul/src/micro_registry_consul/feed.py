"""What Consul says, kept current by blocking queries for as long as somebody watches.

A query carries the index of the last answer and returns when something changed, or after `wait` seconds. The rules are
Consul's own: an index that goes backwards starts anew, none is below 1, and how often is limited (`pace.py`). These
cost a turn of the client's each, and at most one request a second: a refusal, an index that went backwards, one that
stands still although the query came back early, a list that lost all that was known, a query that was cut off at once.

A failure starts anew, too: an agent that came back with nothing would let the old index wait in vain. Nodes that are
missing from an answer departed only if they said so (`keeper.py`): a new agent, a revoked right and a proxy gone mad
all answer an empty list. An answer without an index to wait on tells a revoked right apart: then what is known stays.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import Any, Self, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from micro_core import Clock, RegistryUnavailable, ServiceRecord, Snapshot

from micro_registry_consul.api import Answer, Api
from micro_registry_consul.client import MAX_BLOCKING, Client, Silent
from micro_registry_consul.pace import SPACING, Trust
from micro_registry_consul.records import BadRecord, check_name, read_health, versions

log = logging.getLogger("micro.registry.consul")

MAX_DEPARTED = 10_000
MAX_WARNED = 1_000


class Feed(ABC):
    """One blocking query after the other.

    Attributes:
        departed: ids of nodes that said goodbye and did not come back, the latest last.
        stale_since: clock seconds since when Consul does not answer, None while it does.
        asked: set once the first query has ended, well or not.
        changed: set, and replaced, at every news.
    """

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds
        self.departed: dict[str, None] = {}
        self.stale_since: float | None = None
        self.asked = False
        self.changed = anyio.Event()
        self.scope = anyio.CancelScope()
        self.users = 0
        self._index: int | None = None
        self._seen: Any = self
        self._asked_at = feeds.clock()
        self._trust = Trust(feeds.client.pace, feeds.clock)

    @property
    @abstractmethod
    def records(self) -> tuple[ServiceRecord, ...]:
        """What is known."""

    @abstractmethod
    def _query(self, api: Api, token: str | None, index: int | None, wait: str) -> Awaitable[Answer]:
        """Asks Consul."""

    @abstractmethod
    def _take(self, value: Any) -> None:
        """Takes an answer in. Raises BadRecord for one that makes no sense."""

    @abstractmethod
    def _loses(self, value: Any) -> bool:
        """Whether an answer lacks everything of something that is known, as for want of rights."""

    async def run(self) -> None:
        """Follows Consul for ever, whatever happens to it."""
        with self.scope:
            while True:
                try:
                    await self._round()
                except RegistryUnavailable as error:
                    if not isinstance(error, Silent) or self._cut_off():
                        self._trust.doubt(self._asked_at)
                    self._lost()
                except Exception:
                    log.exception("following the Consul agent failed")
                    self._lost()
                    await self._feeds.client.pace.turn()

    async def _round(self) -> None:
        answer = await self._ask()
        index, value = answer.value
        news, lost = value != self._seen, self._loses(value)
        before, self._index = self._index, _next_index(self._index, index)
        if news and lost and before is not None:
            self._index = None  # the answer to that says whether it is for want of rights; this one does not
            self._trust.doubt(self._asked_at)
            return
        if answer.filtered and lost:
            raise RegistryUnavailable("Consul leaves out what the token may not read")
        self._believe(value, news=news)
        if before is not None:
            await self._rest(before, news=news)

    async def _ask(self) -> Answer:
        client, wait, in_turn = self._feeds.client, self._feeds.wait, self._trust.doubted

        def query(api: Api, token: str | None) -> Awaitable[Answer]:
            self._asked_at = self._feeds.clock()
            return self._query(api, token, self._index, f"{wait:g}s")

        async with self._feeds.connections:
            if in_turn:
                await client.pace.turn()
            return await client.block(query, wait, in_turn=in_turn)

    def _cut_off(self) -> bool:
        """Whether a query that should wait ended before anything can have happened to its agent."""
        return self._index is not None and self._feeds.clock() - self._asked_at < SPACING

    def _believe(self, value: Any, *, news: bool) -> None:
        try:
            self._take(value)
        except BadRecord as error:
            raise RegistryUnavailable(str(error)) from None
        self._seen = value
        if news or self.stale_since is not None or not self.asked:
            self.stale_since, self.asked = None, True
            self.wake()

    async def _rest(self, before: int, *, news: bool) -> None:
        """What is due after the answer to a query with an index, before the next."""
        early = self._feeds.clock() - self._asked_at < self._feeds.wait / 2
        if self._index is None or (early and self._index == before):
            self._trust.doubt(self._asked_at)
            return
        self._trust.waited(self._asked_at)
        if early and not self._trust.doubted:
            await self._trust.spend(news=news)

    def _lost(self) -> None:
        self._index = None
        if self.stale_since is None:
            self.stale_since = self._feeds.clock()
        self.asked = True
        self.wake()

    def wake(self) -> None:
        """Tells everyone who waits for news."""
        self.changed.set()
        self.changed = anyio.Event()
        self._feeds.told(self)

    def _depart(self, ids: frozenset[str] | dict[str, None]) -> None:
        here = {node.id for record in self.records for node in record.nodes}
        self.departed.update(dict.fromkeys(ids))
        self.departed = dict.fromkeys([id for id in self.departed if id not in here][-MAX_DEPARTED:])


def _next_index(before: int | None, index: object) -> int | None:
    """The index to wait on: None after one that went backwards, so that the next query returns at once."""
    now = max(1, int(index)) if isinstance(index, str) and index.isascii() and index.isdigit() else 1
    return None if before is not None and now < before else now


class NameFeed(Feed):
    """The nodes of one service."""

    def __init__(self, feeds: Feeds, name: str) -> None:
        super().__init__(feeds)
        self._name = name
        self._records: tuple[ServiceRecord, ...] = ()

    @property
    def records(self) -> tuple[ServiceRecord, ...]:
        """What is known."""
        return self._records

    def _query(self, api: Api, token: str | None, index: int | None, wait: str) -> Awaitable[Answer]:
        return cast("Awaitable[Answer]", api.health.service(self._name, index=index, wait=wait, token=token))

    def _loses(self, value: Any) -> bool:
        return value == [] and bool(self._records)

    def _take(self, value: Any) -> None:
        if value == self._seen:
            return
        read = read_health(self._name, value)
        self._feeds.warn(self._name, read.unreadable)
        self._records = read.records
        self._depart(read.goodbyes)


class EverythingFeed(Feed):
    """Every service of Go Micro's kind: the list of names, and a feed for each."""

    def __init__(self, feeds: Feeds) -> None:
        super().__init__(feeds)
        self._parts: dict[str, tuple[Feed, ExitStack]] = {}

    @property
    def records(self) -> tuple[ServiceRecord, ...]:
        """What is known."""
        return tuple(record for name in sorted(self._parts) for record in self._parts[name][0].records)

    @property
    def complete(self) -> bool:
        """Whether every service was asked for once."""
        return all(part.asked for part, _ in self._parts.values())

    def gather(self) -> None:
        """Takes over what the parts know of departures and of trouble."""
        for part, _ in self._parts.values():
            self._depart(part.departed)

    @property
    def stale(self) -> float | None:
        """Since when anything of it is stale."""
        times = [self.stale_since, *(part.stale_since for part, _ in self._parts.values())]
        return min((time for time in times if time is not None), default=None)

    def _query(self, api: Api, token: str | None, index: int | None, wait: str) -> Awaitable[Answer]:
        return cast("Awaitable[Answer]", api.catalog.services(index=index, wait=wait, token=token))

    def _loses(self, value: Any) -> bool:
        return isinstance(value, dict) and not self._parts.keys() <= value.keys()

    def _take(self, value: Any) -> None:
        names = service_names(value)
        self.gather()
        for name in names - self._parts.keys():
            stack = ExitStack()
            self._parts[name] = stack.enter_context(self._feeds.use(name, self.wake)), stack
        for name in self._parts.keys() - names:
            self._parts.pop(name)[1].close()

    def close(self) -> None:
        """Lets go of every part."""
        for _, stack in self._parts.values():
            stack.close()


def service_names(value: Any) -> set[str]:
    """The names of Go Micro's services among all. Raises BadRecord."""
    return {name for name, _ in names_and_versions(value)}


def names_and_versions(value: Any) -> set[tuple[str, str]]:
    """What the list of all services says of Go Micro's. Raises BadRecord when it is no such list."""
    if not isinstance(value, dict):
        raise BadRecord("the list of services is no object")
    found = set()
    for name, tags in value.items():
        try:
            check_name(name, "the name")
        except ValueError:
            continue
        found |= {(name, version) for version in versions(tags)}
    return found


class Feeds:
    """The feeds of one registry, each shared by those who watch the same."""

    def __init__(self, client: Client, clock: Clock, tasks: TaskGroup, wait: float) -> None:
        self.client = client
        self.clock = clock
        self._longest = wait
        self._tasks = tasks
        # Feeds live longer than the call that starts them and must not carry its context variables.
        self._context = copy_context()
        self._feeds: dict[str | None, Feed] = {}
        self._listeners: dict[Feed, list[Callable[[], None]]] = {}
        self.connections = anyio.Semaphore(MAX_BLOCKING)
        self._warned: set[tuple[str, str]] = set()

    @property
    def wait(self) -> float:
        """Seconds that a query may wait: short when there are more feeds than connections, so that all get theirs."""
        return self._longest if len(self._feeds) <= MAX_BLOCKING else 1.0

    @contextmanager
    def use(self, name: str | None, listener: Callable[[], None] | None = None) -> Iterator[Feed]:
        """The feed of a name, or of everything for None; it runs while anybody uses it."""
        feed = self._feeds.get(name)
        if feed is None:
            feed = self._feeds[name] = EverythingFeed(self) if name is None else NameFeed(self, name)
            self._context.run(self._tasks.start_soon, feed.run)
        feed.users += 1
        if listener is not None:
            self._listeners.setdefault(feed, []).append(listener)
        try:
            yield feed
        finally:
            feed.users -= 1
            if listener is not None:
                self._listeners[feed].remove(listener)
            if not feed.users:
                del self._feeds[name]
                self._listeners.pop(feed, None)
                feed.scope.cancel()
                if isinstance(feed, EverythingFeed):
                    feed.close()

    def told(self, feed: Feed) -> None:
        """Tells those who listen to a feed."""
        for listener in self._listeners.get(feed, ()):
            listener()

    def warn(self, name: str, unreadable: Any) -> None:
        """Logs each record that cannot be read, once."""
        for id, reason in unreadable.items():
            if (name, id) not in self._warned and len(self._warned) < MAX_WARNED:
                self._warned.add((name, id))
                log.warning("node %r of %r in Consul is left out: %s", id, name, reason)


class Watch(AsyncIterator[Snapshot]):
    """The latest of a feed, whenever it is not what was given last."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._last: Snapshot | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        await anyio.lowlevel.checkpoint()
        while True:
            changed = self._feed.changed
            snapshot = self._snapshot()
            if snapshot is not None and snapshot != self._last:
                self._last = snapshot
                return snapshot
            await changed.wait()

    def _snapshot(self) -> Snapshot | None:
        feed = self._feed
        stale = feed.stale_since
        if not feed.asked:
            return None
        if isinstance(feed, EverythingFeed):
            if self._last is None and not feed.complete:
                return None
            feed.gather()
            stale = feed.stale
        return Snapshot(feed.records, frozenset(feed.departed), stale)
