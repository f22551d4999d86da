"""From the words of a caller to the Call that the client plugin makes: deadline and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from micro_core import Call, Clock, capture_clock

from micro.context import current

_serving = current.get


class Outgoing:
    """Makes calls of one service or client, inside the event loop that it was made in.

    Args:
        caller: name of the calling service, empty for none.
        default_timeout: seconds, for calls whose caller gave none.
    """

    __slots__ = ("_caller", "_clock", "_timeout")

    def __init__(self, caller: str, default_timeout: float) -> None:
        self._caller = caller
        self._timeout = default_timeout
        self._clock: Clock = capture_clock()

    def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        request_type: Any,
        reply_type: Any,
        timeout: float | None,
        metadata: Mapping[str, str] | None,
    ) -> Call:
        """A unary call with the least of the option and the deadline being served.

        The cancel scopes around end it by themselves; what the server is told of them is the client plugin's business.
        Raises TypeError for a timeout that is no number.
        """
        serving, clock = _serving(), self._clock
        try:
            deadline = clock() + (self._timeout if timeout is None else timeout)
        except TypeError:
            text = f"timeout={timeout!r} is no number of seconds; write for example timeout=2.5"
            raise TypeError(text) from None
        if serving is None:
            carried = {} if metadata is None else lower(metadata)
        else:
            if serving.deadline is not None and serving.deadline < deadline:
                deadline = serving.deadline
            carried = dict(serving.metadata) if metadata is None else {**serving.metadata, **lower(metadata)}
        return Call(service, endpoint, request, request_type, reply_type, carried, deadline, False, self._caller)

    def stream(
        self,
        service: str,
        endpoint: str,
        request_type: Any,
        reply_type: Any,
        timeout: float | None,
        opening: float | None,
        metadata: Mapping[str, str] | None,
    ) -> Call:
        """A stream: `timeout` bounds all of it, `opening` (else the default) the opening alone."""
        call = self.call(service, endpoint, None, request_type, reply_type, _least(timeout, opening), metadata)
        serving = current.get()
        call.streaming = True
        call.open_deadline = call.deadline
        inherited = None if serving is None else serving.deadline
        call.deadline = _least(None if timeout is None else self._clock() + timeout, inherited)
        return call

    def metadata_of_event(self, metadata: Mapping[str, str] | None) -> dict[str, str]:
        """What goes along: what came with the call being served, over it what the caller gives; no names of ours."""
        serving = current.get()
        carried = {} if serving is None else dict(serving.metadata)
        if metadata is not None:
            carried.update(lower(metadata))
        return {name: value for name, value in carried.items() if not reserved(name)}

    def deadline(self, timeout: float | None) -> float:
        """As a call's, and not behind that of the cancel scopes around."""
        own = self.call("", "", None, None, None, timeout, None).deadline or 0.0
        return min(own, anyio.current_effective_deadline())

    @property
    def caller(self) -> str:
        """Name of the calling service."""
        return self._caller


def reserved(name: str) -> bool:
    """Whether the lower-case name of a head belongs to the protocol, not to users (WIRE §5.1, §7)."""
    return name in ("content-type", "timeout") or name.startswith(("micro-", ":"))


def lower(metadata: Mapping[str, str]) -> dict[str, str]:
    """With the names in lower case, as they are in memory."""
    if all(map(str.islower, metadata)):
        return dict(metadata)
    return {name.lower(): value for name, value in metadata.items()}


def _least(*limits: float | None) -> float | None:
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None
