"""Options of plugins: one declaration that feeds the environment, the config file, the command line and the reference.

    @dataclass(frozen=True, slots=True)
    class Options:
        address: str = option("127.0.0.1:8500", help="host and port of the agent")
        token: Secret | None = option(None, help="ACL token")
        timeout: float = option(5.0, help="seconds to wait for an answer", minimum=0.0)

Fields are str, int, float (always seconds, written `5`, `0.5`, `200ms`, `5s` or `1m30s`), bool, Path, Secret, an Enum,
tuples of these (written with commas), or any of them `| None`. Bounds are checked wherever the value came from.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from micro_core.errors import OptionError
from micro_core.suggest import did_you_mean


class Secret:
    """A text that is never printed. One that stands in a file is read again when the file changes."""

    __slots__ = ("_path", "_stamp", "_text")

    def __init__(self, text: str = "", *, path: Path | None = None) -> None:
        self._text = text
        self._path = path
        self._stamp: tuple[int, int] | None = None

    def reveal(self) -> str:
        """The text itself. Raises OptionError when its file cannot be read."""
        if self._path is not None:
            self._reread(self._path)
        return self._text

    def forget(self) -> None:
        """Reads the file again at the next `reveal`, also when it looks unchanged: for use after a 401 or 403."""
        self._stamp = None

    def _reread(self, path: Path) -> None:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._text = path.read_text(encoding="utf-8").strip()
                self._stamp = stamp
        except OSError as error:
            raise OptionError(f"the secret in {path} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise OptionError(f"the secret in {path} cannot be read: {error}") from error

    def __repr__(self) -> str:
        return "Secret(…)"

    def __bool__(self) -> bool:
        return self._path is not None or bool(self._text)


def option(
    default: Any = MISSING,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    environment: str = "",
) -> Any:
    """A field of an Options dataclass, with the sentence that people read about it, and bounds for numbers.

    `environment` names a variable of somebody else's (`CONSUL_HTTP_ADDR`) that gives the default where it is set:
    everything that was written for the option itself counts before it. A secret is also read from the file that
    `<variable>_FILE` names.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "environment": environment}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class OptionField:
    """One declared option: `type` is the bare type, `optional` allows None, `many` makes it a tuple.

    `environment` is the variable of somebody else's that gives its default, or empty.
    """

    name: str
    type: type[Any]
    many: bool
    optional: bool
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    environment: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def secret(self) -> bool:
        """Whether its value must not be printed."""
        return self.type is Secret

    def read(self, value: object) -> Any:
        """The value for this field from a text (environment, command line), a TOML value or a Python object.

        Raises OptionError that says what was expected, without the option's name: the caller knows what it is called
        where it was written.
        """
        if value is None and self.optional:
            return None
        if not self.many:
            return self._bounded(_read_one(self.type, value))
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise OptionError(f"expected a list, not {_shown(self, value)}")
        return tuple(self._bounded(_read_one(self.type, part)) for part in parts)

    def _bounded(self, value: Any) -> Any:
        if value != value:
            raise OptionError("expected a number, not nan")
        if self.minimum is not None and value < self.minimum:
            raise OptionError(f"{value} is below the least allowed, {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise OptionError(f"{value} is above the most allowed, {self.maximum}")
        return value


_TYPES = (str, int, float, bool, Path, Secret)


def option_fields(options: type[Any]) -> Mapping[str, OptionField]:
    """The declared options by name.

    Raises OptionError for a class that is no frozen dataclass, a field of a type that no option may have, or a default
    out of its own bounds.
    """
    parameters = getattr(options, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen or not hasattr(options, "__mro__"):
        raise OptionError(f"{options!r} is not a frozen dataclass")
    try:
        hints = get_type_hints(options)
    except NameError as error:
        raise OptionError(f"{options.__qualname__}: {error}; its annotations must be importable at run time") from None
    return {field.name: _declared(options, field, hints[field.name]) for field in dataclasses.fields(options)}


def _declared(options: type[Any], field: dataclasses.Field[Any], hint: Any) -> OptionField:
    bare, optional = _without_none(hint)
    many = get_origin(bare) is tuple and get_args(bare)[1:] == (...,)
    if many:
        bare = get_args(bare)[0]
    title = f"{options.__module__}.{options.__qualname__}.{field.name}"
    if not (bare in _TYPES or (isinstance(bare, type) and issubclass(bare, Enum))):
        raise OptionError(f"{title}: no option can be a {hint!r}")
    default = field.default if field.default_factory is MISSING else field.default_factory()
    meta = field.metadata
    declared = OptionField(
        field.name, bare, many, optional, default, meta.get("help", ""), meta.get("minimum"), meta.get("maximum"),
        meta.get("environment", ""),
    )  # fmt: skip
    if (declared.minimum, declared.maximum) != (None, None) and bare not in (int, float):
        raise OptionError(f"{title}: bounds are for numbers")
    if not declared.required:
        _checked_default(declared, title)
    return declared


def _checked_default(field: OptionField, title: str) -> None:
    try:
        field.read(field.default)
    except OptionError as error:
        raise OptionError(f"{title}: its default: {error}") from None


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    rest = [part for part in get_args(hint) if part is not type(None)]
    return (rest[0] if len(rest) == 1 else hint), len(rest) != len(get_args(hint))


def make_options(options: type[Any], values: Mapping[str, object]) -> Any:
    """An Options object from names and values, each read by its field.

    Raises OptionError that names the option, and for an unknown one those that are known.
    """
    known = option_fields(options)
    for name in values:
        if name not in known:
            raise OptionError(unknown_option(name, known))
    missing = [field.name for field in known.values() if field.required and field.name not in values]
    if missing:
        raise OptionError(f"option {missing[0]!r} has no default and was not given")
    try:
        return options(**{name: _named(known[name], value) for name, value in values.items()})
    except ValueError as error:  # from the class's own __post_init__
        raise OptionError(str(error)) from error


def _named(field: OptionField, value: object) -> Any:
    try:
        return field.read(value)
    except OptionError as error:
        raise OptionError(f"option {field.name!r}: {error}") from None


def unknown_option(name: str, known: Mapping[str, OptionField]) -> str:
    """The sentence about an option that is not there."""
    return f"unknown option {name!r}; {did_you_mean(name, known)}"


def _read_one(type_: type[Any], value: object) -> Any:
    if isinstance(value, type_) and not (type_ is int and isinstance(value, bool)):
        return value
    reader = _READERS.get(type_, _read_enum if issubclass(type_, Enum) else None)
    if reader is None:
        raise OptionError(f"expected {_NAMES.get(type_, type_.__name__)}, not {value!r}")
    return reader(type_, value)


def _read_int(_: type[Any], value: object) -> int:
    try:
        if isinstance(value, str):
            return int(value)
    except ValueError:
        pass
    raise OptionError(f"expected a whole number, not {value!r}")


def _read_seconds(_: type[Any], value: object) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return parse_duration(value)
    raise OptionError(f"expected a duration, not {value!r}")


_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _read_bool(_: type[Any], value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise OptionError(f"expected true or false, not {value!r}")


def _read_path(_: type[Any], value: object) -> Path:
    if isinstance(value, str) and value:
        return Path(value).expanduser()
    raise OptionError(f"expected a path, not {value!r}")


def _read_text(type_: type[Any], value: object) -> Any:
    if isinstance(value, str):
        return type_(value)
    raise OptionError("expected a text" if type_ is Secret else f"expected a text, not {value!r}")


def _read_enum(type_: type[Any], value: object) -> Any:
    for member in type_:
        if value in (member.value, str(member.value)):
            return member
    allowed = ", ".join(str(member.value) for member in type_)
    raise OptionError(f"expected one of {allowed}, not {value!r}")


_READERS: dict[type[Any], Any] = {
    str: _read_text,
    Path: _read_path,
    Secret: _read_text,
    int: _read_int,
    float: _read_seconds,
    bool: _read_bool,
}
_NAMES = {str: "a text", int: "a whole number", float: "a duration", bool: "true or false"}


def _shown(field: OptionField, value: object) -> str:
    return "what was given" if field.secret else repr(value)


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (3600.0, 60.0, 1.0, 0.001)


def parse_duration(text: str) -> float:
    """Seconds from `5`, `0.5`, `200ms`, `5s`, `1m30s` or `2h`. Raises OptionError."""
    bare = text.strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", bare):
        return float(bare)
    match = _DURATION.fullmatch(bare)
    if not bare or match is None:
        raise OptionError(f"expected a duration such as 5, 0.5, 200ms, 5s or 1m30s, not {text!r}")
    return sum(float(amount) * unit for amount, unit in zip(match.groups(), _UNITS, strict=True) if amount)
