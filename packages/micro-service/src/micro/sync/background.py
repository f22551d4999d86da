"""The thread behind a blocking client: an event loop, in it the client, in that a portal for the calls of all threads.

    caller's thread     future = portal.start_task_soon(…)   future.result()      Ctrl-C here cancels the task there
    background          run ─ async with client ─ async with portal ─ tasks

A fork copies the memory, but no thread: the child finds a loop that nobody runs, over sockets that are its parent's. So
the child forgets all that without touching it, and starts a thread of its own when it is first used.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import Context
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.from_thread
from anyio.from_thread import BlockingPortal
from micro_core import Call, capture_clock

from micro.client import Client
from micro.context import current

log = logging.getLogger("micro.service")

T = TypeVar("T")

_CLOSED = "this blocking client has been closed"
_JOIN = 10.0
"""Seconds that closing may take before the thread is left to the end of the process."""


class Opened(NamedTuple):
    """What runs in the background."""

    portal: BlockingPortal
    client: Client
    thread: threading.Thread


class Background:
    """Starts the thread when it is first needed, and ends it. Thread-safe.

    Args:
        make: makes the client, in the thread.
        backend: name and options of the event loop, asked for when the thread starts.
    """

    def __init__(self, make: Callable[[], Client], backend: Callable[[], tuple[str, dict[str, Any]]]) -> None:
        self._make = make
        self._backend = backend
        self._lock = threading.Lock()
        self._opened: Opened | None = None
        self._closed = False
        self._inherited: list[object] = []
        method = weakref.WeakMethod(self._forked)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _call(method))

    def _forked(self) -> None:
        """In the child: nothing of the parent's is used, closed or collected."""
        self._lock = threading.Lock()
        if self._opened is not None:
            self.keep(self._opened)
            self._opened = None

    def keep(self, inherited: object) -> None:
        """Keeps what a fork left behind from being collected, which might speak on the parent's connections."""
        self._inherited.append(inherited)

    @property
    def opened(self) -> Opened | None:
        """What runs now in this process."""
        return self._opened

    def open(self) -> Opened:
        """What runs, started unless it does. Raises RuntimeError after `close`, and what entering the client raises."""
        return self._opened or self._start()

    def _start(self) -> Opened:
        with self._lock:
            if self._closed:
                raise RuntimeError(_CLOSED)
            if self._opened is None:
                self._opened = self._run()
                atexit.register(self.close)
            return self._opened

    def _run(self) -> Opened:
        backend, options = self._backend()
        ready: Future[tuple[BlockingPortal, Client]] = Future()
        run = Context().run  # the thread serves no call, whoever starts it
        thread = threading.Thread(
            target=run, args=(_serve, self._make, backend, options, ready), name="micro-client", daemon=True
        )
        try:
            thread.start()
            return Opened(*ready.result(), thread)
        except BaseException:
            ready.add_done_callback(_stop_late)
            raise

    def close(self) -> None:
        """Cancels what runs, closes the client and ends the thread. Idempotent; from then on there is no other."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        atexit.unregister(self.close)
        if opened is not None:
            _stop(opened.portal)
            if threading.current_thread() is not opened.thread:
                opened.thread.join(_JOIN)

    def abandon(self) -> None:
        """As `close`, without waiting, for a finaliser."""
        opened, self._opened = self._opened, None
        atexit.unregister(self.close)
        if opened is not None:
            threading.Thread(target=_stop, args=(opened.portal,), daemon=True).start()

    def wait(self, opened: Opened | None, function: Callable[[Client], Awaitable[T]]) -> T:
        """What the function returns, run in the background.

        Args:
            opened: what it must run in, for what belongs to it; None for whatever runs.
            function: given the client.

        Raises:
            RuntimeError: the client is closed, or was meanwhile; or `opened` is another process's.
            BaseException: of the function; of this thread, such as KeyboardInterrupt, after which the function is
                cancelled.
        """
        if opened is not None and opened is not self._opened:
            raise RuntimeError(_CLOSED if self._closed else "a stream does not survive a fork; open it in this process")
        portal, client, _ = self.open()
        serving = _serving()
        task = _Task(serving)
        try:
            return portal.start_task_soon(task.run, function, client).result()
        except CancelledError:
            raise RuntimeError(_CLOSED) from None
        except BaseException:
            task.cancel(portal)
            raise


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    alive = method()
    if alive is not None:
        alive()


def _serve(
    make: Callable[[], Client], backend: str, options: dict[str, Any], ready: Future[tuple[BlockingPortal, Client]]
) -> None:
    async def main() -> None:
        async with make() as client, BlockingPortal() as portal:
            ready.set_result((portal, client))
            await portal.sleep_until_stopped()

    try:
        anyio.run(main, backend=backend, backend_options=options)
    except BaseException as error:
        if ready.done():
            log.exception("the blocking client's event loop failed")
        else:
            ready.set_exception(error)


def _stop(portal: BlockingPortal) -> None:
    with suppress(RuntimeError):  # it has stopped
        portal.start_task_soon(portal.stop, True)


def _stop_late(ready: Future[tuple[BlockingPortal, Client]]) -> None:
    """Whoever waited for it was interrupted. Called in either thread, so that a third one does it."""
    if ready.exception() is None:
        portal = ready.result()[0]
        threading.Thread(target=_stop, args=(portal,), daemon=True).start()


class _Serving(NamedTuple):
    """The call that the calling thread serves, and the seconds that its caller still waits."""

    call: Call
    remaining: float | None


def _serving() -> _Serving | None:
    call = current.get()
    if call is None:
        return None
    try:
        capture_clock()
    except RuntimeError:
        return _Serving(call, _remaining(call))
    raise RuntimeError(
        "micro.sync.Client would block the event loop that serves this call; await service.client instead"
    )


def _remaining(call: Call) -> float | None:
    """Deadlines are of the clock of the loop that serves; another loop's may differ."""
    if call.deadline is None:
        return None
    try:
        return call.deadline - anyio.from_thread.run_sync(anyio.current_time)
    except RuntimeError:  # a thread that is not of that loop
        return None


class _Task:
    """A function on its way through the background.

    The portal's future does not do for cancelling it: an interrupt may come before the portal has returned one.
    """

    def __init__(self, serving: _Serving | None) -> None:
        self._serving = serving
        self._scope: anyio.CancelScope | None = None
        self._cancelled = self._done = False

    async def run(self, function: Callable[[Client], Awaitable[T]], client: Client) -> T:
        """In the background; cancelled where its caller is gone already."""
        _enter(self._serving)
        try:
            with anyio.CancelScope() as self._scope:
                if self._cancelled:
                    self._scope.cancel()
                return await function(client)
        finally:
            self._done = True
        raise CancelledError

    def cancel(self, portal: BlockingPortal) -> None:
        """In the caller's thread."""
        self._cancelled = True
        scope = self._scope
        if scope is not None and not self._done:
            with suppress(RuntimeError):  # the portal has stopped
                portal.start_task_soon(scope.cancel)


def _enter(serving: _Serving | None) -> None:
    if serving is not None:
        call, remaining = serving
        deadline = None if remaining is None else anyio.current_time() + remaining
        current.set(Call(call.service, call.endpoint, metadata=call.metadata, deadline=deadline, caller=call.caller))
