"""What the calls of one endpoint in one content type, with the same types, share: compiled once, looked up per call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro_core import (
    Call,
    Codec,
    Codecs,
    ConfigurationError,
    Decode,
    Encode,
    Head,
    UnsupportedContentType,
    UnsupportedType,
)
from micro_core.codec import content_type_of
from micro_core.errors import BadRequest

from micro_rpc.dialect import Dialect
from micro_rpc.dialects import dialect_for
from micro_rpc.wire import CLIENT_ID, bare, check_value, empty_body, nothing

_MOST = 4096


class Plan:
    """The head that every such call begins with, the functions for its values, and what its dialect knows of calls.

    `decode` is for what arrives, a reply or a message of a stream. `content_type` is what the call was planned for; its
    head may say another.
    """

    __slots__ = (
        "content_type",
        "decode",
        "dialect",
        "empty",
        "encode",
        "head",
        "metadata",
        "numbered",
        "pack",
        "refusal",
        "timeout",
        "timeout_header",
    )

    def __init__(self, call: Call, content_type: str, codec: Codec, dialect: Dialect) -> None:
        self.content_type = content_type
        self.dialect = dialect
        self.numbered = dialect.numbered
        self.timeout_header = dialect.timeout_header
        self.timeout = dialect.timeout
        self.metadata = dialect.metadata
        self.refusal = dialect.refusal
        self.pack = dialect.pack if dialect.wraps else None
        self.empty = empty_body(codec)
        self.encode: Encode = self._nothing if nothing(call.request_type) else codec.encoder(call.request_type)
        decode: Decode = _no_value if nothing(call.reply_type) else codec.decoder(call.reply_type)
        self.decode = _chain(dialect.unpack, decode) if dialect.wraps else decode
        self.head: Head = dialect.head(call, content_type)
        if call.caller:
            self.head["micro-from-service"] = call.caller
        for name, value in self.head.items():
            check_value(name, value)

    def _nothing(self, value: Any) -> bytes:
        return self.empty


def _chain(unpack: Callable[[bytes], bytes], decode: Decode) -> Decode:
    return lambda body: decode(unpack(bytes(body)))


def _no_value(body: object) -> None:
    return None


class Plans:
    """The plans of a client, at most 4,096 of them; types that cannot be hashed are compiled anew for each call."""

    __slots__ = ("_codecs", "_plans")

    def __init__(self, codecs: Codecs) -> None:
        self._codecs = codecs
        self._plans: dict[Any, Plan] = {}

    def get(self, call: Call, content_type: str) -> Plan:
        """The plan of a call, where no content type is given by its types. Raises BadRequest: it cannot be encoded."""
        key = (call.service, call.endpoint, content_type, call.request_type, call.reply_type, call.caller)
        try:
            plan = self._plans.get(key)
        except TypeError:
            return self._make(call, content_type)
        if plan is None:
            if len(self._plans) >= _MOST:
                self._plans.clear()
            plan = self._plans[key] = self._make(call, content_type)
        return plan

    def _make(self, call: Call, content_type: str) -> Plan:
        name = bare(content_type) or content_type_of(call.request_type, call.reply_type)
        dialect = dialect_for(name)
        try:
            return Plan(call, name, self._codecs(dialect.payload(name) or name), dialect)
        except (UnsupportedContentType, UnsupportedType, ConfigurationError, ValueError) as error:
            raise BadRequest(f"the call cannot be encoded: {error}", id=CLIENT_ID) from error
