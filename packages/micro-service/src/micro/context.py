"""What a handler can know of the call that it serves, carried by a context variable."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from micro_core import Call, Peer, capture_clock

current: ContextVar[Call | None] = ContextVar("micro_call", default=None)
"""The call being served in this task; set once at its beginning, never reset, since every call has its own context."""


class Context:
    """The call being served.

    Attributes:
        service, endpoint: what was called; for a subscriber the service and the subscriber's own name.
        deadline: seconds of the event loop's clock at which the caller stops waiting, or None.
        metadata: what came with the call, lower-case names; it goes on with every call and event from here.
        peer: who calls, or None in a subscriber.
        caller: name of the calling service, empty for none.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def service(self) -> str:  # noqa: D102
        return self._call.service

    @property
    def endpoint(self) -> str:  # noqa: D102
        return self._call.endpoint

    @property
    def deadline(self) -> float | None:  # noqa: D102
        return self._call.deadline

    @property
    def remaining(self) -> float | None:
        """Seconds to the deadline, never below zero; None without one. Only where the event loop runs."""
        deadline = self._call.deadline
        return None if deadline is None else max(0.0, deadline - capture_clock()())

    @property
    def metadata(self) -> Mapping[str, str]:  # noqa: D102
        return MappingProxyType(self._call.metadata)

    @property
    def peer(self) -> Peer | None:  # noqa: D102
        return self._call.peer

    @property
    def caller(self) -> str:  # noqa: D102
        return self._call.caller

    def __repr__(self) -> str:
        return f"<Context {self.service} {self.endpoint}>"


def context() -> Context:
    """The call that is being served here. Raises LookupError outside of a handler or subscriber."""
    call = current.get()
    if call is None:
        raise LookupError("micro.context() is known inside a handler or subscriber only")
    return Context(call)
