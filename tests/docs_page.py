"""Runs the code of one page of the documentation, in order, in the working directory: `python docs_page.py PAGE`.

How a block is taken is said by its language and by the comment before it:

    ```python                      run, with `await` at the top; a page is one module
    ```{code-block} python         with `:caption: greeter.py`, any language: a file that is written
    ```console                     lines after `$ ` are run by bash, and what follows must come out, `…` standing for
                                   anything
    <!-- background -->            the console block runs on to the end of the page
    <!-- fragment -->              only compiled
    <!-- not run: why -->          a console block that is only checked for its syntax
    ```toml, json, ini             read
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

PATIENCE = 30.0
"""Seconds that a command may take."""

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


def compiled(block: Block) -> Any:
    """The code object of a block of Python. Raises SyntaxError."""
    return compile("\n" * block.line + block.text, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


class Page:
    """The state of a page that is being run."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.module = ModuleType("page")
        sys.modules["page"] = self.module
        self.behind: list[subprocess.Popen[str]] = []

    def take(self, block: Block) -> None:
        """Does what a block asks for. Raises for whatever does not happen."""
        check(block)
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.mark == "fragment" or block.mark.startswith("not run: "):
            return
        elif block.language == "python":
            waiting = eval(compiled(block), vars(self.module))
            if inspect.iscoroutine(waiting):
                self.runner.run(waiting)
        elif block.language == "console":
            self.console(block)

    def console(self, block: Block) -> None:
        """Runs the commands of a block; what a page shows of their output must come."""
        for command, expected in commands(block.text):
            if block.mark == "background":
                self.behind.append(started(command))
                continue
            deadline = time.monotonic() + PATIENCE
            done = finished(command)
            while not shown(expected, done.stdout) and self.behind and time.monotonic() < deadline:
                time.sleep(0.2)  # what runs behind is still starting
                done = finished(command)
            if not shown(expected, done.stdout):
                raise AssertionError(f"$ {command}\n{done.stdout}{done.stderr}\nthe page shows\n{expected}")

    def close(self) -> None:
        """Stops what runs behind, by Ctrl-C; it must end in good order."""
        for process in self.behind:
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE)
            if process.returncode or "Traceback" in output:
                raise AssertionError(f"ended with {process.returncode}\n{output}")


def started(command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finished(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output that is shown for it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more
        yield command, expected


def shown(expected: str, output: str) -> bool:
    """Whether the output is as a page shows it; runs of spaces count as one, `…` stands for anything."""
    parts = (r"\s+".join(re.escape(word) for word in part.split()) for part in expected.split("…"))
    pattern = r"\s*.*?\s*".join(parts)
    return re.fullmatch(rf"\s*{pattern}\s*", output, re.DOTALL) is not None


def check(block: Block) -> None:
    """Reads a block by its language. Raises for what cannot be read, or for a language that nobody reads."""
    if block.language == "python":
        compiled(block)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "ini":
        configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
    elif block.language == "console":
        script = "\n".join(command for command, _ in commands(block.text))
        assert script, f"line {block.line}: a console block without `$ `"
        subprocess.run(["bash", "-n", "-c", script], check=True)
    elif block.language not in ("text", "go", "yaml", "docker"):
        raise AssertionError(f"line {block.line}: nobody reads a block of {block.language or 'nothing'!r}")


def main(path: Path) -> None:
    """Runs a page."""
    sys.path.insert(0, str(Path.cwd()))
    with asyncio.Runner() as runner:
        page = Page(runner)
        try:
            for block in blocks(path.read_text(encoding="utf-8")):
                try:
                    page.take(block)
                except BaseException:
                    place = f"{path.name}:{block.line}"
                    print(f"{place}\n{textwrap.indent(block.text, '  ')}", file=sys.stderr)
                    raise
        finally:
            page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
