"""The blocks of code of a page, and what it takes to read each language.

python      compiles, `await` at the top allowed
console     bash finds no mistake in the lines after `$ `
toml, json, ini, yaml
            parsed, and where it is known what they are for, held against that
docker      each instruction is one of Docker's, with arguments that it takes
go          gofmt, where there is a Go, has nothing to change
protobuf    protoc takes it
text        is no code: what a program printed, a tree
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from micro_core import loader

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?"
    r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?:^:caption: (?P<file>[^\n]+)\n)?(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_CODE = re.compile(r"(?:\{code-block\} )?(?P<language>[\w-]*)")
"""What follows a fence where it holds code; any other directive is Sphinx's to read."""


@dataclass(frozen=True)
class Block:
    """One block of a page; `file` is the name to write it to, or empty."""

    line: int
    language: str
    mark: str
    file: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of code of a page, in order."""
    for match in _FENCE.finditer(page):
        code = _CODE.fullmatch(match["info"])
        if code is not None:
            line = page.count("\n", 0, match.start("text")) + 1
            yield Block(line, code["language"], match["mark"] or "", match["file"] or "", match["text"].lstrip("\n"))


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output that is shown for it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more
        yield command, expected


def check(block: Block) -> None:
    """Reads a block by its language. Raises for what cannot be read, or for a language that nobody reads."""
    read = READERS.get(block.language)
    if read is None:
        raise AssertionError(f"line {block.line}: nobody reads a block of {block.language or 'nothing'!r}")
    try:
        read(block.text)
    except (SyntaxError, ValueError, configparser.Error, yaml.YAMLError, subprocess.CalledProcessError) as error:
        raise AssertionError(f"line {block.line}: {error}") from error


def compiled(text: str) -> Any:
    """The code object of a block of Python. Raises SyntaxError."""
    return compile(text, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def console(text: str) -> None:
    """Raises for what bash does not understand."""
    script = "\n".join(command for command, _ in commands(text))
    assert script, "a console block without `$ `"
    subprocess.run(["bash", "-n", "-c", script], check=True)


def toml(text: str) -> dict[str, Any]:
    """A file in TOML; entry points are in groups that somebody reads."""
    read = tomllib.loads(text)
    known = {f"micro.{group}" for group in (*loader.KINDS, "content_type", "extension", "command")}
    unknown = set(read.get("project", {}).get("entry-points", {})) - known
    assert not unknown, f"nobody reads the entry points {unknown}"
    return read


def ini(text: str) -> configparser.ConfigParser:
    """A file of sections, as those of systemd are; keys keep their case."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's documentation has it
    parser.read_string(text)
    assert parser.sections(), "no section"
    return parser


_POD = {"env", "livenessProbe", "readinessProbe"}
_COMPOSE = {"image", "build", "command", "environment", "ports", "deploy", "secrets", "stop_grace_period"}


def documents(text: str) -> list[dict[str, Any]]:
    """Documents in YAML, each an object of Kubernetes, a piece of a container's there, or a file of Compose."""
    read = list(yaml.safe_load_all(text))
    for document in read:
        assert isinstance(document, dict), "not a mapping"
        if "apiVersion" in document:
            assert document["kind"]
            assert document["metadata"]["name"]
            assert document["spec"]
        elif "services" in document:
            assert document.keys() <= {"services", "secrets"}
            for service in document["services"].values():
                assert service.keys() <= _COMPOSE
                assert "image" in service or "build" in service
        else:
            assert document.keys() <= _POD, f"what is {', '.join(document)}?"
    return read


INSTRUCTIONS = {"FROM", "ARG", "RUN", "COPY", "ADD", "ENV", "EXPOSE", "LABEL", "USER", "VOLUME", "WORKDIR"}
INSTRUCTIONS |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}


def dockerfile(text: str) -> list[tuple[str, list[str]]]:
    """The instructions of a Dockerfile with their arguments, those in brackets as the list that they are."""
    read = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        assert name in INSTRUCTIONS, f"{name} is no instruction"
        arguments = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
        assert arguments, f"{name} of nothing"
        assert all(isinstance(argument, str) for argument in arguments)
        assert name != "ENV" or all("=" in argument for argument in arguments)
        assert name != "COPY" or len(arguments) > 1
        read.append((name, arguments))
    assert read[0][0] == "FROM"
    assert sum(1 for name, _ in read if name == "CMD") == 1
    return read


def go(text: str) -> None:
    """Statements of Go, as gofmt writes them; nothing is said where there is no Go."""
    gofmt = shutil.which("gofmt")
    if gofmt is not None:
        done = subprocess.run([gofmt, "-e"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == text, f"gofmt writes\n{done.stdout}"


def protobuf(text: str) -> None:
    """Raises for a file that protoc does not take."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.proto").write_text(text)
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-o{folder}/page.bin", "page.proto"]
        subprocess.run(command, check=True)


READERS: dict[str, Callable[[str], Any]] = {
    "python": lambda text: compiled(textwrap.dedent(text)),
    "console": console,
    "toml": toml,
    "json": json.loads,
    "ini": ini,
    "yaml": documents,
    "docker": dockerfile,
    "go": go,
    "protobuf": protobuf,
    "text": str,
}
"""Every language that a page may have, and what reads it."""
