"""From `module:service` to the service."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from micro import Service

from micro_cli.ending import Misused


def services_of(targets: Iterable[str]) -> list[Service]:
    """The services that were named. Raises Misused, in one line, for what cannot be had."""
    sys.path.insert(0, str(Path.cwd()))
    return [_service_of(target) for target in targets]


def _service_of(target: str) -> Service:
    name, _, attribute = target.partition(":")
    name = _module_name(name)
    before = frozenset(sys.modules)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}.") and error.name not in before:
            raise Misused(f"there is no module {error.name!r}, neither in {Path.cwd()} nor installed") from None
        raise Misused(f"{name} needs the module {error.name!r}, which is not installed ({_place(error)})") from None
    except (Exception, SystemExit) as error:
        if os.environ.get("MICRO_LOG", "").lower() == "debug":
            traceback.print_exc()
        what = f"{type(error).__name__}: {_text(error)}"
        raise Misused(f"{name} fails while being imported: {what} ({_place(error)})") from None
    found = {key: value for key, value in vars(module).items() if isinstance(value, Service)}
    if attribute:
        return _named(name, attribute, found)
    if len(set(found.values())) != 1:
        which = f"one of {', '.join(found)}" if found else "a micro.Service at the top of the module"
        raise Misused(f"{name} holds {len(found) or 'no'} services; name one: micro run {name}:... ({which})")
    return next(iter(found.values()))


def _named(name: str, attribute: str, found: dict[str, Service]) -> Service:
    from micro_core.suggest import did_you_mean

    if attribute in found:
        return found[attribute]
    if hasattr(sys.modules[name], attribute):
        kind = type(getattr(sys.modules[name], attribute)).__name__
        raise Misused(f"{name}:{attribute} is no micro.Service but a {kind}")
    raise Misused(f"{name} has no service {attribute!r}; {did_you_mean(attribute, found)}")


def _module_name(written: str) -> str:
    """`greeter`; a path such as `app/greeter.py`, as a shell completes it, means the module."""
    if written.endswith(".py"):
        written = written.removesuffix(".py").removeprefix("./").replace("/", ".").replace("\\", ".")
    if not written or not all(part.isidentifier() for part in written.split(".")):
        raise Misused(f"{written!r} is no name of a module; write for example greeter:service")
    return written


def _text(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _place(error: BaseException) -> str:
    """Where in the user's own files it happened."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else "no line known"
