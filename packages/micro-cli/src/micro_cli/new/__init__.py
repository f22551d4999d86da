"""`micro new plugin`: the repository of a plugin, whole but for its bodies.

What is written installs, loads and is clean under ruff and mypy; its conformance suite is red, and each red test says
what to write. The files are those of `downstream/micro-registry-example`, the same plugin with the bodies written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType

import click
from micro_core import ConfigurationError

__all__ = ["KINDS", "plugin", "write_plugin"]

_PAIR = ("micro-rpc", "micro-transport-memory")
KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "registry": (),
        "selector": (),
        "codec": (),
        "transport": (),
        "broker": ("micro-registry-memory",),
        "client": _PAIR,
        "server": _PAIR,
        "extension": (),
    }
)
"""Every kind of plugin, and what its tests need beside the kit."""

LONGEST = 40
"""Characters of a name; what is written stays within lines of 120."""

_HAVE_ADDRESS = ("registry", "broker")
_SYNCHRONOUS = ("selector", "codec")


def write_plugin(kind: str, name: str, folder: Path) -> list[Path]:
    """Writes the repository of a plugin into a folder, which is made where it is missing.

    Args:
        kind: a key of KINDS.
        name: what users will write, as in `MICRO_REGISTRY=name`.
        folder: must be empty, if it is there.

    Returns:
        The files that were written.

    Raises:
        ConfigurationError: an unknown kind, a name that cannot be one, or a folder that is not empty or cannot be made.
    """
    _check(kind, name, folder)
    words = _words(kind, name)
    module = f"src/{words['module']}"
    contents = {
        "pyproject.toml": _filled("pyproject.toml", words).rstrip() + "\n",
        "README.md": _filled("README.md", words),
        "LICENSE": _template("LICENSE"),
        ".github/workflows/tests.yml": _filled("tests.yml", words),
        f"{module}/__init__.py": _filled(f"{kind}.py", words),
        f"{module}/py.typed": "",
        "tests/test_conformance.py": _filled(f"{kind}_test.py", words),
    }
    try:
        return [_write(folder / path, text) for path, text in contents.items()]
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error}") from error


def _check(kind: str, name: str, folder: Path) -> None:
    if kind not in KINDS:
        raise ConfigurationError(f"there is no kind of plugin {kind!r}; known are {', '.join(KINDS)}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        allowed = f"small letters, digits and single hyphens, at most {LONGEST}"
        raise ConfigurationError(f"{name!r} cannot name a plugin; write {allowed}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already; give another folder, or empty it")


def _words(kind: str, name: str) -> dict[str, str]:
    distribution = f"micro-{kind}-{name}"
    content_type = f'\n[project.entry-points."micro.content_type"]\n"application/x-{name}" = "$module"'
    return {
        "kind": kind,
        "Kind": kind.capitalize(),
        "name": name,
        "distribution": distribution,
        "module": (module := distribution.replace("-", "_")),
        "Class": "".join(part.capitalize() for part in [*name.split("-"), kind]),
        "dependencies": '"micro-core>=0.1,<1",' + ("" if kind in _SYNCHRONOUS else '\n    "anyio>=4.11",'),
        "tests": ", ".join(f'"{needed}"' for needed in _needed_by_tests(kind)),
        "more_entry_points": content_type.replace("$module", module) if kind == "codec" else "",
        "options": _options(kind, name) if kind in _HAVE_ADDRESS else "",
        "variable": _variable(kind, name),
        "run": f"{_selected(kind, name)}.venv/bin/python greeter.py",
        "suite": _suite(kind),
    }


def _needed_by_tests(kind: str) -> list[str]:
    ours = [f"{needed}>=0.1,<1" for needed in ("micro-conformance", *KINDS[kind])]
    return ours if kind in _SYNCHRONOUS else [*ours, "uvloop>=0.21; sys_platform != 'win32'"]


def _options(kind: str, name: str) -> str:
    return (
        "| Option | Environment | Default | |\n|---|---|---|---|\n"
        f"| `address` | `{_variable(kind, name)}` | empty | say here what it is |\n\n"
    )


def _variable(kind: str, name: str) -> str:
    return f"MICRO_{kind}_{name}_address".replace("-", "_").upper()


def _selected(kind: str, name: str) -> str:
    return "" if kind in ("codec", "extension") else f"MICRO_{kind.upper()}={name} "


def _suite(kind: str) -> str:
    if kind == "extension":
        return "An extension has no suite of Go Micro's; say in `tests/` what yours does."
    kinds = "clients and servers" if kind in ("client", "server") else _PLURALS.get(kind, f"{kind}s")
    back_ends = "" if kind in _SYNCHRONOUS else ", on asyncio, uvloop and trio"
    return f"`tests/test_conformance.py` is the whole suite of Go Micro's {kinds}{back_ends}."


_PLURALS = {"registry": "registries"}


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _filled(name: str, words: Mapping[str, str]) -> str:
    return Template(_template(f"{name}.txt")).substitute(words)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), help="The folder to write; micro-KIND-NAME unless given.")
def plugin(kind: str, name: str, into: Path | None) -> None:
    """Write the repository of a plugin, whole but for its bodies.

    Its tests are red until they are written, and each says what to write.
    """
    folder = into or Path(f"micro-{kind}-{name}")
    try:
        written = write_plugin(kind, name, folder)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    for path in written:
        click.echo(path)
    module = next(path for path in written if path.name == "__init__.py")
    click.echo(f"\nNow write the bodies in {module}; {folder / 'README.md'} says how to test them.")
