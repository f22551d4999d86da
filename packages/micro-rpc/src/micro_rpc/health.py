"""`grpc.health.v1`: whether a service takes calls, for probes and load balancers that speak gRPC.

It is known by the name that it is registered under, by `<name>.<Type>` for each type that it serves, and by the empty
one. Served, never registered; an endpoint `Health.Check` or `Health.Watch` of the service's own takes its place. Two
messages of one field each, so no library of protobuf is needed.

    Check   SERVING, or NOT_FOUND for another service
    Watch   SERVING, then NOT_SERVING when the server begins to leave, which ends the stream; or SERVICE_UNKNOWN
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from micro_core import (
    Buffer,
    Call,
    Codec,
    Decode,
    DecodeError,
    Encode,
    Endpoint,
    Handler,
    Head,
    Reply,
    UnsupportedType,
)
from micro_core.errors import NotFound, UnsupportedMediaType

if TYPE_CHECKING:
    from micro_rpc.dialect import Dialect
    from micro_rpc.routing import Binding, Served

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
_NAMES = {SERVING: "SERVING", NOT_SERVING: "NOT_SERVING", SERVICE_UNKNOWN: "SERVICE_UNKNOWN"}


def bound(dialect: Dialect, served: Served, head: Head) -> Binding | None:
    """The binding of a request that asks for health; None for any other."""
    path = head.get(":path", "")
    if path not in (CHECK, WATCH) or dialect.route(served, head) in served.handlers:
        return None
    return served.kept(path, head, lambda content_type: _binding(served, path, content_type, dialect))


def _binding(served: Served, path: str, content_type: str, dialect: Dialect) -> Binding:
    from micro_rpc.routing import Binding

    codec = {"application/protobuf": _Protobuf, "application/json": _JSON}.get(dialect.payload(content_type) or "")
    if codec is None:
        raise UnsupportedMediaType(f"health is asked for in protobuf or JSON, not in {content_type}")
    health = Health(served)
    handle = health.watch if path == WATCH else health.check
    return Binding(Handler(Endpoint(path), str, int, path == WATCH, handle), content_type, codec())


class Health:
    """The two methods, for one listener."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def check(self, call: Call) -> Reply:
        """The status now. Raises NotFound for another service."""
        if not self._knows(call.request):
            raise NotFound(f"this is {self._served.service!r}, not {call.request!r}")
        return Reply(self._status())

    async def watch(self, call: Call) -> Reply:
        """The status now and when it changes, until the caller or the server leaves."""
        stream = call.stream
        assert stream is not None
        known = self._knows(await stream.recv())
        await stream.send(self._status() if known else SERVICE_UNKNOWN)
        await self._served.leaving.wait()
        if known:
            await stream.send(NOT_SERVING)
        return Reply()

    def _status(self) -> int:
        return NOT_SERVING if self._served.draining else SERVING

    def _knows(self, name: str) -> bool:
        served = self._served
        kinds = {f"{served.service}.{endpoint.rpartition('.')[0]}" for endpoint in served.listed}
        return name in ("", served.service) or name in kinds


def _check(type_: Any) -> None:
    if type_ is not int:
        raise UnsupportedType("a status of health is a number")


class _Protobuf(Codec):
    """HealthCheckRequest as its `service = 1`, HealthCheckResponse as its `status = 1`."""

    content_types = ("application/protobuf",)

    def encoder(self, type_: Any) -> Encode:
        _check(type_)
        return lambda status: bytes((8, status))

    def decoder(self, type_: Any) -> Decode:
        return _read_request


def _read_request(body: Buffer) -> str:
    """The last `service` counts; no field is longer than a byte can say, since no name is."""
    data, name, pos = bytes(body), b"", 0
    while pos < len(data):
        if data[pos] != 10 or pos + 1 >= len(data) or data[pos + 1] > 127 or pos + 2 + data[pos + 1] > len(data):
            raise DecodeError("this is no HealthCheckRequest")
        end = pos + 2 + data[pos + 1]
        name, pos = data[pos + 2 : end], end
    return name.decode("utf-8", "replace")


class _JSON(Codec):
    """The same as JSON."""

    content_types = ("application/json",)

    def encoder(self, type_: Any) -> Encode:
        _check(type_)
        return lambda status: json.dumps({"status": _NAMES[status]}).encode()

    def decoder(self, type_: Any) -> Decode:
        return _read_json


def _read_json(body: Buffer) -> str:
    try:
        name = json.loads(bytes(body) or b"{}").get("service", "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise DecodeError(f"this is no HealthCheckRequest: {error}") from None
    if not isinstance(name, str):
        raise DecodeError("this is no HealthCheckRequest: service is not a text")
    return name
