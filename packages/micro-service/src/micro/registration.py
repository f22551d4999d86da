"""Being known: registers a node, renews it before its time is over, and says goodbye."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable

import anyio
from micro_core import ConfigurationError, MicroError, Registry, ServiceRecord

from micro.config import Settings

log = logging.getLogger("micro.service")

LIMIT = 5.0
"""Seconds for one registration."""

GOODBYE = 1.0
"""Seconds for deregistering."""

FIRST_DELAY, LAST_DELAY = 0.1, 2.0
"""Seconds between attempts while the registry is lost, doubling; each is shortened at random."""


class Registration:
    """Keeps one record registered; `run` is its task.

    A registry that cannot be reached, at start or later, is tried again for ever, with one line of log when it is lost
    and one when it is back.

    Attributes:
        settled: set once it was registered, or once it is known that it never can be.
        refused: what is wrong with the record, in that case.
    """

    def __init__(
        self, record: ServiceRecord, registry: Callable[[], Awaitable[Registry]], name: str, settings: Settings
    ) -> None:
        self.settled = anyio.Event()
        self.refused: ConfigurationError | None = None
        self._record = record
        self._registry = registry
        self._name = name
        self._settings = settings
        self._scope = anyio.CancelScope()
        self._registered = False
        self._tried = False
        self._lost = False
        self._delay = FIRST_DELAY

    async def run(self) -> None:
        """Registers and renews until `stop`."""
        with self._scope:
            while True:
                delay = await self._once()
                await anyio.sleep(delay)

    async def _once(self) -> float:
        """Registers; the seconds to the next time."""
        try:
            with anyio.fail_after(LIMIT):
                registry = await self._registry()
                self._tried = True
                await registry.register(self._record, ttl=self._settings.register_ttl)
        except (ValueError, ConfigurationError) as error:
            self._refuse(error)
        except TimeoutError:
            self._lose(f"no answer within {LIMIT:g} s")
        except MicroError as error:
            self._lose(str(error))
        except Exception as error:
            log.exception("registry %s failed while registering", self._name)
            self._lose(f"{type(error).__name__}: {error}")
        else:
            self._found()
            return self._settings.register_interval * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
        delay, self._delay = self._delay, min(2 * self._delay, LAST_DELAY)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def _refuse(self, error: Exception) -> None:
        if not self.settled.is_set():
            self.refused = (
                error
                if isinstance(error, ConfigurationError)
                else ConfigurationError(f"{self._record.name!r} cannot be registered with {self._name}: {error}")
            )
            self.settled.set()
        else:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            log.warning("%s is not registered with %s (%s); trying on", self._record.name, self._name, why)

    def _found(self) -> None:
        self._delay = FIRST_DELAY
        if self._lost or not self._registered:
            again = " again" if self._registered else ""
            log.info("%s is registered%s with %s", self._record.name, again, self._name)
        self._lost, self._registered = False, True
        self.settled.set()

    async def stop(self) -> None:
        """Says goodbye, at most for a second; nothing when it cannot be registered, or has said it."""
        self._scope.cancel()
        if not self._tried:
            return
        self._tried = False
        try:
            with anyio.fail_after(GOODBYE):
                registry = await self._registry()
                await registry.deregister(self._record)
        except (MicroError, TimeoutError) as error:
            if not self._registered:  # it may be there all the same, if an answer was lost
                return
            log.warning(
                "%s could not be deregistered from %s (%s); it disappears within %g s",
                self._record.name, self._name, str(error) or "no answer", self._settings.register_ttl,
            )  # fmt: skip
        except Exception:
            log.exception("registry %s failed while deregistering", self._name)
        else:
            log.info("%s is deregistered from %s", self._record.name, self._name)
