"""What a command is connected by: the configuration of this process, and the parts that it opens when they are used."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio
from micro.caller import Caller
from micro.config import Config
from micro.logs import set_up_logging
from micro.middleware import answers
from micro.runtime import Runtime
from micro_core import Broker, Registry, RegistryUnavailable, ServiceRecord, capture_clock

from micro_cli.ending import NotThere, Unreachable
from micro_cli.output import note

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds for a registry or broker to answer."""


class Connection(Caller):
    """A client that is quick to open: a part is opened when a command uses it."""

    name = ""
    version = ""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self._runtime = Runtime(self, config, {}, ())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Connection]:
        """The block in which it works."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._runtime)
            self._runtime.attach(self)
            for lifespan in answers(self._runtime.extensions.hook.micro_lifespan, self):
                await stack.enter_async_context(lifespan)
            yield self

    @property
    def registry_name(self) -> str:
        """The plugin's name."""
        return self._runtime.parts.name_of("registry")

    async def registry(self) -> Registry:
        """The registry inside the namespace. Raises Unreachable when it does not open in time."""
        return await self._in_time(self._runtime.parts.names, "does not open")

    async def answering(self) -> None:
        """Returns when the registry has answered, whatever it was. Raises Unreachable."""
        await self._in_time((await self.registry()).list_services)

    async def broker(self) -> Broker:
        """The broker. Raises Unreachable when it does not open in time."""
        with anyio.move_on_after(PATIENCE):
            return await self._runtime.parts.broker()
        raise Unreachable(f"broker {self._runtime.parts.name_of('broker')!r} does not open within {PATIENCE:g} s")

    async def open(self) -> None:
        """Opens what calls need, so that none of them is charged for it. Raises RPCError."""
        await self._ready()

    async def flush(self) -> None:
        """Waits until what was published has left, or PATIENCE is over."""
        broker: Broker | None = self._runtime.parts.opened("broker")
        if broker is not None:
            with anyio.move_on_after(PATIENCE):
                await broker.flush(capture_clock()() + PATIENCE)

    async def records(self, name: str) -> tuple[ServiceRecord, ...]:
        """The versions of a service. Raises NotThere, with a suggestion, or Unreachable."""
        from micro_core import NotRegistered

        registry = await self.registry()
        try:
            return await self._in_time(partial(registry.get_service, name))
        except NotRegistered:
            known = {record.name for record in await self._in_time(registry.list_services)}
            raise NotThere(self._unknown(name, known)) from None

    def _unknown(self, name: str, known: set[str]) -> str:
        from difflib import get_close_matches

        namespace = self.config.settings.namespace
        where = f"registry {self.registry_name!r}" + (f", namespace {namespace!r}" if namespace else "")
        close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else "micro list shows what is there"
        return f"there is no service {name!r} in {where}; {hint}"

    async def all_records(self) -> tuple[ServiceRecord, ...]:
        """Every service with its nodes. Raises Unreachable."""
        await self.registry()
        return await self._in_time(self.list_services)

    async def _in_time(self, ask: Callable[[], Awaitable[T]], failing: str = "does not answer") -> T:
        try:
            with anyio.move_on_after(PATIENCE):
                return await ask()
        except RegistryUnavailable as error:
            raise Unreachable(f"registry {self.registry_name!r} {failing}: {error}") from None
        raise Unreachable(f"registry {self.registry_name!r} {failing} within {PATIENCE:g} s")


def configure(overrides: Mapping[str, object], *, warn: bool = True) -> Config:
    """The configuration of this process; nothing is logged unless MICRO_LOG says so. Raises ConfigurationError."""
    config = Config(command_line=overrides, environment=os.environ)
    chosen = any(value.key == "log" and value.source != "default" for value in config.values)
    set_up_logging(config.settings.log)
    if not chosen:
        logging.getLogger("micro").setLevel(logging.CRITICAL)
    if warn and not logging.getLogger("micro").isEnabledFor(logging.WARNING):
        for warning in config.warnings:
            note(f"warning: {warning}")
    return config


def connected(overrides: Mapping[str, object], work: Callable[[Connection], Awaitable[T]]) -> T:
    """Runs the work with a connection, in an event loop of its own, and returns what it does."""
    return run_connected(configure(overrides), work)


def run_connected(config: Config, work: Callable[[Connection], Awaitable[T]]) -> T:
    """As `connected`. SIGTERM ends it in good order, as Ctrl-C does, with exit code 143."""
    results: list[T] = []
    failed: list[Exception] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            if threading.current_thread() is threading.main_thread():
                tasks.start_soon(_end_on_sigterm, tasks.cancel_scope)
            try:
                async with Connection(config).running() as connection:
                    results.append(await work(connection))
            except Exception as error:  # not from here: the task group would wrap it
                failed.append(error)
            tasks.cancel_scope.cancel()

    anyio.run(main)
    if failed:
        raise failed[0]
    if not results:
        raise SystemExit(128 + signal.SIGTERM)
    return results[0]


async def _end_on_sigterm(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
