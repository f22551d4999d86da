"""What all suites share: the limits of patience, the plugin's declaration, the life of a component."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeAlias, TypeVar
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from micro_core.component import Component
from micro_core.doctor import Finding, findings_of
from micro_core.loader import load
from micro_core.options import option_fields

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Suite")

Make: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]


def bounded(
    test: Callable[Concatenate[S, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, None]]:
    """A test that fails, instead of hanging, after the suite's `patience`."""

    @functools.wraps(test)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        with anyio.move_on_after(self.patience) as scope:
            await test(self, *args, **kwargs)
        assert not scope.cancelled_caught, f"still not done after {self.patience} s"

    return run


class Suite:
    """The base of every suite.

    Attributes:
        plugin: kind and name, for example `("registry", "memory")`: the hook is loaded and its options are checked.
        backends: the event loops on which it runs; a plugin that declares fewer declares them here too.
        patience: seconds after which a test that hangs has failed.
    """

    pytestmark = pytest.mark.anyio
    plugin: ClassVar[tuple[str, str] | None] = None
    backends: ClassVar[frozenset[str]] = frozenset({"asyncio", "trio"})
    patience: ClassVar[float] = 20.0

    @pytest.fixture(autouse=True)
    def only_on_its_back_ends(self, request: pytest.FixtureRequest) -> None:
        """Leaves out the event loops that the plugin says it does not run on."""
        if "anyio_backend" in request.fixturenames:
            backend = request.getfixturevalue("anyio_backend")
            name = backend if isinstance(backend, str) else backend[0]
            if name not in self.backends:
                pytest.skip(f"the plugin runs on {', '.join(sorted(self.backends))}")

    def test_the_hook_answers_with_a_whole_class(self) -> None:
        cls = self.load_plugin()
        if issubclass(cls, Component):
            assert cls.backends == self.backends, "the suite declares other back ends than the class"

    def test_every_option_is_declared_with_a_help_text_and_a_valid_default(self) -> None:
        for field in option_fields(self.load_plugin().Options).values():
            assert field.help, f"option {field.name} has no help text"
            if not field.required:
                assert field.read(field.default) == field.default, f"the default of {field.name} is not valid"

    def test_what_micro_doctor_is_told_is_findings_in_time(self) -> None:
        """Whatever it finds: as sentences of one line, without an exception, a thread left running or a long wait."""
        cls = self.load_plugin()
        before = set(threading.enumerate())
        for options in self.options_for_doctor(cls):
            for finding in _in_time(functools.partial(self.ask_doctor, options), self.patience):
                assert finding.text, "a finding says what was found"
                for text in (finding.text, finding.cure):
                    assert not text or text.isprintable(), f"a finding is of sentences in one line: {text!r}"
        left = [thread.name for thread in threading.enumerate() if thread not in before]
        assert not left, f"micro_doctor leaves threads behind: {left}"

    def options_for_doctor(self, cls: type[Any]) -> Sequence[Any]:
        """The Options for which `micro_doctor` is asked: the defaults, where there are no required ones."""
        if self.plugin is None or any(field.required for field in option_fields(cls.Options).values()):
            return ()
        return (cls.Options(),)

    def ask_doctor(self, options: Any) -> Sequence[Finding]:
        """What `micro doctor` is told. Raises BrokenPlugin when the hook fails or answers something else."""
        if self.plugin is None:
            pytest.skip("the suite declares no `plugin`, so no hook is loaded")
        plugin = load(*self.plugin).plugin
        return findings_of(plugin, options) if plugin is not None else ()

    def load_plugin(self) -> type[Any]:
        """The plugin's class, as a user gets it by name."""
        if self.plugin is None:
            pytest.skip("the suite declares no `plugin`, so no hook is loaded")
        kind, name = self.plugin
        cls: type[Any] = load(kind, name).cls
        return cls


def _in_time(ask: Callable[[], T], patience: float) -> T:
    answers: list[T] = []
    failed: list[BaseException] = []

    def asking() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # for the test's own thread
            failed.append(error)

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(patience)
    assert not thread.is_alive(), f"still not done after {patience} s"
    if failed:
        raise failed[0]
    return answers[0]


class ComponentSuite(Suite):
    """The sentences of `micro_core.Component`."""

    @pytest.fixture
    def make_component(self) -> Make:
        """A factory of components; each suite gives its own."""
        raise pytest.UsageError(f"{type(self).__name__} has no factory")

    def test_constructing_needs_no_event_loop(self, make_component: Make) -> None:
        make_component()

    @bounded
    async def test_leaving_twice_does_nothing(self, make_component: Make) -> None:
        async with make_component() as component:
            pass
        await component.__aexit__(None, None, None)

    @bounded
    async def test_leaving_releases_everything_also_when_cancelled(self, make_component: Make) -> None:
        with anyio.CancelScope() as scope:
            async with make_component() as component:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        await component.__aexit__(None, None, None)
        async with make_component():
            pass

    @bounded
    async def test_an_exception_inside_the_block_comes_out_as_it_is(self, make_component: Make) -> None:
        error = LookupError("the user's own")
        with pytest.raises(LookupError) as caught:
            async with make_component():
                raise error
        assert caught.value is error


def under_plain_asyncio(scenario: Callable[[], Awaitable[None]], patience: float) -> None:
    """Runs it by `asyncio.run`, as applications do: what leans on anyio's own runner fails here alone."""

    async def main() -> None:
        async with asyncio.timeout(patience):
            await scenario()

    asyncio.run(main())


class _Keeping(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """What is logged below `micro` as a warning or worse."""
    records: list[logging.LogRecord] = []
    handler = _Keeping(records)
    logger = logging.getLogger("micro")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def unique(name: str) -> str:
    """A name that no other test and no other run has used."""
    return f"{name}-{uuid4().hex[:8]}"
