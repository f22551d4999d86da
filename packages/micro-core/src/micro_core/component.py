"""The life of a plugin: arguments in the constructor, life in `async with`."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a plugin that has none."""


class Plugin:
    """What every plugin class has: the declaration of its options.

    A plugin names its options by a frozen dataclass `Options` inside the class (see `micro_core.options`) and takes
    them as its last argument. Constructing does no I/O and needs no event loop.
    """

    Options: ClassVar[type[Any]] = NoOptions


class Component(Plugin):
    """A plugin that lives: entered once, left once.

    Entering acquires what the component needs and raises a `MicroError` that says why when it cannot. Leaving releases
    everything, also when it is cancelled; leaving twice does nothing. An exception raised inside the `async with` block
    comes out as it is, never inside an `ExceptionGroup`. The task that entered leaves; what was left is not entered
    again.

    What a component is given (a transport, a registry) is entered by whoever built it, before it, and left after it.
    A background task of its own that fails is logged and started again; the block does not see it.
    """

    backends: ClassVar[frozenset[str]] = frozenset({"asyncio", "trio"})
    """The event loops it runs on."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None
