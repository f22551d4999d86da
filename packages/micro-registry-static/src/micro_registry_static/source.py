"""The file: when it is read, and what is in force.

    looked at, unchanged ──────────────────▶ nothing to do
    looked at, changed   ──▶ same again at the next look? ──no──▶ somebody is still writing: look again soon
                                   │ yes
                                   ▼
                                  read ──▶ good: in force          broken: logged once, the last good one stays, stale

A file counts as changed when its time, size or inode did, and also while its time is so recent that a change could hide
within it. Looking and reading happen in a worker thread, since the file may be on a slow disk.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import anyio.to_thread
from micro_core import Clock, ConfigurationError, RegistryUnavailable, ServiceRecord, capture_clock

from micro_registry_static.reading import read_services

log = logging.getLogger("micro.registry.static")

Stamp: TypeAlias = tuple[int, int, int]

SETTLE = 0.1
"""Seconds for which a file must stand still before it is read."""
RECENT = 2_000_000_000
"""Nanoseconds in which two changes may bear the same time, on the coarsest file systems."""
MAX_BYTES = 16 * 1024 * 1024


class Source:
    """What a file says, or said last.

    Attributes:
        path: the file.
        stale_since: clock seconds since when it cannot be used, or None.
    """

    def __init__(self, path: Path, poll: float) -> None:
        self.path: Final = path
        self.stale_since: float | None = None
        self._poll = poll
        self._services: tuple[ServiceRecord, ...] | None = None
        self._read: Stamp | None = None
        self._candidate: Stamp | None = None
        self._trouble = ""
        self._look_at = -math.inf
        self._lock = anyio.Lock()
        self._clock: Clock

    async def open(self) -> None:
        """Reads it for the first time. Raises ConfigurationError."""
        self._clock = capture_clock()
        self._services = await anyio.to_thread.run_sync(self._load)
        self._look_at = self._clock() + self._poll

    def records(self, name: str | None) -> tuple[ServiceRecord, ...]:
        """What is in force: of one name, or all for None. Raises RegistryUnavailable before it was opened."""
        if self._services is None:
            raise RegistryUnavailable("the static registry is not open: enter it with `async with`")
        return self._services if name is None else tuple(each for each in self._services if each.name == name)

    def wait(self) -> float:
        """Seconds until it is worth looking again."""
        return max(0.0, self._look_at - self._clock())

    async def refresh(self) -> None:
        """Looks at the file where it is time to, and reads it where it changed. Raises what `records` raises."""
        self.records("")
        if self._clock() < self._look_at:
            await anyio.lowlevel.checkpoint()
            return
        async with self._lock:
            if self._clock() >= self._look_at:
                await self._look()

    async def _look(self) -> None:
        try:
            found = await anyio.to_thread.run_sync(self._changed)
        except ConfigurationError as error:
            self._broken(str(error))
        else:
            self._good(found)
        pending = self._candidate is not None
        self._look_at = self._clock() + (min(SETTLE, self._poll) if pending else self._poll)

    def _good(self, found: tuple[ServiceRecord, ...] | None) -> None:
        if found is None:
            return
        if found != self._services or self._trouble:
            log.info("%s was read again: %d services", self.path, len({record.name for record in found}))
        self._services, self._trouble, self.stale_since = found, "", None

    def _broken(self, trouble: str) -> None:
        if self.stale_since is None:
            self.stale_since = self._clock()
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("%s; going on with the services that were read before", trouble)

    def _changed(self) -> tuple[ServiceRecord, ...] | None:
        """What it says now, or None where that is nothing new, or where it does not stand still."""
        stamp = self._stamp()
        if stamp == self._read and time.time_ns() - stamp[0] > RECENT:
            self._candidate = None
            return None
        if stamp not in (self._candidate, self._read):
            self._candidate = stamp
            return None
        self._candidate = None
        return self._load()

    def _load(self) -> tuple[ServiceRecord, ...]:
        """Reads it. Whatever it says, this state of the file is not read again."""
        stamp = self._stamp()
        try:
            with self.path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(text) > MAX_BYTES:
            raise ConfigurationError(f"{self.path}: expected at most {MAX_BYTES // 2**20} MiB")
        self._read = stamp
        return read_services(self.path, text)

    def _stamp(self) -> Stamp:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _unreadable(self, error: OSError) -> ConfigurationError:
        self._read = None
        return ConfigurationError(
            f"the services of registry 'static' cannot be read from {self.path}: {error.strerror or error}; "
            f"name the file by MICRO_REGISTRY_STATIC_PATH"
        )
