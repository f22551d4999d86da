"""Keeps subscriptions registered: refreshed before their time is over, and again when the registry returns."""

from __future__ import annotations

import logging
from random import random

import anyio
from micro_core import MicroError, Registry, ServiceRecord

log = logging.getLogger("micro.broker.http")

TTL = 60.0
REFRESH = 30.0
_PATIENCE = 3.0


class Registration:
    """The records of one broker's subscriptions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._records: set[ServiceRecord] = set()
        self._away = anyio.Event()
        self._lost = False

    async def add(self, record: ServiceRecord) -> None:
        """Registers it now, or when the registry answers; never fails."""
        self._records.add(record)
        if not await self._register(record):
            self._away.set()

    async def remove(self, record: ServiceRecord) -> None:
        """Says goodbye; never fails. Where the registry does not answer within 3 s, the record's time runs out."""
        self._records.discard(record)
        try:
            with anyio.move_on_after(_PATIENCE) as scope:
                await self._registry.deregister(record)
            if scope.cancelled_caught:
                log.warning("a subscription could not be deregistered in time; it is listed for %g s more", TTL)
        except MicroError as error:
            log.warning("a subscription could not be deregistered; it is listed for %g s more: %s", TTL, error)

    async def remove_all(self) -> None:
        """Says goodbye for all, also when cancelled, within 3 s."""
        with anyio.move_on_after(_PATIENCE, shield=True):
            for record in tuple(self._records):
                await self.remove(record)

    async def keep(self) -> None:
        """Registers everything again, every 30 s, and with backoff while the registry does not answer."""
        pause = REFRESH
        while True:
            with anyio.move_on_after(pause * (0.8 + 0.2 * random())):  # noqa: S311
                await self._away.wait()
            self._away = anyio.Event()
            well = True
            for record in tuple(self._records):
                well = await self._register(record) and well
            pause = REFRESH if well else min(REFRESH, 1.0 if pause == REFRESH else pause * 2)

    async def _register(self, record: ServiceRecord) -> bool:
        if record not in self._records:
            return True
        try:
            await self._registry.register(record, ttl=TTL)
        except (MicroError, ValueError) as error:
            if not self._lost:
                log.warning("subscriptions cannot be registered, publishers may not find them: %s", error)
            self._lost = True
            return False
        if self._lost:
            log.info("subscriptions are registered again")
        self._lost = False
        if record not in self._records:  # closed in the meantime
            await self._registry.deregister(record)
        return True
