"""Running a handler for one event, and what it decided."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from micro_core import Capability, ConfigurationError, DecodeError, Event, EventHandler, Message, SubscribeOptions


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one attempt: acknowledged, or why not and in how many seconds to try again (None: backoff)."""

    acked: bool
    reason: str = ""
    delay: float | None = None


ACKED = Verdict(True)
_LONGEST_REASON = 500
_UNDECIDED = Verdict(False, "the handler ended with neither ack nor nack")


def failed(error: BaseException) -> Verdict:
    """The verdict of a handler that raised."""
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    return Verdict(False, f"{type(error).__name__}: {text}" if text else type(error).__name__)


class HandledEvent(Event):
    """An event whose first decision counts."""

    __slots__ = ("attempt", "message", "topic", "verdict")

    def __init__(self, topic: str, message: Message, attempt: int) -> None:
        self.topic = topic
        self.message = message
        self.attempt = attempt
        self.verdict: Verdict | None = None

    async def ack(self) -> None:  # noqa: D102
        self.decide(ACKED)

    async def nack(self, delay: float = 0.0) -> None:  # noqa: D102
        self.decide(Verdict(False, "the handler refused it by nack", max(0.0, delay)))

    def decide(self, verdict: Verdict) -> Verdict:
        """Settles the event, unless it is; returns what counts."""
        if self.verdict is None:
            self.verdict = verdict
        return self.verdict

    def __repr__(self) -> str:
        return f"<Event on {self.topic!r}, attempt {self.attempt}>"


async def handle(handler: EventHandler, event: HandledEvent, *, manual_ack: bool) -> tuple[Verdict, Exception | None]:
    """Runs the handler; returns its decision and, for the log, what it raised.

    A handler that raised has not acknowledged, unless it had before; one that acknowledges itself and ended with
    neither `ack` nor `nack` has not either.
    """
    error: Exception | None = None
    try:
        await handler(event)
    except Exception as raised:
        error = raised
        event.decide(failed(raised))
    return event.decide(_UNDECIDED if manual_ack else ACKED), error


def tell(log: logging.Logger, event: Event, who: str, error: Exception) -> None:
    """Logs that a handler raised; in one line for an event that cannot be decoded, for its text says it all."""
    trace = None if isinstance(error, DecodeError) else error
    log.warning("attempt %d of %s on %r failed: %s", event.attempt, who, event.topic, error, exc_info=trace)


def check_options(broker: str, capabilities: AbstractSet[Capability], options: SubscribeOptions) -> None:
    """Raises ConfigurationError for a capability that the broker lacks, ValueError for a concurrency below 1."""
    missing = sorted(capability.value for capability in options.requires - capabilities)
    if missing:
        has = ", ".join(sorted(capability.value for capability in capabilities)) or "nothing of the kind"
        raise ConfigurationError(f"broker {broker!r} does not promise {', '.join(missing)}; it promises {has}")
    if options.concurrency < 1:
        raise ValueError(f"concurrency is at least 1, not {options.concurrency}")
    if options.queue is not None and (not options.queue or not options.queue.isprintable()):
        raise ValueError(f"not a name for a queue: {options.queue!r}")
