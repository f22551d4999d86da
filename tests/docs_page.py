"""Runs the code of one page of the documentation, in order, in the working directory: `python docs_page.py PAGE`.

How a block is taken is said by its language and by the comment before it:

    ```python                      run, with `await` at the top; a page is one module
    ```{code-block} python         with `:caption: greeter.py`, any language: a file that is written
    ```console                     lines after `$ ` are run by bash, must end with 0, and what follows must come out,
                                   `…` standing for anything
    <!-- background -->            the console block runs on to the end of the page, and ends well by Ctrl-C
    <!-- background until SIGTERM -->
                                   for programs that count Ctrl-C as a failure
    <!-- with FILE of PAGE at HOST:PORT -->
                                   the console block, while that file of that page serves; its port is a free one
    <!-- with a Consul agent -->   read here; run by `test_docs_deploy`, where there is one
    <!-- not run: why -->          a console block that is only read; the tests list them
    any other language             read, see `docs_read`
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType

from docs_read import Block, blocks, check, commands, compiled

PATIENCE = 30.0
"""Seconds that a command may take."""

AGENT = "with a Consul agent"
BEHIND = re.compile(r"background(?: until (?P<signal>SIGTERM))?")
SERVED = re.compile(r"with (?P<file>\S+) of (?P<page>\S+) at (?P<address>\S+)")


class Page:
    """The state of a page that is being run."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.module = ModuleType("page")
        sys.modules["page"] = self.module
        self.behind: list[tuple[subprocess.Popen[str], signal.Signals]] = []

    def take(self, block: Block) -> None:
        """Does what a block asks for. Raises for whatever does not happen."""
        check(block)
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            waiting = eval(compiled("\n" * block.line + block.text), vars(self.module))
            if inspect.iscoroutine(waiting):
                self.runner.run(waiting)
        elif block.language == "console" and block.mark != AGENT and not block.mark.startswith("not run: "):
            self.console(block)

    def console(self, block: Block) -> None:
        """Runs the commands of a block, here or behind."""
        behind, served = BEHIND.fullmatch(block.mark), SERVED.fullmatch(block.mark)
        text = block.text
        if served:
            text = text.replace(served["address"], self.serve(self.folder / served["page"], served["file"]))
        for command, expected in commands(text):
            if behind:
                self.behind.append((started(command), signal.Signals[behind["signal"] or "SIGINT"]))
            else:
                self.command(command, expected)

    def command(self, command: str, expected: str) -> None:
        """Runs one command; it must end well, and what the page shows of its output must come."""
        deadline = time.monotonic() + PATIENCE
        done = finished(command)
        while not well(done, expected) and self.behind and time.monotonic() < deadline:
            time.sleep(0.2)  # what runs behind is still starting
            done = finished(command)
        if not well(done, expected):
            told = f"$ {command}\n{done.stdout}{done.stderr}\nends with {done.returncode}"
            raise AssertionError(f"{told}; the page shows\n{expected}")

    def serve(self, page: Path, file: str) -> str:
        """Starts the service of another page; where it can be called."""
        (block,) = (block for block in blocks(page.read_text(encoding="utf-8")) if block.file == file)
        Path(file).write_text(block.text)
        address = f"127.0.0.1:{free_port()}"
        served = started(f"MICRO_SERVER_ADDRESS={address} exec {sys.executable} {file}")
        self.behind.append((served, signal.SIGINT))
        return address

    def close(self) -> None:
        """Stops what runs behind, as a terminal does by Ctrl-C; it must end in good order."""
        for process, number in self.behind:
            (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
        ended = [(process.communicate(timeout=PATIENCE)[0], process.returncode) for process, _ in self.behind]
        for output, code in ended:
            if code or "Traceback" in output:
                raise AssertionError(f"ended with {code}\n{output}")


def free_port() -> int:
    """A port of TCP that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started(command: str) -> subprocess.Popen[str]:
    """Runs a line of bash, in a process group of its own."""
    return subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finished(command: str) -> subprocess.CompletedProcess[str]:
    """What a line of bash did."""
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False)


def well(done: subprocess.CompletedProcess[str], expected: str) -> bool:
    """Whether a command did what its page says."""
    return done.returncode == 0 and shown(expected, done.stdout)


def shown(expected: str, output: str) -> bool:
    """Whether the output is as a page shows it; runs of spaces count as one, `…` stands for anything."""
    parts = (r"\s+".join(re.escape(word) for word in part.split()) for part in expected.split("…"))
    pattern = r"\s*.*?\s*".join(parts)
    return re.fullmatch(rf"\s*{pattern}\s*", output, re.DOTALL) is not None


def main(path: Path) -> None:
    """Runs a page."""
    sys.path.insert(0, str(Path.cwd()))
    with asyncio.Runner() as runner:
        page = Page(runner, path.parent)
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
