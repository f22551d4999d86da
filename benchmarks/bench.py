"""Ours beside what else there is: calls and streams, interleaved in one run, server and client on a core each.

    python benchmarks/bench.py [--rows "micro raw"] [--cases "unary-64"] [--seconds 1] [--rounds 5] [--quick]

Server and client are processes pinned to a core each. The figures of one machine say little; the ratios, whose two
sides were measured within seconds of each other, do. A run in which something else had more than a twentieth of the two
cores is made again (`--tries`), and the least disturbed counts. A run of every row and case writes
`docs/benchmarks.md`; a smaller one prints its tables alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import certificates
import fragments
import page
from processes import CLIENT_CORE, SERVER_CORE, Failed, busy, running
from report import Figures, Table, printed
from rows import CASES, ROWS, Case, Row, broker_of, environment_of

FRAGMENTS = "fragments"
QUIET = 0.05


def least_disturbed(row: Row, case: Case, seconds: float, folder: Path, tries: int) -> Figures:
    """One run of one row; others, while the machine is busy with something else. Raises Failed."""
    best = measure(row, case, seconds, folder)
    for _ in range(tries - 1):
        if best.disturbed <= QUIET:
            break
        best = min(best, measure(row, case, seconds, folder), key=lambda run: run.disturbed)
    return best


def measure(row: Row, case: Case, seconds: float, folder: Path) -> Figures:
    """One run of one row. Raises Failed."""
    command = row.program()
    calling = row.client() if row.client else command
    environment = environment_of(row, folder)
    asked = [str(case.callers), str(seconds), str(case.size)]
    with ExitStack() as stack:
        broker = stack.enter_context(broker_of(row, environment))
        server = stack.enter_context(running([*command, "serve"], environment, SERVER_CORE))
        port = server.line()
        client = stack.enter_context(running([*calling, case.load, port, *asked], environment, CLIENT_CORE))
        if client.line() != "warm":
            raise Failed("the client printed something else")
        others = [server, *([broker] if broker else [])]
        before = [program.cpu() for program in others]
        started, busy_before = time.perf_counter(), busy()
        client.tell("go")
        told: dict[str, Any] = json.loads(client.line(seconds + 60))
        available = len({SERVER_CORE, CLIENT_CORE}) * (time.perf_counter() - started)
        taken = busy() - busy_before
        used = [program.cpu() - earlier for program, earlier in zip(others, before, strict=True)]
    messages = told["calls"] * case.messages
    return Figures(
        per_second=told["per_second"] * case.messages,
        p50=told["p50"] / case.messages,
        p99=told["p99"] / case.messages,
        cpu=(told["client_cpu"] + used[0]) / messages,
        server_cpu=used[0] / messages,
        broker_cpu=used[1] / messages if broker else 0.0,
        disturbed=max(0.0, (taken - told["client_cpu"] - sum(used)) / available),
    )


def run(rows: list[Row], cases: list[Case], seconds: float, rounds: int, tries: int = 1) -> list[Table]:
    """Every row of every case, interleaved; whoever fails is left out with one line."""
    absent: dict[str, str] = {}
    tables: list[Table] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates.make(folder)
        for case in cases:
            table = Table(case, [row for row in rows if case.load in row.loads])
            tables.append(table)
            for row in [row for _ in range(rounds) for row in table.rows]:
                if row.name not in table.left_out:
                    one_run(row, tables, absent, partial(least_disturbed, row, case, seconds, folder, tries))
            print(f"\n{printed(table)}", flush=True)
    return tables


def one_run(row: Row, tables: list[Table], absent: dict[str, str], measured: Callable[[], Figures]) -> None:
    """Adds to the last table. A row that never ran anywhere is absent from then on."""
    table = tables[-1]
    try:
        if row.name in absent:
            raise Failed(absent[row.name])
        table.add(row, measured())
    except Failed as failed:
        table.leave_out(row, str(failed))
        if row.name not in absent:
            print(f"{row.name} is left out of {table.case.name}: {failed}", file=sys.stderr, flush=True)
        if not any(each.runs[row.name] for each in tables if row in each.rows):
            absent[row.name] = str(failed)


def chosen(names: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The names, separated by spaces or commas. Ends the program at an unknown one."""
    wanted = [name for part in names for name in part.replace(",", " ").split()]
    for name in wanted:
        if name not in known:
            sys.exit(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return wanted


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=[], help="only these")
    parser.add_argument("--cases", nargs="+", default=[], help="only these")
    parser.add_argument("--seconds", type=float, default=1.0, help="of load per run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each row in each case, interleaved")
    parser.add_argument("--tries", type=int, default=2, help="runs, at most, for one that was not disturbed")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all: a moment each, once")
    parser.add_argument("--write", type=Path, help="folder of the page; docs, when everything was measured")
    asked = parser.parse_args()
    seconds, rounds, tries = (0.1, 1, 1) if asked.quick else (asked.seconds, asked.rounds, asked.tries)
    rows, cases = chosen(asked.rows, [row.name for row in ROWS], "row"), [case.name for case in CASES]
    wanted = chosen(asked.cases, [*cases, FRAGMENTS], "case")
    tables = run(
        [row for row in ROWS if not rows or row.name in rows],
        [case for case in CASES if not wanted or case.name in wanted],
        seconds,
        rounds,
        tries,
    )
    parsed = fragments.run(seconds, rounds) if not wanted or FRAGMENTS in wanted else []
    whole = not (asked.quick or asked.rows or asked.cases)
    if folder := asked.write or (page.DOCS if whole else None):
        page.write(folder, tables, parsed, seconds, rounds)


if __name__ == "__main__":
    main()
