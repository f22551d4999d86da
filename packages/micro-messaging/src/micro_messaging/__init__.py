"""What brokers share: lanes of deliveries, redelivery and dead letters, the duplicate filter, handlers and their acks.

Everything that decides is sans-IO and takes the time as an argument: `Lane`, `offer`, `Redelivery`, `DuplicateFilter`.
The rest (`handle`, `Waker`, `supervise`) is the little async around it.
"""

from micro_messaging.duplicates import DuplicateFilter
from micro_messaging.handling import ACKED, HandledEvent, Verdict, check_options, failed, handle, tell
from micro_messaging.lane import MEBIBYTE, Blocked, DeadLetter, Delivery, Lane, Letter, Limits, Tally, offer
from micro_messaging.redelivery import Redelivery
from micro_messaging.tasks import Waker, supervise
from micro_messaging.topics import DEAD_SUFFIX, check_size, check_topic, dead_letter

__all__ = [
    "ACKED",
    "DEAD_SUFFIX",
    "MEBIBYTE",
    "Blocked",
    "DeadLetter",
    "Delivery",
    "DuplicateFilter",
    "HandledEvent",
    "Lane",
    "Letter",
    "Limits",
    "Redelivery",
    "Tally",
    "Verdict",
    "Waker",
    "check_options",
    "check_size",
    "check_topic",
    "dead_letter",
    "failed",
    "handle",
    "offer",
    "supervise",
    "tell",
]
