"""Configuration: command line > environment > file > names in code > defaults; an object passed in code is final."""

from micro.config.resolve import DEFAULTS, Choice, Chosen, Config, Resolved
from micro.config.settings import Settings
from micro.config.sources import Entry, Origin

__all__ = ["DEFAULTS", "Choice", "Chosen", "Config", "Entry", "Origin", "Resolved", "Settings"]
