"""What is held against Go Micro: rows of the matrix, its columns, and what of it cannot be or differs.

A test says `@cells("unary, JSON")` and is run once for every column of that row, with `cell` telling which. What
`cannot` be is run too, and must fail: a release that learns it is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from build import RELEASES

WAYS = FROM_GO, FROM_PYTHON = "from Go", "from Python"
V1, V118, V2, V4 = RELEASES
MUCP = (V1, V118, V4)
CONSUL = (V1, V118)
"""Those whose registry for Consul can be had."""
JSON, PROTOBUF, BYTES = "application/json", "application/protobuf", "application/octet-stream"

NO_DEBUG = "The release does not serve the Debug endpoints"
SILENT = "The release's server fails to write an error in octet-stream: whoever calls it waits for the timeout"
MUTE = "The release's client fails to read any error in octet-stream, and says that instead"
FULL = "The release's client cannot send no bytes"
DEAF = "The release tells a handler that only sends nothing of a client that left, its own included"
IN_TURN = "Each after the reply to the one before, since the release garbles streams that are faster"
CAMEL = (
    "The release's gRPC client writes JSON with names like `countTo` and quoted int64, which messages of protobuf read"
)
QUOTED = "The release's gRPC server quotes int64 in JSON"
FRAMES = "As `application/grpc+bytes`; the handler takes `*[]byte`"
NO_CODE = "gRPC has no error without a code: UNKNOWN is read as 500"
UNIMPLEMENTED = "404 with gRPC's own name for it; what is no Type.Method the release's client refuses by itself"
NO_TYPE = "501, as gRPC has it; the release's server takes a content type that it does not know for protobuf, and fails"
ASCII = "gRPC carries ASCII alone: `base64.b64encode` what is not, under a name that ends in `-bin`"
AS_TEXT = "The release's client gives the error of a stream as gRPC's text, without code and id"
CANCELS = "The release's client cancels as it closes: the handler's `recv` raises 499, or sees an end that was quicker"
CANCELLED = "Ours cancels what it leaves before its end: the release's handler reads an error instead of the end"
IPV4 = "Releases before 2.3 read IPv4 addresses alone, and v1.1.0 has no others"
PACED = "20 ms between messages: the release garbles streams that are faster, whoever reads them"


@dataclass(frozen=True)
class Cell:
    """One row for one release in one direction."""

    row: str
    release: str
    direction: str

    @property
    def mesh(self) -> str:
        """The registry between the two, where there is one."""
        return self.row.partition(":")[0]

    @property
    def codec(self) -> str:
        """The content type of its row."""
        return ROWS[self.row].codec

    def __str__(self) -> str:
        return f"{self.row}, {self.direction}, {self.release}"


Key = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """One feature.

    Attributes:
        codec: the content type that it is tried in.
        releases: that it is tried with.
        notes: by release and direction, what is different there.
        cannot: by release and direction, why it cannot be.
        directions: that it has.
    """

    codec: str = JSON
    releases: tuple[str, ...] = RELEASES
    notes: Mapping[Key, str] = field(default_factory=dict)
    cannot: Mapping[Key, str] = field(default_factory=dict)
    directions: tuple[str, ...] = WAYS

    def columns(self) -> Iterator[Key]:
        """Release and direction of its cells."""
        return ((release, direction) for release in self.releases for direction in self.directions)


ROWS: dict[str, Row] = {
    "unary, JSON": Row(notes={(V2, FROM_GO): CAMEL, (V2, FROM_PYTHON): QUOTED}),
    "unary, JSON of plain types": Row(notes={(V2, FROM_PYTHON): QUOTED}),
    "unary, protobuf": Row(PROTOBUF),
    "unary, json-rpc": Row("application/json-rpc", MUCP),
    "unary, proto-rpc": Row("application/proto-rpc", MUCP),
    "a node that does not say its protocol": Row(releases=MUCP),
    "unary, octet-stream": Row(BYTES, notes=dict.fromkeys([(V2, way) for way in WAYS], FRAMES)),
    "empty request and reply, JSON": Row(),
    "empty request and reply, protobuf": Row(PROTOBUF),
    "empty request and reply, octet-stream": Row(BYTES, cannot={(V1, FROM_GO): FULL, (V118, FROM_GO): FULL}),
    "bodies of 1 MiB, JSON": Row(),
    "bodies of 1 MiB, protobuf": Row(PROTOBUF),
    "bodies of 1 MiB, octet-stream": Row(BYTES),
    "errors: id, code, detail, status": Row(),
    "errors in octet-stream": Row(
        BYTES,
        cannot={(release, way): SILENT if way == FROM_PYTHON else MUTE for release in MUCP for way in WAYS},
    ),
    "an error that is only a text": Row(notes={(V2, FROM_PYTHON): NO_CODE}),
    "unknown service, endpoint, content type": Row(
        notes={(V2, FROM_GO): UNIMPLEMENTED, (V2, FROM_PYTHON): NO_TYPE},
    ),
    "metadata": Row(notes={(V2, FROM_PYTHON): ASCII}),
    "a deadline that expires": Row(),
    "server streaming": Row(notes={(V4, FROM_PYTHON): PACED}),
    "bidirectional streaming": Row(notes={(V2, FROM_GO): CANCELS}),
    "server error in mid-stream": Row(notes={(V4, FROM_PYTHON): PACED, (V2, FROM_GO): AS_TEXT}),
    "client close in mid-stream": Row(notes={(V2, FROM_GO): CANCELS, (V2, FROM_PYTHON): CANCELLED}),
    "client close in mid-stream, server streaming": Row(cannot={(V118, FROM_PYTHON): DEAF, (V4, FROM_PYTHON): DEAF}),
    "1,000 messages each way": Row(notes={(V4, FROM_PYTHON): IN_TURN}),
    "Debug.Health, Debug.Stats": Row(notes={(V2, FROM_PYTHON): QUOTED}, cannot={(V4, FROM_PYTHON): NO_DEBUG}),
    **{
        f"{mesh}: {title}": replace(row, releases=releases)
        for mesh, releases in (("Consul", CONSUL), ("mDNS", RELEASES))
        for title, row in {
            "found and called": Row(),
            "list, get": Row(),
            "watch create, update, delete": Row(),
            "a killed process": Row(),
            "events, broadcast": Row(notes={(V2, FROM_GO): CAMEL}),
            "events, queue": Row(notes={(V2, FROM_GO): CAMEL}),
            "events, protobuf": Row(PROTOBUF),
        }.items()
    },
    "mDNS: a node at an IPv6 address": Row(
        cannot={(V1, FROM_GO): IPV4, (V1, FROM_PYTHON): IPV4, (V118, FROM_GO): IPV4}
    ),
    "mDNS: a mixed mesh": Row(directions=(FROM_PYTHON,)),
    "mDNS: 100 graceful restarts under calls": Row(releases=(V118, V4), directions=(FROM_GO,)),
}


def through(*titles: str) -> tuple[str, ...]:
    """These rows for every registry."""
    return tuple(f"{mesh}: {title}" for mesh in ("Consul", "mDNS") for title in titles)


def cells(*rows: str) -> pytest.MarkDecorator:
    """The cells of these rows, as parameters of a test."""
    return pytest.mark.parametrize("cell", [parameter for row in rows for parameter in _parameters(row)])


def _parameters(title: str) -> Iterator[object]:
    row = ROWS[title]
    for release, direction in row.columns():
        marks = []
        if (release, direction) in row.cannot:
            marks.append(pytest.mark.xfail(reason=row.cannot[release, direction], raises=AssertionError, strict=True))
        yield pytest.param(Cell(title, release, direction), id=f"{title}-{release}-{direction}", marks=marks)
