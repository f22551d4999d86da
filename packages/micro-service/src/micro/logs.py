"""Logging for programs that set up none."""

from __future__ import annotations

import logging
import sys

from micro_core import ConfigurationError

LEVELS = ("debug", "info", "warning", "error", "critical")


def set_up_logging(level: str) -> None:
    """Standard error for the root logger, unless it has a handler, and the level for everything under `micro`.

    Raises ConfigurationError for a level that is none.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"log={level!r} (MICRO_LOG) is no level; known are {', '.join(LEVELS)}")
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    logging.getLogger("micro").setLevel(level.upper())
