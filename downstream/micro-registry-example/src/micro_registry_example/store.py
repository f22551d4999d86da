"""The file: a row per node, with the record it was registered with and the time it ends.

A row is written anew when its record changes, so that the highest `rowid` of a version is what was registered last; a
heartbeat only moves `ends`. A goodbye leaves the row for `REMEMBERED` seconds with the time it was said, for watches in
other processes to see. Times are the host's wall clock, the one clock that all its processes share.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from micro_core import RegistryUnavailable, ServiceRecord, Snapshot

from micro_registry_example.text import from_text, to_text

log = logging.getLogger("micro.registry.example")

REMEMBERED = 3600.0
"""Seconds for which a goodbye can be seen."""

PATIENCE = 5.0
"""Seconds to wait for others that write."""

FAST = "PRAGMA synchronous = OFF"  # what a power failure loses, the next heartbeat registers again
SCHEMA = """
CREATE TABLE IF NOT EXISTS nodes (
    name TEXT, id TEXT, record TEXT, ends REAL, departed REAL DEFAULT 0, PRIMARY KEY (name, id)
)
"""
SAME = "UPDATE nodes SET ends = ? WHERE name = ? AND id = ? AND record = ? AND NOT departed"
OTHER = "REPLACE INTO nodes (ends, name, id, record) VALUES (?, ?, ?, ?)"
GOODBYE = "UPDATE nodes SET departed = ?, ends = ? WHERE name = ? AND id = ? AND NOT departed"
FORGET = "DELETE FROM nodes WHERE ends <= ?"
READ = """
SELECT name, id, record, departed FROM nodes
WHERE ends > ? AND (NOT departed OR departed > ?) AND (? IS NULL OR name = ?) ORDER BY rowid
"""


class Store:
    """The services in one file. Its methods block; any thread may call them. They raise RegistryUnavailable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unreadable: set[str] = set()

    def now(self) -> float:
        """The time that rows are written by."""
        return time.time()

    def put(self, service: ServiceRecord, ttl: float) -> None:
        """Writes the nodes of a record, or moves their end. Raises ValueError for one that is not whole."""
        _check(service, ttl)
        ends = self.now() + ttl if ttl else math.inf
        with self._open() as file:
            file.execute(FORGET, (self.now(),))
            for node in service.nodes:
                row = (ends, service.name, node.id, to_text(replace(service, nodes=(node,))))
                if not file.execute(SAME, row).rowcount:
                    file.execute(OTHER, row)

    def remove(self, service: ServiceRecord) -> None:
        """Says goodbye for the nodes of a record."""
        now = self.now()
        with self._open() as file:
            file.executemany(GOODBYE, [(now, now + REMEMBERED, service.name, node.id) for node in service.nodes])

    def snapshot(self, name: str | None, since: float = math.inf) -> Snapshot:
        """What is known, of one name or of all for None, and who departed after `since`."""
        with self._open() as file:
            rows = file.execute(READ, (self.now(), since, name, name)).fetchall()
        here = self._readable((name, id, text) for name, id, text, departed in rows if not departed)
        return Snapshot(_by_version(here), frozenset(id for _, id, _, departed in rows if departed))

    def _readable(self, rows: Iterable[tuple[str, str, str]]) -> Iterator[ServiceRecord]:
        for name, id, text in rows:
            try:
                yield from_text(name, id, text)
            except ValueError as error:
                self._tell(f"node {id!r} of {name!r} in {self._path} cannot be read: {error}")

    def _tell(self, trouble: str) -> None:
        if trouble not in self._unreadable:
            self._unreadable.add(trouble)
            log.warning("%s", trouble)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        try:
            with closing(sqlite3.connect(self._path, timeout=PATIENCE, isolation_level="IMMEDIATE")) as file, file:
                file.text_factory = partial(str, encoding="utf-8", errors="replace")
                file.execute(FAST)
                file.execute(SCHEMA)
                yield file
        except sqlite3.Error as error:
            raise RegistryUnavailable(f"registry 'example' at {self._path}: {error}") from error


def _by_version(records: Iterable[ServiceRecord]) -> tuple[ServiceRecord, ...]:
    versions: dict[tuple[str, str], ServiceRecord] = {}
    for record in records:
        key = (record.name, record.version)
        before = versions[key].nodes if key in versions else ()
        versions[key] = replace(record, nodes=before + record.nodes)
    return tuple(versions[key] for key in sorted(versions))


def _check(service: ServiceRecord, ttl: float) -> None:
    if not service.name or not service.version:
        raise ValueError(f"a record needs a name and a version: {service!r}")
    if not all(node.id and node.address for node in service.nodes):
        raise ValueError(f"a node needs an id and an address: {service!r}")
    if not 0 <= ttl < math.inf:
        raise ValueError(f"a ttl is a number of seconds, 0 for ever: {ttl!r}")
