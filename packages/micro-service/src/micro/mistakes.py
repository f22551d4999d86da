"""What is wrong at a line of somebody's module, kept until a start can say it.

A service is written while its module is imported, where an error ends the process with a traceback. So it is kept with
its line, and the start raises it as any other mistake of the configuration: one line, exit code 2 from `run`.
"""

from __future__ import annotations

from pathlib import Path
from traceback import walk_stack
from types import TracebackType

from micro_core import ConfigurationError

_BETWEEN = frozenset({__name__.partition(".")[0], "contextlib"})


class Mistakes:
    """`with mistakes:` keeps a ConfigurationError and goes on behind the block; the first one counts."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: ConfigurationError | None = None

    def __enter__(self) -> None:
        """Nothing is known yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, ConfigurationError):
            return False
        if self._first is None:
            self._first = ConfigurationError(f"{_line()}: {error}")
        return True

    def tell(self) -> None:
        """Raises what was kept."""
        if self._first is not None:
            raise self._first

    def forget(self) -> None:
        """What a run got wrong ends with it."""
        self._first = None


def _line() -> str:
    """File and number of the innermost line of somebody else's; the file as seen from the working directory."""
    frame, number = next(each for each in walk_stack(None) if not _is_between(each[0].f_globals.get("__name__", "")))
    file, here = Path(frame.f_code.co_filename), Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{number}"


def _is_between(module: str) -> bool:
    return module.partition(".")[0] in _BETWEEN
