"""The bytes of the HTTP broker, as Go Micro from v2.5 on sends and reads them (WIRE §6, §7), and what we add.

A subscriber is a registry record of service `micro.http.broker` whose version is its queue, or `ff.http.broadcast`; its
node's metadata says `broker=http`, `secure=true` where it is posted to by TLS, and the topic; what was before v2.5 is
told in `releases`. An event is a POST to it:

    POST /?id=<node id>        {"Header": {"Content-Type": …, "Micro-Topic": …, "Micro-Id": …}, "Body": "<base64>"}

Go's JSON reader takes keys in any case; header names inside `Header` are taken as they are, and releases differ in
`Micro-Id` and `Micro-ID`, so names are lower-case here as everywhere. Go answers 200 and an empty body whatever its
handlers did, also for an id or topic that it does not know, 405 (whose body says 400) for another method, 500 and an
error's JSON for a body that is not as above. Its publishers ignore the status.

Between our own nodes, told by `micro-py` in the node's metadata and in the request's head, the status is the ack:

    200  a handler has acknowledged the event
    202  a handler is at work on it still; the same POST asks again, and joins it
    404  the subscription is closed for good, 503 it takes no more now: nothing was done, another member may have it
    500  the handler failed; `micro-redeliver-after` holds the seconds that it asked for by `nack`
    400, 405, 413, 414 and the like: it will never be taken

`micro-attempt` counts the deliveries, `micro-wait` says after how many seconds the publisher wants an answer.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, quote_plus

import msgspec
from micro_core import Head, Message
from micro_core.errors import phrase
from micro_messaging import check_topic

BROADCAST = "ff.http.broadcast"
OWN = "micro-py"
OWN_VERSION = "0.1"
SINCE = "micro-since"
TLS_NAME = "micro-tls-name"
TOPIC = "micro-topic"
OLD_TOPIC = ":topic"
ATTEMPT = "micro-attempt"
WAIT = "micro-wait"
AFTER = "micro-redeliver-after"

_LONGEST_DETAIL = 500
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_TOPICS = (TOPIC, OLD_TOPIC)
_HEADERS = 100
_HEADER_BYTES = 16 * 1024


class BadEvent(Exception):
    """A POST that is no event; `reply` is what its sender gets."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.reply = refusal(status, detail)


def check_head(head: Head) -> None:
    """Raises ValueError for what no subscriber would take: control characters, too many or too long headers."""
    if len(head) > _HEADERS - 2 or sum(len(name) + len(value) for name, value in head.items()) > _HEADER_BYTES - 1280:
        raise ValueError(f"the head of an event is over the limit of {_HEADERS} entries or {_HEADER_BYTES} bytes")
    for name, value in head.items():
        if _CONTROLS.search(name) or _CONTROLS.search(value):
            raise ValueError(f"the head of an event cannot hold control characters: {name!r}")


def encode_event(message: Message, topic_header: str = "Micro-Topic") -> bytes:
    """The JSON that Go reads, with the topic under the name that its release looks for. Pseudo headers stay behind."""
    header = {_canonical(name): value for name, value in message.head.items() if not name.startswith(":")}
    header[topic_header] = message.head[TOPIC]
    return msgspec.json.encode({"Header": header, "Body": message.body})


def decode_event(body: bytes, limit: int) -> Message:
    """The event in a POST; its head has lower-case names and holds `micro-topic`. Raises BadEvent."""
    fields = _fields(body)
    head = _head(fields.get("header"))
    topic = head.pop(OLD_TOPIC, "") or head.get(TOPIC)
    if not topic:
        raise BadEvent(500, "Topic not found")
    head[TOPIC] = topic
    try:
        check_topic(topic)
    except ValueError as error:
        raise BadEvent(500, f"Error parsing request body: {error}") from None
    return Message(head, _body(fields.get("body"), limit))


def _fields(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(500, f"Error parsing request body: {error}") from None
    if not isinstance(found, dict):
        raise BadEvent(500, "Error parsing request body: it is no JSON object")
    return {name.lower(): value for name, value in found.items()}


def _head(found: object) -> Head:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadEvent(500, "Error parsing request body: Header is no object of texts")
    if len(found) > _HEADERS or sum(len(name) + len(value) for name, value in found.items()) > _HEADER_BYTES:
        raise BadEvent(413, f"Header is over the limit of {_HEADERS} entries or {_HEADER_BYTES} bytes")
    lower = {name.lower(): value for name, value in found.items() if not _CONTROLS.search(name)}
    return {name: value if name in _TOPICS else _CONTROLS.sub(" ", value) for name, value in lower.items()}


def _body(found: object, limit: int) -> bytes:
    if found is None:
        return b""
    if not isinstance(found, str):
        raise BadEvent(500, "Error parsing request body: Body is no text")
    if len(found) // 4 * 3 > limit + 2:
        raise BadEvent(413, f"Body is over the limit of {limit} bytes")
    try:
        body = base64.b64decode(found.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEvent(500, f"Error parsing request body: {error}") from None
    if len(body) > limit:
        raise BadEvent(413, f"Body is over the limit of {limit} bytes")
    return body


def refusal(status: int, detail: str, *, code: int | None = None) -> Message:
    """A reply with Go's error JSON; for a wrong method Go's status and code differ."""
    code = status if code is None else code
    error = {"id": "go.micro.broker", "code": code, "detail": detail, "status": phrase(code)}
    text = json.dumps(error, ensure_ascii=False, separators=(",", ":"))
    body = text.encode(errors="replace")
    return Message({":status": str(status), "content-type": "text/plain; charset=utf-8"}, body)


def refusal_detail(reply: Message) -> str:
    """What a refusal says, cut short: the detail of Go's error JSON, or the body as it is."""
    try:
        detail = msgspec.json.decode(reply.body)["detail"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        detail = bytes(reply.body[:_LONGEST_DETAIL]).decode(errors="replace")
    return str(detail)[:_LONGEST_DETAIL]


def accepted(status: int = 200) -> Message:
    """A reply without a body."""
    return Message({":status": str(status)})


def request_path(node_id: str, path: str = "/") -> str:
    """Where events for a node are posted."""
    return f"{path}?id={quote_plus(node_id)}"


def posted_id(path: str) -> str:
    """The node id of a POST's path, empty where there is none."""
    try:
        return parse_qs(path.partition("?")[2], max_num_fields=20, errors="replace").get("id", [""])[0]
    except ValueError:
        return ""


def seconds(head: Mapping[str, str], name: str) -> float | None:
    """A header of seconds; None where it is missing, not a number, or out of any reason."""
    try:
        value = float(head.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and 0.0 <= value <= 86_400.0 else None


@lru_cache(maxsize=1024)
def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))
