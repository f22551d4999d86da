"""`micro health` and `micro stats`: a row per node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from micro_core import ServiceRecord

from micro_cli.connection import Connection
from micro_cli.nodes import Answer, ask_each, worst
from micro_cli.output import emit, note, table


@dataclass(frozen=True, slots=True)
class Rows:
    """A table of what every node answers at one endpoint; `cells` reads a reply, for the columns `headers`."""

    endpoint: str
    headers: Sequence[str]
    cells: Callable[[Answer], tuple[str, ...]]

    def of(self, service: str | None, timeout: float, *, programs: bool) -> Callable[[Connection], Awaitable[int]]:
        """What a command does: asks, prints, and says how it ended."""

        async def work(connection: Connection) -> int:
            records = await (_services(connection) if service is None else connection.records(service))
            answers = await ask_each(connection, records, self.endpoint, {}, timeout=timeout)
            answers.sort(key=lambda answer: (answer.service, answer.version, answer.node.id))
            if programs:
                for answer in answers:
                    emit(answer.value())
            elif answers:
                self._print(answers)
            else:
                note(f"no services in registry {connection.registry_name!r}")
            return worst(answers)

        return work

    def _print(self, answers: Sequence[Answer]) -> None:
        errors = ("ERROR",) if any(answer.error for answer in answers) else ()
        headers = ("SERVICE", "NODE", "ADDRESS", "TIME", *self.headers, *errors)
        table(headers, [(*self._row(answer), answer.error)[: len(headers)] for answer in answers])

    def _row(self, answer: Answer) -> tuple[str, ...]:
        cells = ("-",) * len(self.headers) if answer.error else self.cells(answer)
        return answer.service, answer.node.id, answer.node.address, f"{answer.seconds * 1000:.1f} ms", *cells


async def _services(connection: Connection) -> list[ServiceRecord]:
    """Every service but the subscribers of brokers, which register themselves and serve no calls (WIRE §7)."""
    return [
        replace(record, nodes=tuple(node for node in record.nodes if "topic" not in node.metadata))
        for record in await connection.all_records()
    ]


def figures(answer: Answer) -> tuple[str, ...]:
    """Uptime, memory, threads and time spent in garbage collection, as far as they were told (WIRE §8)."""
    reply = answer.reply if isinstance(answer.reply, dict) else {}
    return (
        _shown(reply.get("uptime"), _duration),
        _shown(reply.get("memory"), lambda size: f"{size / 2**20:.1f} MiB"),
        _shown(reply.get("threads"), lambda count: f"{count:g}"),
        _shown(reply.get("gc"), lambda spent: f"{spent / 1e6:.1f} ms"),
    )


def _shown(value: object, show: Callable[[float], str]) -> str:
    """Go Micro's JSON writes some numbers as texts."""
    try:
        return show(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "-"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    given = [f"{amount}{unit}" for amount, unit in parts if amount]
    return "".join(given[:2]) or "0s"
