"""Asking every node of a service by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import anyio
from micro_core import DecodeError, MicroError, Node, ServiceRecord

from micro_cli.connection import Connection
from micro_cli.ending import ANSWERED, OK, UNREACHABLE, explained

AT_ONCE = 100
"""Nodes that are asked at the same time."""

_ASKED_IN = {"grpc": "application/grpc+json"}
"""What nodes that do not speak mucp are asked in, by their `protocol`: an address alone does not tell that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one node said, or why it did not."""

    service: str
    version: str
    node: Node
    seconds: float
    reply: Any = None
    error: str = ""
    code: int = OK

    def value(self) -> dict[str, Any]:
        """For programs: who answered, how quickly, and either `reply` or `error`."""
        said = {"error": self.error} if self.error else {"reply": self.reply}
        return {
            "service": self.service,
            "version": self.version,
            "node": self.node.id,
            "address": self.node.address,
            "ms": round(self.seconds * 1000, 3),
            **said,
        }


async def ask_each(
    connection: Connection,
    records: Iterable[ServiceRecord],
    endpoint: str,
    request: Any,
    *,
    tell: Callable[[Answer], None] = lambda answer: None,
    **options: Any,
) -> list[Answer]:
    """Every node's answer, told as they come, the slowest last. Options are those of `Caller.call`.

    Raises what `tell` raises; the nodes that have not answered are then left alone.
    """
    await connection.open()
    answers: list[Answer] = []
    failed: list[Exception] = []
    limit = anyio.Semaphore(AT_ONCE)

    async def ask(record: ServiceRecord, node: Node) -> None:
        async with limit:
            answer = await _asked(connection, record, node, endpoint, request, options)
        answers.append(answer)
        try:
            tell(answer)
        except Exception as error:
            failed.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for record in records:
            for node in record.nodes:
                tasks.start_soon(ask, record, node)
    if failed:
        raise failed[0]
    return answers


async def _asked(
    connection: Connection, record: ServiceRecord, node: Node, endpoint: str, request: Any, options: dict[str, Any]
) -> Answer:
    content_type = options.get("content_type") or _ASKED_IN.get(node.metadata.get("protocol", ""))
    options = {**options, "address": node.address, "content_type": content_type}
    started = perf_counter()
    try:
        reply = await connection.call_response(record.name, endpoint, request, **options)
    except (MicroError, ValueError) as error:
        text, code = explained(error) if isinstance(error, MicroError) else (str(error), UNREACHABLE)
        spent = perf_counter() - started
        return Answer(record.name, record.version, node, spent, error=_bare(error, text), code=code)
    spent = reply.attempts[-1].seconds if reply.attempts else perf_counter() - started
    return Answer(record.name, record.version, node, spent, reply.value)


def _bare(error: Exception, text: str) -> str:
    """Without the circumstances, which stand in the same row."""
    detail, status = getattr(error, "detail", ""), getattr(error, "status", "")
    code = getattr(error, "code", "")
    if isinstance(error, DecodeError) or not (detail or status):
        return text
    return ": ".join(part for part in (f"{code} {status}".strip(), detail) if part)


def worst(answers: Iterable[Answer]) -> int:
    """The exit code for all of them: unreachable before an answered error."""
    codes = {answer.code for answer in answers}
    return UNREACHABLE if UNREACHABLE in codes else ANSWERED if codes - {OK} else OK
