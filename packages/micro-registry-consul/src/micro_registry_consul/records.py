"""One node of one service as Consul keeps it, and back; everything that comes back is untrusted.

Go Micro's tags (WIRE §2), each `<letter>-` and the lower-case hex of a zlib stream:

    t   {"key": "value"}, one pair of the node's metadata
    e   an endpoint as JSON
    v   the version
    m   one pair of the service's metadata: ours, Go Micro has none and passes over it

Plain `t=`, `e=` and `v=` are read too; of each letter the form that comes first counts. Node metadata stands in `Meta`
as well where Consul allows its keys. A node without a version tag is not of Go Micro; its version is empty. An id that
ends in `@<name of the service>` is that of an agent that knew the id under another name (`keeper.py`).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from micro_core import Endpoint, Node, ServiceRecord, Value

MAX_UNPACKED = 64 * 1024
"""Bytes of one node's tags, unpacked."""

MAX_NAME = 255
MAX_TAGS = 4096
MAX_DEPTH = 16
MAX_ITEMS = 1024

_META_KEY = re.compile(r"(?!consul-)[A-Za-z0-9_-]{1,128}", re.ASCII)
_MAX_META, _MAX_META_VALUE = 64, 512

GOODBYE = "goodbye:"
"""Begins the id of the critical check by which a node says that it leaves."""


class BadRecord(Exception):
    """What Consul answered is no record; says why."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a health query says.

    Attributes:
        records: one per version, by version, with nodes that no critical check speaks against, by id.
        goodbyes: ids of nodes that are leaving.
        unreadable: why nodes were left out, by id.
    """

    records: tuple[ServiceRecord, ...]
    goodbyes: frozenset[str]
    unreadable: Mapping[str, str]


def check_text(text: str, what: str) -> None:
    """Raises ValueError for a text that no reader would take; surrogates are not printable."""
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise ValueError(f"{what} {text[:MAX_NAME]!r} is empty, longer than {MAX_NAME} or not printable")


def check_name(text: str, what: str) -> None:
    """Raises ValueError for a name or id that cannot stand in a path of Consul's API."""
    check_text(text, what)
    if "/" in text or "\\" in text or text in (".", ".."):
        raise ValueError(f"{what} {text!r} cannot stand in a path of Consul's API")


def duration(seconds: float) -> str:
    """As Go writes a duration: `1m30s`, `20s`, `1.5s`, `200ms`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{max(1, milliseconds)}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else "") + tail


def ttl_check(ttl: float) -> dict[str, str] | None:
    """The check of a registration, None for ever. Raises ValueError for a ttl that is no time."""
    if not 0 <= ttl < 1e9:
        raise ValueError(f"a ttl is a number of seconds, not {ttl!r}")
    if ttl == 0:
        return None
    reaped = ttl + 5 if ttl >= 60 else 65
    return {"TTL": duration(ttl), "DeregisterCriticalServiceAfter": duration(reaped)}


def tags(record: ServiceRecord, node: Node) -> list[str]:
    """The tags of one node."""
    return [
        *(_packed("t", _json({key: value})) for key, value in node.metadata.items()),
        *(_packed("e", _json(_plain_endpoint(endpoint))) for endpoint in record.endpoints),
        _packed("v", record.version.encode("utf-8", "replace")),
        *(_packed("m", _json({key: value})) for key, value in record.metadata.items()),
    ]


def meta(node: Node) -> dict[str, str]:
    """What of a node's metadata Consul takes as `Meta`."""
    allowed = {
        key: value
        for key, value in node.metadata.items()
        if _META_KEY.fullmatch(key) and len(value.encode("utf-8", "replace")) <= _MAX_META_VALUE
    }
    return dict(list(allowed.items())[:_MAX_META])


def host_and_port(address: str) -> tuple[str, int]:
    """A node's address in two, without brackets. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"a node's address is host:port, not {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _packed(letter: str, data: bytes) -> str:
    return f"{letter}-{zlib.compress(data).hex()}"


def _json(plain: object) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode("ascii")


def _plain_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "request": _plain_value(endpoint.request),
        "response": _plain_value(endpoint.response),
        "metadata": dict(endpoint.metadata),
    }


def _plain_value(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    inner = [_plain_value(one) for one in value.values]
    return {"name": value.name, "type": value.type, "values": inner or None}


def versions(tags: object) -> set[str]:
    """The versions among the tags that the list of all services shows for a name; none for what is not Go Micro's."""
    found = set()
    for data in _lenient(tags, "v"):
        try:
            found.add(_version(data))
        except BadRecord:
            continue
    return found


def read_health(name: str, answer: object) -> Read:
    """What the answer of a health query says of a service. Raises BadRecord when it is no such answer."""
    if not isinstance(answer, list):
        raise BadRecord("the answer is no list")
    entries: dict[str, _Entry] = {}
    goodbyes: set[str] = set()
    unreadable: dict[str, str] = {}
    for plain in answer:
        try:
            entry = _Entry(name, plain)
        except BadRecord as error:
            unreadable[_id_of(plain)] = str(error)
            continue
        if entry.leaving:
            goodbyes.add(entry.node.id)
        known = entries.get(entry.node.id)
        if not entry.critical and entry.name == name and (known is None or known.modified < entry.modified):
            entries[entry.node.id] = entry
    return Read(tuple(_grouped(name, entries.values())), frozenset(goodbyes - entries.keys()), unreadable)


def _grouped(name: str, entries: Iterable[_Entry]) -> Iterator[ServiceRecord]:
    versions: dict[str, list[_Entry]] = {}
    for entry in entries:
        versions.setdefault(entry.version, []).append(entry)
    for version, them in sorted(versions.items()):
        latest = max(them, key=lambda entry: entry.modified)
        nodes = sorted((entry.node for entry in them), key=lambda node: node.id)
        yield ServiceRecord(name, version, tuple(nodes), latest.endpoints(), latest.service_metadata())


class _Entry:
    """One node of a health query's answer. Raises BadRecord."""

    __slots__ = ("_tags", "critical", "leaving", "modified", "name", "node", "version")

    def __init__(self, name: str, plain: object) -> None:
        entry = _object(plain, "the entry")
        service = _object(entry.get("Service"), "Service")
        service_id = _name(service.get("ID"), "ID")
        self.name = _name(service.get("Service"), "Service.Service")
        states = {str(check.get("CheckID")): check.get("Status") for check in _checks(entry.get("Checks"))}
        self.critical = "critical" in states.values()
        self.leaving = self.name == name and f"{GOODBYE}{service_id}" in states
        self.modified = _number(service.get("ModifyIndex") or 0, "ModifyIndex")
        self._tags = service.get("Tags") or []
        self.version = next((_version(data) for data in _form(self._tags, "v")), "")
        metadata = _pairs(_lenient(self._tags, "t"))
        id = service_id.removesuffix(f"@{self.name}") or service_id
        self.node = Node(id, _address(entry, service), metadata)

    def endpoints(self) -> tuple[Endpoint, ...]:
        found = []
        for data in _lenient(self._tags, "e"):
            try:
                found.append(_endpoint(_parsed(data)))
            except BadRecord:  # for people alone, no call depends on it
                continue
        return tuple(found[:MAX_ITEMS])

    def service_metadata(self) -> Mapping[str, str]:
        return _pairs(_lenient(self._tags, "m"))


def _address(entry: Mapping[str, Any], service: Mapping[str, Any]) -> str:
    host = service.get("Address") or _object(entry.get("Node"), "Node").get("Address")
    host = _name(host, "Address")
    port = _number(service.get("Port") or 0, "Port")
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{port}" if port else host


def _checks(plain: object) -> list[Mapping[str, Any]]:
    return [_object(check, "a check") for check in _list(plain, "Checks")]


def _form(tags: object, letter: str) -> Iterator[bytes]:
    """The contents of the tags of a letter, of the form that comes first. Raises BadRecord."""
    form, room = "", MAX_UNPACKED
    for tag in _list(tags, "Tags", MAX_TAGS):
        if not isinstance(tag, str) or tag[:1] != letter or tag[1:2] not in ("-", "="):
            continue
        form = form or tag[1]
        if tag[1] == form:
            data = _inflate(tag[2:], room) if form == "-" else tag[2:].encode("utf-8", "replace")
            room -= len(data)
            if room < 0:
                raise BadRecord(f"more than {MAX_UNPACKED} bytes unpacked")
            yield data


def _lenient(tags: object, letter: str) -> list[bytes]:
    """The same up to the first that cannot be read: somebody's own tags may look alike."""
    found = []
    try:
        for data in _form(tags, letter):
            found.append(data)  # noqa: PERF402 - what came before the failure is kept
    except BadRecord:
        pass
    return found


def _inflate(text: str, room: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(bytes.fromhex(text), room + 1)
    except (ValueError, zlib.error):
        raise BadRecord("a tag is no hex of a zlib stream") from None
    if not inflater.eof and len(data) <= room:
        raise BadRecord("a tag is cut short")
    return data


def _version(data: bytes) -> str:
    try:
        return _name(data.decode("utf-8"), "the version")
    except UnicodeDecodeError:
        raise BadRecord("the version is no text") from None


def _pairs(parts: Iterable[bytes]) -> Mapping[str, str]:
    metadata: dict[str, str] = {}
    for data in parts:
        try:
            metadata |= _metadata(_parsed(data))
        except BadRecord:
            continue
    return metadata


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadRecord("a tag is no JSON") from None


def _endpoint(plain: object) -> Endpoint:
    entry = _object(plain, "an endpoint")
    name = _name(entry.get("name"), "an endpoint's name")
    request, response = (_value(entry.get(key), 0) for key in ("request", "response"))
    return Endpoint(name, request, response, _metadata(entry.get("metadata") or {}))


def _value(plain: object, depth: int) -> Value | None:
    if plain is None:
        return None
    if depth >= MAX_DEPTH:
        raise BadRecord(f"values nested more than {MAX_DEPTH} deep")
    entry = _object(plain, "a value")
    inner = [_value(one, depth + 1) for one in _list(entry.get("values") or [], "values")]
    return Value(_text(entry.get("name")), _text(entry.get("type")), tuple(one for one in inner if one is not None))


def _metadata(plain: object) -> Mapping[str, str]:
    entries = _object(plain, "metadata")
    if len(entries) > MAX_ITEMS or not all(isinstance(value, str) for value in entries.values()):
        raise BadRecord("metadata is not a few texts")
    return dict(entries)


def _object(plain: object, what: str) -> Mapping[str, Any]:
    if not isinstance(plain, dict):
        raise BadRecord(f"{what} is no object")
    return plain


def _list(plain: object, what: str, limit: int = MAX_ITEMS) -> list[Any]:
    if not isinstance(plain, list) or len(plain) > limit:
        raise BadRecord(f"{what} is no list of at most {limit}")
    return plain


def _number(plain: object, what: str) -> int:
    if not isinstance(plain, int) or isinstance(plain, bool) or plain < 0:
        raise BadRecord(f"{what} is no number")
    return plain


def _text(plain: object) -> str:
    if not isinstance(plain, str):
        raise BadRecord("a value's name or type is no text")
    return plain


def _name(plain: object, what: str) -> str:
    if not isinstance(plain, str) or not plain or len(plain) > MAX_NAME or not plain.isprintable():
        raise BadRecord(f"{what} is no printable text of at most {MAX_NAME}")
    return plain


def _id_of(plain: object) -> str:
    service = plain.get("Service") if isinstance(plain, dict) else None
    return str(service.get("ID"))[:MAX_NAME] if isinstance(service, dict) else ""
