"""Figures of runs and the tables that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rows import BASE, LIMIT, Case, Row

NONE = "–"
"""Where nothing was measured."""


@dataclass(frozen=True)
class Figures:
    """One run: calls (or messages) a second, seconds, and the share of the cores that was taken by others."""

    per_second: float
    p50: float
    p99: float
    cpu: float
    server_cpu: float = 0.0
    broker_cpu: float = 0.0
    disturbed: float = 0.0


Value = Callable[[Figures], float]


def rate(figures: Figures) -> float:
    """Calls a second."""
    return figures.per_second


def cpu(figures: Figures) -> float:
    """CPU seconds a call, client and server."""
    return figures.cpu


def bottleneck(figures: Figures) -> float:
    """CPU seconds a call of the end that has more to do, on its core alone: its inverse bounds the rate."""
    return max(figures.server_cpu, figures.cpu - figures.server_cpu)


def p50(figures: Figures) -> float:
    """The median latency, in seconds."""
    return figures.p50


class Table:
    """The runs of one case, a row each.

    Attributes:
        runs: of each row, one a round, in order.
        left_out: why, for rows that could not be measured.
    """

    def __init__(self, case: Case, rows: Sequence[Row]) -> None:
        self.case = case
        self.rows = list(rows)
        self.runs: dict[str, list[Figures]] = {row.name: [] for row in rows}
        self.left_out: dict[str, str] = {}

    def add(self, row: Row, figures: Figures) -> None:
        """One more run."""
        self.runs[row.name].append(figures)

    def leave_out(self, row: Row, why: str) -> None:
        """The row failed: what it has done in this case does not count."""
        self.left_out[row.name] = why
        self.runs[row.name] = []

    def measured(self) -> list[Row]:
        """The rows with figures."""
        return [row for row in self.rows if self.runs[row.name]]

    def middle(self, name: str, value: Value) -> float:
        """The median over the rounds."""
        return median(value(run) for run in self.runs[name])

    def disturbed(self) -> float:
        """The share of the two cores that others had in between."""
        shares = [run.disturbed for runs in self.runs.values() for run in runs]
        return median(shares) if shares else 0.0

    def ratio(self, name: str, other: str, value: Value) -> float | None:
        """The median of the ratios of each round, whose two sides were measured within seconds of each other."""
        pairs = list(zip(self.runs.get(name, ()), self.runs.get(other, ()), strict=False))
        return median(value(one) / value(base) for one, base in pairs) if pairs else None


HEADER = (
    "",
    "{unit}/s",
    "p50 µs",
    "p99 µs",
    "CPU µs",
    "of it server",
    "× grpc.aio+uvloop",
    "by CPU",
    "CPU × raw",
    "p50 × raw",
)


def cells(table: Table) -> list[list[str]]:
    """The table as text, its header first."""
    return [[cell.format(unit=table.case.unit) for cell in HEADER], *(line(table, row) for row in table.measured())]


def line(table: Table, row: Row) -> list[str]:
    """One row as text; a stream one way has no latency of a message."""
    name, latency = row.name, table.case.load != "oneway"
    by_cpu = table.ratio(name, BASE, bottleneck)
    used = f"{table.middle(name, cpu) * 1e6:.1f}"
    if broker := table.middle(name, lambda run: run.broker_cpu) * 1e6:
        used += f" (+{broker:.1f})"
    return [
        row.title,
        f"{table.middle(name, rate):,.0f}",
        f"{table.middle(name, p50) * 1e6:,.0f}" if latency else NONE,
        f"{table.middle(name, lambda run: run.p99) * 1e6:,.0f}" if latency else NONE,
        used,
        f"{table.middle(name, lambda run: run.server_cpu) * 1e6:.1f}",
        shown(table.ratio(name, BASE, rate)),
        shown(by_cpu and 1 / by_cpu),
        shown(table.ratio(name, LIMIT, cpu)),
        shown(table.ratio(name, LIMIT, p50)) if latency else NONE,
    ]


def shown(ratio: float | None) -> str:
    """A ratio, or that there is none."""
    return NONE if ratio is None else f"{ratio:.2f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns for a terminal: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(each, widths, strict=True))
        )
        for each in lines
    )


def printed(table: Table) -> str:
    """The table for a terminal."""
    missing = [f"{name} is left out: {why}" for name, why in table.left_out.items()]
    others = f"others had {table.disturbed():.0%} of the cores"
    return "\n".join([f"{table.case.title}; {others}", aligned(cells(table)), *missing])


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: of `value` of one row to that of another in a case, or to itself when there is no other."""

    text: str
    case: str
    row: str
    other: str
    value: Value
    reach: float
    at_least: bool = True

    def reached(self, tables: Sequence[Table], row: str) -> tuple[str, str] | None:
        """What was measured of a row and whether that will do; None where it was not measured."""
        for table in tables:
            if table.case.name == self.case and (ratio := table.ratio(row, self.other, self.value)) is not None:
                met = ratio >= self.reach if self.at_least else ratio <= self.reach
                return f"{ratio:.2f}", "yes" if met else "no"
        return None

    @property
    def bound(self) -> str:
        """What to reach."""
        return f"{'≥' if self.at_least else '≤'} {self.reach:.3g}"


GOALS = [
    Goal("calls/s at 64, beside grpc.aio on uvloop", "unary-64", "micro", BASE, rate, 8),
    Goal("calls/s at 64, beside granian and pyreqwest", "unary-64", "micro", "granian", rate, 2),
    Goal("calls/s at 64, beside nats-py", "unary-64", "micro", "nats", rate, 1),
    Goal("calls/s at 64, beside bare Go net/http", "unary-64", "micro", "go-http", rate, 1),
    Goal("calls/s at 64, beside Go Micro", "unary-64", "micro", "go-micro", rate, 12),
    Goal("CPU a call at 64, beside the raw echo", "unary-64", "micro", LIMIT, cpu, 2.2, at_least=False),
    Goal("p50 one at a time, beside the raw echo", "unary-1", "micro", LIMIT, p50, 1.4, at_least=False),
    Goal("p50 one at a time, beside Go Micro", "unary-1", "micro", "go-micro", p50, 1 / 3, at_least=False),
    Goal("TLS HTTP/2: calls/s at 64, beside grpc.aio on uvloop in plaintext", "unary-64", "micro-tls", BASE, rate, 5),
    Goal("trio: calls/s at 64, beside grpc.aio on uvloop", "unary-64", "micro-trio", BASE, rate, 4),
    Goal("messages/s of a stream one way, beside grpc.aio on uvloop", "oneway-8", "micro", BASE, rate, 15),
    Goal("messages/s of a stream one way, beside Go Micro", "oneway-8", "micro", "go-micro", rate, 30),
]


def goals(tables: Sequence[Table]) -> list[list[str]]:
    """What is to be reached and what was, as it comes and compiled, the header first; nothing where it was not."""
    lines = []
    for goal in GOALS:
        plain, compiled = (goal.reached(tables, row) for row in (goal.row, f"{goal.row}-compiled"))
        if plain or compiled:
            lines.append([goal.text, goal.bound, *(plain or (NONE, NONE)), *(compiled or (NONE, NONE))])
    header = ["a ratio of two rows", "to reach", "measured", "reached", "compiled", "reached"]
    return [header, *lines] if lines else []
