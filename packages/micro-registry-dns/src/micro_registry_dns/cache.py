"""Lookups, kept as long as their TTL says, each asked for by one task at a time.

A lookup that fails keeps what was known last and says since when; it is tried again after `first_retry` seconds,
then ever more slowly, whoever asks.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

import anyio
import anyio.lowlevel
from micro_core import Clock, ServiceRecord

from micro_registry_dns.questions import Questions, Unanswered

log = logging.getLogger("micro.registry.dns")

MAX_ENTRIES = 1_000
"""Names that are kept; the one that was asked for least recently goes first."""
MAX_RETRY = 10.0


class Entry:
    """What is known of one name.

    Attributes:
        services: its record, or nothing.
        ends: clock seconds when it must be asked for again.
        ttl: seconds for which the last answer held.
        retry: seconds from the next failure to the lookup after it.
        trouble: why DNS does not answer; empty while it does.
        stale_since: clock seconds since when, or None.
    """

    __slots__ = ("ends", "lock", "retry", "services", "stale_since", "trouble", "ttl")

    def __init__(self, retry: float) -> None:
        self.services: tuple[ServiceRecord, ...] = ()
        self.ends = float("-inf")
        self.ttl = retry
        self.trouble = ""
        self.stale_since: float | None = None
        self.retry = retry
        self.lock = anyio.Lock()


class Cache:
    """The entries of a registry."""

    def __init__(self, questions: Questions, clock: Clock, first_retry: float) -> None:
        self.questions: Final = questions
        self.clock: Final = clock
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._first_retry = first_retry
        self._silent = False

    async def fresh(self, name: str) -> Entry:
        """The entry of a name, asked for where its time is over. A cancelled call leaves the question to the next."""
        entry = self._entry(name)
        if self.clock() < entry.ends:
            await anyio.lowlevel.checkpoint()
            return entry
        async with entry.lock:
            if self.clock() >= entry.ends:
                await self._ask(name, entry)
        return entry

    async def all_fresh(self, names: tuple[str, ...]) -> list[Entry]:
        """The entries of several names, asked for side by side."""
        if len(names) == 1:
            return [await self.fresh(names[0])]
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.fresh, name)
        return [self._entry(name) for name in names]

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = Entry(self._first_retry)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(name)
        return entry

    async def _ask(self, name: str, entry: Entry) -> None:
        try:
            found = await self.questions.find(name)
        except Unanswered as error:
            self._failed(entry, str(error))
            return
        entry.services = found.record(name)
        entry.ttl = found.ttl
        entry.ends = self.clock() + found.ttl
        entry.trouble, entry.stale_since, entry.retry = "", None, self._first_retry
        if self._silent:
            self._silent = False
            log.info("DNS answers again")

    def _failed(self, entry: Entry, trouble: str) -> None:
        now = self.clock()
        entry.trouble = trouble
        entry.stale_since = now if entry.stale_since is None else entry.stale_since
        entry.ttl, entry.retry = entry.retry, min(entry.retry * 2, MAX_RETRY)
        entry.ends = now + entry.ttl
        if not self._silent:
            self._silent = True
            log.warning("DNS does not answer, going on with what was known: %s", trouble)
