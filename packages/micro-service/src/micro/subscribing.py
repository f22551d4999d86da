"""Being subscribed: asks the broker until it answers, and ends every subscription."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio
from micro_core import Broker, ConfigurationError, EventHandler, MicroError, Subscription

from micro.registration import FIRST_DELAY, LAST_DELAY
from micro.subscribers import Subscriber

log = logging.getLogger("micro.service")


class Subscriptions:
    """The subscriptions of one service; `run` is the task that makes them.

    Attributes:
        settled: set once all are made, or once it is known that one never can be.
        refused: what is wrong, in that case.
        stopped: set once they have ended.
    """

    def __init__(
        self, wanted: Sequence[tuple[Subscriber, EventHandler]], broker: Callable[[], Awaitable[Broker]]
    ) -> None:
        self.settled = anyio.Event()
        self.stopped = anyio.Event()
        self.refused: ConfigurationError | None = None
        self._wanted = list(wanted)
        self._broker = broker
        self._made: list[Subscription] = []
        self._scope = anyio.CancelScope()
        self._lost = False

    async def run(self) -> None:
        """Subscribes; a broker that cannot be reached is tried again for ever."""
        delay = FIRST_DELAY
        with self._scope:
            while not await self._subscribe():
                await anyio.sleep(delay)
                delay = min(2 * delay, LAST_DELAY)

    async def _subscribe(self) -> bool:
        try:
            broker = await self._broker()
            while self._wanted:
                subscriber, handler = self._wanted[0]
                self._made.append(await broker.subscribe(subscriber.topic, handler, subscriber.options))
                del self._wanted[0]
        except (ValueError, ConfigurationError) as error:
            self._refuse(error)
            return True
        except MicroError as error:
            if not self._lost:
                self._lost = True
                log.warning("%d subscribers wait for the broker (%s); trying on", len(self._wanted), error)
            return False
        except Exception as error:
            log.exception("the broker failed while subscribing")
            self._refuse(error)
            return True
        if self._lost:
            log.info("every subscriber is subscribed")
        self.settled.set()
        return True

    def _refuse(self, error: Exception) -> None:
        where = f"subscriber {self._wanted[0][0].where}: " if self._wanted else ""
        self.refused = ConfigurationError(f"{where}{error}")
        self.refused.__cause__ = error
        if self.settled.is_set():
            log.error("%s", self.refused)
        self.settled.set()

    def leave(self) -> None:
        """Makes no more of them."""
        self._scope.cancel()

    async def stop(self, limit: float) -> None:
        """Ends them, side by side; running handlers have `limit` seconds."""
        self.leave()
        try:
            with anyio.move_on_after(limit):
                async with anyio.create_task_group() as tasks:
                    for subscription in self._made:
                        tasks.start_soon(self._close, subscription)
        finally:
            self.stopped.set()

    async def _close(self, subscription: Subscription) -> None:
        try:
            await subscription.aclose()
        except Exception:
            log.exception("a subscription to %r failed while it was closed", subscription.topic)
