"""`micro call` and `micro stream`: one endpoint of one service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from micro_core import Endpoint, Filter, ServiceRecord
from micro_core.errors import NotFound

from micro_cli.connection import Connection
from micro_cli.ending import Misused, NotThere
from micro_cli.interface import UNKNOWN, Wanted, interfaces_of
from micro_cli.nodes import Answer, ask_each, worst
from micro_cli.output import as_json, emit, note, say, show
from micro_cli.values import check, request_of


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wrote about a call."""

    service: str
    endpoint: str
    words: Sequence[str]
    text: str | None
    address: str | None
    version: str | None
    where: dict[str, str]
    options: dict[str, Any]
    """Of `Caller.call` and `Caller.stream`."""
    check: bool = True
    """Whether what is sent must be what the endpoint takes."""


async def found(
    connection: Connection, asked: Asked, *, streaming: bool
) -> tuple[Endpoint | None, list[ServiceRecord]]:
    """The endpoint, where it is registered, and the records it may be called at; nothing is looked up for an address.

    Raises:
        NotThere: no such service, version, node or endpoint.
        Misused: a stream is called, or the other way round.
    """
    if asked.address is not None:
        return None, []
    records = [_narrowed(record, asked) for record in await connection.records(asked.service)]
    records = [record for record in records if record.nodes]
    if not records:
        raise NotThere(
            f"no node of {asked.service!r} is of that version and those labels; micro get {asked.service} shows them"
        )
    endpoint = _endpoint(records, asked)
    if endpoint is not None and (endpoint.metadata.get("stream") == "true") is not streaming:
        other = "call" if streaming else "stream"
        kind = "no stream" if streaming else "a stream"
        raise Misused(f"{asked.endpoint} is {kind}: micro {other} {asked.service} {asked.endpoint}")
    return endpoint, records


def _narrowed(record: ServiceRecord, asked: Asked) -> ServiceRecord:
    from dataclasses import replace

    wanted = Filter(asked.version, frozenset(asked.where.items()))
    return replace(record, nodes=tuple(node for node in record.nodes if wanted.matches(record, node)))


def _endpoint(records: Sequence[ServiceRecord], asked: Asked) -> Endpoint | None:
    """None where a service registered no endpoints, or the one every service has and none registers is asked for."""
    endpoints = {each.name: each for record in records for each in record.endpoints if "topic" not in each.metadata}
    if asked.endpoint in endpoints:
        return endpoints[asked.endpoint]
    if not endpoints or asked.endpoint.startswith("Debug."):
        return None
    from micro_core.suggest import did_you_mean

    raise NotThere(f"{asked.service!r} has no endpoint {asked.endpoint!r}; {did_you_mean(asked.endpoint, endpoints)}")


def wanted_of(records: Sequence[ServiceRecord], asked: Asked) -> Wanted:
    """What the endpoint takes, as far as the records say."""
    types = interfaces_of(records)
    interface = types.endpoints.get(asked.endpoint)
    return UNKNOWN if interface is None else Wanted(interface.request, types)


def _request(records: Sequence[ServiceRecord], asked: Asked) -> Any:
    """Raises Misused for what cannot be read, or is not what the endpoint takes."""
    wanted = wanted_of(records, asked)
    request = request_of(wanted, asked.words, asked.text, strict=asked.check)
    if asked.check:
        check(request, wanted, asked.endpoint)
    return request


def not_there(error: NotFound, endpoint: Endpoint | None, asked: Asked) -> Exception:
    """The same error, for what the service registered; NotThere for an endpoint that it did not, and has not."""
    return error if endpoint is not None or asked.address is not None else NotThere(str(error))


async def call(connection: Connection, asked: Asked, *, verbose: bool, programs: bool) -> int:
    """One call, by the client with all it does: selection, retries, deadline."""
    endpoint, records = await found(connection, asked, streaming=False)
    request = _request(records, asked)
    await connection.open()
    started = perf_counter()
    try:
        reply = await connection.call_response(
            asked.service, asked.endpoint, request,
            address=asked.address, version=asked.version, where=asked.where or None, **asked.options,
        )  # fmt: skip
    except NotFound as error:
        raise not_there(error, endpoint, asked) from None
    seconds = reply.attempts[-1].seconds if reply.attempts else perf_counter() - started
    node, address = (reply.node.id, reply.node.address) if reply.node else ("", asked.address)
    if programs:
        emit({"node": node, "address": address, "ms": round(seconds * 1000, 3), "reply": reply.value})
    else:
        show(reply.value)
    if verbose:
        tries = max(1, len(reply.attempts))
        note(f"{node or 'a node'} at {address}, {seconds * 1000:.1f} ms, {tries} attempt{'s' if tries > 1 else ''}")
    return 0


async def call_each(connection: Connection, asked: Asked, *, programs: bool) -> int:
    """The same call at every node, once, all at the same time; a line per node as it answers."""
    _, records = await found(connection, asked, streaming=False)
    request = _request(records, asked)

    def tell(answer: Answer) -> None:
        if programs:
            emit(answer.value())
            return
        what = f"error: {answer.error}" if answer.error else as_json(answer.reply)
        say(f"{answer.node.id}  {answer.node.address}  {answer.seconds * 1000:.1f} ms  {what}")

    return worst(await ask_each(connection, records, asked.endpoint, request, tell=tell, **asked.options))
