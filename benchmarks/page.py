"""The page with what was measured: tables, what they mean, the machine, and a plot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import fragments
import golang
import plot
from report import Table, cells, goals
from rows import CASES, ROWS

DOCS = Path(__file__).parent.parent / "docs"
PACKAGES = [
    *("uvloop", "trio", "msgspec", "grpcio", "grpclib", "fastapi", "uvicorn", "httptools", "httpx", "aiohttp"),
    *("granian", "pyreqwest", "nats-py", "h11"),
]

ABOUT = """\
# Benchmarks

`nox -s bench` measured what is below and wrote this page: calls and streams of this project beside those of others,
interleaved in one run, server and client in processes of their own, each pinned to a core.

Absolute figures say something about one machine in one hour. The ratios say more: each is the median over the rounds of
what two rows did within seconds of each other.

```{raw} html
:file: benchmarks.svg
```
"""

HOW = """\
## How it is measured

A closed loop: each of so many callers makes its next call when it has its reply. A client warms up for half a second
before it is measured for {seconds:g} s; each row has {rounds} such runs a case, the rows taking turns, and the median
counts. A run in which something else had more than a twentieth of the cores is made again where `--tries` allows it.

CPU is user and system time of client and server with all their threads and children, a call, and changes little while
the machine is busy with something else; behind a plus stands that of a broker, which is not counted. `by CPU` is the
ratio to grpc.aio that follows from the CPU of the busier of the two ends, since it bounds the rate of 64 at once: where
others had much of the cores, it is the better guess. `p50` and `p99` are of a call, from before it to after its reply;
those of 64 at once are mostly waiting for one another.

Where it is not said otherwise a row does less than ours: it echoes bytes, and neither finds its server nor decodes a
type.

`nox -s bench -- --rows "micro grpc-uvloop raw" --cases unary-64` measures some of it; `--seconds` and `--rounds` say
how long, `--quick` whether it runs at all. Only a run of everything writes this page. `nox -s endurance` measures the
memory of 10,000 idle connections and of a million calls.
"""


def write(folder: Path, tables: Sequence[Table], parsed: list[fragments.Parsed], seconds: float, rounds: int) -> None:
    """Writes `benchmarks.md` and `benchmarks.svg` into the folder."""
    parts = [ABOUT, *reached(tables), *map(section, tables), *of_the_parser(parsed)]
    parts += [HOW.format(seconds=seconds, rounds=rounds), the_rows(tables), machine()]
    (folder / "benchmarks.md").write_text("\n".join(parts))
    (folder / "benchmarks.svg").write_text(plot.drawn(tables))
    print(f"\nwritten to {folder}")


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the numbers to the right."""
    header, *rest = lines
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(each)} |" for each in (header, rule, *rest)) + "\n"


def reached(tables: Sequence[Table]) -> list[str]:
    """The ratios that are to be reached."""
    found = goals(tables)
    return ["## What is to be reached\n", markdown(found)] if found else []


def section(table: Table) -> str:
    """One case."""
    about = f"Others had {table.disturbed():.0%} of the two cores meanwhile."
    return f"## {table.case.title}\n\n{about}\n\n{markdown(cells(table))}"


def of_the_parser(parsed: list[fragments.Parsed]) -> list[str]:
    """How the parsers fare with replies in pieces."""
    if not parsed:
        return []
    about = (
        "## A reply in pieces\n\nGo Micro writes a reply header by header, so that it arrives in up to 57 TCP pieces. "
        "CPU µs that parsers take to\nread a whole reply, alone, without a socket:\n"
    )
    return [about, markdown(fragments.cells(parsed))]


def the_rows(tables: Sequence[Table]) -> str:
    """What each row is, and why it is not there where it is not."""
    lines = ["## The rows\n"]
    left_out = {name: why for table in tables for name, why in table.left_out.items()}
    for row in ROWS:
        absent = f" Left out: {left_out[row.name]}." if row.name in left_out else ""
        lines.append(f"- **{row.title}** (`{row.name}`): {row.what}.{absent}")
    names = ", ".join(f"`{case.name}`" for case in CASES)
    return "\n".join([*lines, f"\nThe cases, as `--cases` takes them: {names}, `fragments`.\n"])


def machine() -> str:
    """What it ran on: what matters for the figures, and nothing that names the host."""
    read = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", read, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    kernel = ".".join(platform.release().split(".")[:2])
    processor = model.group(1) if model else platform.machine()
    lines = [
        "## The machine\n",
        f"{datetime.now(UTC):%B %Y}; {cores} cores ({processor}), {memory:.0f} GiB; Linux {kernel}, "
        f"{platform.python_implementation()} {platform.python_version()}{go_version()}.\n",
        ", ".join(versions()) + ".\n",
    ]
    return "\n".join(lines)


def go_version() -> str:
    """The version of Go, where there is one, and of the broker."""
    if shutil.which("go") is None:
        return ""
    told = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True)
    return f", Go {told.stdout.strip().removeprefix('go')}, nats-server {golang.NATS.rpartition('@v')[2]}"


def versions() -> list[str]:
    """Of the packages that took part."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
