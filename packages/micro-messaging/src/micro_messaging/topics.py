"""Topics and event sizes, checked where they enter; and the message that a dead letter becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import category

from micro_core import Message

if TYPE_CHECKING:
    from micro_messaging.lane import DeadLetter

DEAD_SUFFIX = ".dead"
"""Dead letters of topic `t` are published on `t.dead`."""

_LONGEST = 1024


def check_topic(topic: str) -> None:
    """Raises ValueError for a topic that is empty, longer than 1,024 characters, or holds control characters."""
    if not topic:
        raise ValueError("a topic cannot be empty")
    if len(topic) > _LONGEST:
        raise ValueError(f"a topic has at most {_LONGEST} characters, not {len(topic)}")
    if any(category(char) in ("Cc", "Cs") for char in topic):
        raise ValueError(f"a topic cannot hold control characters: {topic!r}")


def check_size(topic: str, body: bytes, limit: int) -> None:
    """Raises ValueError for an event of more than `limit` bytes."""
    if len(body) > limit:
        raise ValueError(f"an event of {len(body)} bytes on {topic!r} is over the limit of {limit} bytes")


def dead_letter(dead: DeadLetter) -> tuple[str, Message] | None:
    """Where a dead letter is published and as what; None for what died on a dead-letter topic itself.

    The message is the original with `micro-dead-topic`, `micro-dead-subscriber`, `micro-dead-attempts` and
    `micro-dead-reason` in its head.
    """
    letter = dead.letter
    if letter.topic.endswith(DEAD_SUFFIX):
        return None
    head = {
        **letter.message.head,
        "micro-dead-topic": letter.topic,
        "micro-dead-subscriber": dead.subscriber,
        "micro-dead-attempts": str(dead.attempts),
        "micro-dead-reason": "".join(char if char.isprintable() else " " for char in dead.reason[:_LONGEST]),
    }
    head.pop("micro-topic", None)
    return letter.topic + DEAD_SUFFIX, Message(head, letter.message.body)
