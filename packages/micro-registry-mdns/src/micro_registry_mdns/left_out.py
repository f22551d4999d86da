"""Records that were heard and are none: remembered, so that each is dealt with once, and the first of them logged."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from micro_registry_mdns.protocol import MAX_BAD
from micro_registry_mdns.record_text import BadRecord

log = logging.getLogger("micro.registry.mdns")

TOLD = 10
"""Of so many the log tells: whoever sends more of them wants it to be long."""


class LeftOut:
    """Keys of such records, at most MAX_BAD."""

    def __init__(self) -> None:
        self._known: set[Hashable] = set()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._known

    def add(self, key: Hashable, what: str, source: str, error: BadRecord) -> None:
        """Remembers one, and logs what it was, from whom, and what is wrong with it."""
        if key in self._known or len(self._known) >= MAX_BAD:
            return
        self._known.add(key)
        if len(self._known) <= TOLD:
            more = "; more of them are not logged" if len(self._known) == TOLD else ""
            log.warning("%s from %s is left out: %s%s", what, source, error, more)
