"""Running services until a signal ends them.

The first SIGINT or SIGTERM stops every service gracefully, side by side; a second one ends them at once. Threads of
handlers that outlived the drain are left behind: at its end Python would wait for them, longer than whoever sent the
signal does. A mistake in the configuration is one line on standard error and exit code 2.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from micro_core import ConfigurationError

from micro.logs import set_up_logging
from micro.service import Service

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

log = logging.getLogger("micro.service")

BACKENDS = ("asyncio", "uvloop", "trio")
_WORKER = "AnyIO worker thread"
_IDLE = 0.1
"""Seconds that an idle thread takes to end, at most."""


def run(
    *services: Service,
    backend: str | None = None,
    command_line: Mapping[str, object] = MappingProxyType({}),
) -> signal.Signals | None:
    """Serves until SIGINT or SIGTERM; then returns which it was, when every service has stopped.

    Args:
        services: one or more, in one event loop.
        backend: asyncio, uvloop or trio; by default MICRO_BACKEND, else uvloop where it is installed, else asyncio.
        command_line: dotted keys that win over everything else, for a program that parses a command line; this function
            never does.

    Returns:
        The signal that ended it, None outside of the main thread, where none is listened to.

    Raises:
        SystemExit: 2 after a ConfigurationError, which is printed; 128 and the signal's number when a second signal
            came. Where a handler's thread outlived the drain the process ends here, with 0 after SIGTERM, 130 after
            SIGINT.
    """
    try:
        ended = _run(services, backend, command_line)
    except ConfigurationError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    if ended.forced:
        _exit(128 + ended.forced)
    if ended.first and (left := _threads_left()):
        log.warning("threads of handlers that outlived the drain and are left behind: %d", left)
        _exit(0 if ended.first == signal.SIGTERM else 128 + ended.first)
    return signal.Signals(ended.first) if ended.first else None


def _refuse(text: str) -> NoReturn:
    sys.stderr.write(f"error: {text}\n")
    raise SystemExit(2)


def _threads_left() -> int:
    """How many of anyio's worker threads still run something; idle ones were told to end. Trio's hold up no process."""
    workers = [thread for thread in threading.enumerate() if thread.name == _WORKER and not thread.daemon]
    for thread in workers:
        thread.join(_IDLE)
    return sum(thread.is_alive() for thread in workers)


def _exit(code: int) -> NoReturn:
    """Ends the process; at once also where a handler's thread still runs, for which Python would wait."""
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def _run(services: Sequence[Service], backend: str | None, command_line: Mapping[str, object]) -> Running:
    if not services:
        raise ConfigurationError("micro.run() needs at least one service")
    names = [service.name for service in services]
    configs = [
        service.configure(command_line=command_line, beside=names[:at] + names[at + 1 :])
        for at, service in enumerate(services)
    ]
    settings = configs[0].settings
    set_up_logging(settings.log)
    name, options = event_loop(backend or settings.backend)
    running = Running(services)
    anyio.run(running.main, backend=name, backend_options=options)
    if running.failed:
        raise running.failed[0]
    return running


def event_loop(name: str) -> tuple[str, dict[str, Any]]:
    """Back end and options for `anyio.run`, by the name that a person chose, or none. Raises ConfigurationError."""
    if name not in ("", *BACKENDS):
        raise ConfigurationError(f"backend={name!r} (MICRO_BACKEND) is unknown; known are {', '.join(BACKENDS)}")
    if name in ("uvloop", "trio") and find_spec(name) is None:
        raise ConfigurationError(f"backend={name!r} (MICRO_BACKEND) is not installed; install {name}")
    if name == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": name == "uvloop" or (not name and find_spec("uvloop") is not None)}


class Running:
    """The services of one `run`, and what ends them.

    Attributes:
        failed: what ended a service that was not told to stop.
        first: the number of the signal that ended them, or 0.
        forced: the number of the second signal, or 0.
    """

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._scopes: dict[Service, anyio.CancelScope] = {}
        self.failed: list[Exception] = []
        self.first = 0
        self.forced = 0

    async def main(self) -> None:
        """Returns when every service has ended."""
        self._stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            if threading.current_thread() is threading.main_thread():
                await tasks.start(self._watch_signals)
            async with anyio.create_task_group() as hosts:
                for service in self._services:
                    hosts.start_soon(self._host, service)
            tasks.cancel_scope.cancel()

    async def _host(self, service: Service) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[service] = scope
            if self._stop.is_set():
                return
            try:
                async with service:
                    await self._stop.wait()
            except Exception as error:
                self.failed.append(error)
                self._end()

    async def _watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if self._stop.is_set():
                    log.info("%s again: ending at once", signal.Signals(number).name)
                    self.forced = number
                    for scope in self._scopes.values():
                        scope.cancel()
                else:
                    log.info("%s: stopping", signal.Signals(number).name)
                    self.first = number
                    self._end()

    def _end(self) -> None:
        """Services that can be called stop gracefully; those that cannot yet do not go on."""
        self._stop.set()
        for service, scope in self._scopes.items():
            if not service.hurry():
                scope.cancel()
