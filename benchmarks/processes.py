"""Programs that are measured: started on a core, with all their children, read from, looked at and killed."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PATIENCE = 20.0


class Failed(Exception):
    """A program did not do what it was started for; the text is one line."""


class Program:
    """A running program, which leads a session of its own, so that its children are known."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], core: int | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop
        with on_core(core):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def line(self, seconds: float = PATIENCE) -> str:
        """The next line that it prints. Raises Failed when it ends or says nothing for so long."""
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], seconds)[0]:
            raise Failed(f"said nothing for {seconds:g} s; {self.last_words()}")
        line = out.readline()
        if not line:
            self._process.wait()
            raise Failed(self.last_words())
        return line.strip()

    def tell(self, line: str) -> None:
        """Writes a line to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def last_words(self) -> str:
        """The last line of what it wrote to its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"its exit status is {self._process.poll()}"

    def cpu(self) -> float:
        """User and system seconds of it and its children so far, to the hundredth."""
        return sum(int(fields[11]) + int(fields[12]) for fields in self._family()) / TICK

    def resident(self) -> int:
        """Bytes of memory of it and its children."""
        return sum(int(fields[21]) for fields in self._family()) * PAGE

    def sockets(self) -> int:
        """Open sockets of it alone."""
        files = Path(f"/proc/{self._process.pid}/fd").iterdir()
        return sum(str(file.readlink()).startswith("socket:") for file in files)

    def _family(self) -> Iterator[list[str]]:
        session = str(self._process.pid)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if fields[3] == session:
                    yield fields

    def stop(self) -> None:
        """Kills it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def busy() -> float:
    """Seconds that the two cores were busy so far, with whatever."""
    names = {f"cpu{core}" for core in (SERVER_CORE, CLIENT_CORE)}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return sum(sum(map(int, line[1:4] + line[6:9])) for line in lines if line and line[0] in names) / TICK


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started in between is pinned from its first instruction on; Go looks at its cores then."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], core: int | None = None) -> Iterator[Program]:
    """A program that is killed at the end."""
    program = Program(command, environment, core)
    try:
        yield program
    finally:
        program.stop()


def free_port() -> int:
    """A port of the loopback interface that nobody uses at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Returns when somebody listens. Raises Failed when nobody does in time."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise Failed(f"nobody listened within {PATIENCE:g} s")
