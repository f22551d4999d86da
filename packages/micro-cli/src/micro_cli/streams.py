"""`micro stream`: standard input goes out line by line, what comes is printed line by line."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
from micro import Stream
from micro_core import EndOfStream, RPCError, UnsupportedType
from micro_core.errors import NotFound

from micro_cli.calling import Asked, found, not_there, wanted_of
from micro_cli.connection import Connection
from micro_cli.ending import Misused
from micro_cli.interface import Wanted
from micro_cli.output import emit
from micro_cli.reading import reader_gone
from micro_cli.values import check, parsed, request_of


async def converse(connection: Connection, asked: Asked) -> None:
    """Returns when the service has ended the stream. Raises what the stream raises."""
    endpoint, records = await found(connection, asked, streaming=True)
    wanted = wanted_of(records, asked)
    alone = bool(asked.words) or asked.text is not None
    values = _once(request_of(wanted, asked.words, asked.text, strict=asked.check)) if alone else _lines()
    if asked.check:
        values = _checked(values, wanted, asked.endpoint)
    stream: Stream[Any] = connection.stream(
        asked.service, asked.endpoint,
        address=asked.address, version=asked.version, where=asked.where or None, **asked.options,
    )  # fmt: skip
    failed: list[Exception] = []
    async with stream, anyio.create_task_group() as tasks:
        tasks.start_soon(_send, stream, values, failed, tasks.cancel_scope)
        try:
            await _print(stream)
        except (RPCError, EndOfStream, BrokenPipeError) as error:
            failed.append(error)
        tasks.cancel_scope.cancel()
    if failed:
        raise not_there(failed[0], endpoint, asked) if isinstance(failed[0], NotFound) else failed[0]


async def _print(stream: Stream[Any]) -> None:
    async for value in stream:
        emit(value)


async def _send(
    stream: Stream[Any], values: AsyncIterator[Any], failed: list[Exception], everything: anyio.CancelScope
) -> None:
    """What the service thinks of it, the receiving side hears; a line that cannot be sent ends it all."""
    try:
        async for value in values:
            await stream.send(value)
        await stream.end()
        await reader_gone()  # while there is something to send, it is sent whoever reads the answers
        failed.append(BrokenPipeError())
        everything.cancel()
    except (RPCError, EndOfStream) as error:
        if isinstance(error, RPCError) and isinstance(error.__cause__, UnsupportedType):
            failed.append(Misused(error.detail))
            everything.cancel()
    except Exception as error:
        failed.append(error)
        everything.cancel()


async def _checked(values: AsyncIterator[Any], wanted: Wanted, endpoint: str) -> AsyncIterator[Any]:
    async for value in values:
        check(value, wanted, endpoint)
        yield value


async def _once(value: Any) -> AsyncIterator[Any]:
    yield value


async def _lines() -> AsyncIterator[Any]:
    while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        if line.strip():
            yield parsed(line)
