"""The options that every command has which looks at the configuration, and types of arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def configured(function: F) -> F:
    """Adds `--registry`, `-o` and `--config`; the command is given `overrides`, dotted keys that win."""

    @functools.wraps(function)
    def wrapped(
        *args: Any, registry: str | None, option: tuple[tuple[str, str], ...], config: str | None, **rest: Any
    ) -> Any:
        overrides: dict[str, object] = dict(option)
        if registry is not None:
            overrides["registry"] = registry
        if config is not None:
            overrides["config"] = config
        return function(*args, overrides=overrides, **rest)

    for added in (
        click.option("--config", metavar="FILE", help="Read this instead of ./micro.toml."),
        click.option(
            "-o",
            "option",
            type=PAIR,
            multiple=True,
            metavar="KEY=VALUE",
            help="Set an option: registry.consul.token_file=...",
        ),
        click.option("--registry", metavar="NAME", help="Look in this registry."),
    ):
        wrapped = added(wrapped)
    return wrapped  # type: ignore[return-value]


def as_json(function: F) -> F:
    """Adds `--json`."""
    return click.option("--json", "programs", is_flag=True, help="One JSON value a line, for programs.")(function)


def timed(default: str) -> Callable[[F], F]:
    """Adds `--timeout`, in seconds."""
    return click.option(
        "--timeout", type=DURATION, default=default, show_default=True, metavar="TIME", help="As 5, 200ms or 1m30s."
    )


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic in later releases alone
    """`key=value`."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Splits it at the first `=`."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


class Duration(click.ParamType):  # type: ignore[type-arg]  # as above
    """Seconds, or as `200ms`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        from micro_core import OptionError
        from micro_core.options import parse_duration

        try:
            return parse_duration(str(value))
        except OptionError as error:
            self.fail(str(error), param, ctx)


PAIR = Pair()
DURATION = Duration()
