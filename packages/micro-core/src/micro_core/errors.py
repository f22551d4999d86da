"""Every error of Go Micro for Python, in one tree.

    MicroError
    ├── ConfigurationError        what a person wrote is wrong; commands end with exit code 2
    │   ├── OptionError           an option: unknown, or a value that cannot be read
    │   └── PluginError           a plugin that was chosen cannot be had
    │       ├── UnknownPlugin     nothing of that name is installed
    │       ├── AmbiguousPlugin   several distributions claim the name
    │       └── BrokenPlugin      it is there, but cannot be imported or is not what it says
    ├── NotRegistered             a registry has no record of that name
    ├── RegistryUnavailable       the registry does not answer
    ├── BrokerUnavailable         the broker does not take or give events
    ├── UnsupportedType           a codec cannot carry that Python type
    ├── UnsupportedContentType    no installed codec for that content type
    ├── DecodeError               bytes that are not what the type asks for
    ├── EndOfStream               the peer ended its side of a stream
    ├── TransportError            bytes did not get across; knows whether the call may have been processed
    └── RPCError                  a call failed: id, code, detail, status, as on Go Micro's wire
        ├── BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · MethodNotAllowed 405 · Timeout 408
        ├── Conflict 409 · Gone 410 · PreconditionFailed 412 · PayloadTooLarge 413 · UnsupportedMediaType 415
        ├── UnprocessableEntity 422 · TooManyRequests 429 · InternalServerError 500 · NotImplementedByServer 501
        ├── BadGateway 502 · ServiceUnavailable 503 · GatewayTimeout 504
        └── ServiceNotFound 503   no node of that service could be found; never from the wire

Plugins raise the upper half and let no foreign exception out. Handlers raise the classes under `RPCError`, or their own
under these, whose annotations are fields that cross the wire (`micro_core.details`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from micro_core.details import assign, field_names


class Reset(Enum):
    """Why an exchange was cut short."""

    CANCELLED = "cancelled"
    """This side gave up."""
    DEADLINE = "deadline"
    GONE = "gone"
    """The peer or its connection disappeared."""
    REFUSED = "refused"
    """Surely not processed: a dial that failed, HTTP/2 REFUSED_STREAM, GOAWAY."""
    PROTOCOL = "protocol"
    """The peer broke the protocol, or a limit of a stream."""
    LIMIT = "limit"
    """The reply is over a limit of this side, and would be again."""


class Outcome(Enum):
    """How an attempt ended, as far as the caller can know."""

    OK = "ok"
    ANSWERED = "answered"
    """An error that the handler or the framework at the other end sent, or a reply over a limit of this side."""
    NOT_PROCESSED = "not_processed"
    UNKNOWN = "unknown"
    """Bytes left, no answer came: the call may or may not have been processed."""
    CANCELLED = "cancelled"


class MicroError(Exception):
    """The root of the tree."""


class ConfigurationError(MicroError):
    """Something that a person wrote is wrong; the text says what, where it was read and how to mend it."""


class OptionError(ConfigurationError):
    """An unknown option, or a value that cannot be read."""


class PluginError(ConfigurationError):
    """A plugin that was chosen cannot be had."""


class UnknownPlugin(PluginError):
    """Nothing of that name is installed; the text lists what is."""


class AmbiguousPlugin(PluginError):
    """Several distributions claim the name; the text lists them and the `name@distribution` way out."""


class BrokenPlugin(PluginError):
    """The plugin is installed, but cannot be imported, answers no hook, or is not of its kind."""


class NotRegistered(MicroError):
    """A registry has no record of that name."""


class RegistryUnavailable(MicroError):
    """The registry does not answer."""


class BrokerUnavailable(MicroError):
    """The broker did not accept an event, or cannot be reached."""


class UnsupportedType(MicroError):
    """A codec cannot carry that Python type."""


class UnsupportedContentType(MicroError):
    """No installed codec answers to that content type; the text names the ones that are."""


class DecodeError(MicroError):
    """Bytes that are not what the type asks for; the text names the path where they differ."""


class EndOfStream(MicroError):
    """The peer ended its side of the stream, in good order."""


class TransportError(MicroError):
    """Bytes did not get across.

    Attributes:
        reason: what happened.
        processed: False when no handler can have seen the call, so that it may be tried elsewhere whatever it does;
            True when one may have, and the outcome is unknown.
    """

    def __init__(self, detail: str, reason: Reset, *, processed: bool) -> None:
        super().__init__(detail)
        self.reason = reason
        self.processed = processed

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles with its reason."""
        return (_transport_error, (str(self), self.reason, self.processed))


def _transport_error(detail: str, reason: Reset, processed: bool) -> TransportError:
    return TransportError(detail, reason, processed=processed)


def _field(*, default: Any = ..., kw_only: bool = True, init: bool = True) -> Any:
    """For type checkers: an argument that every error takes."""


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(_field,))
class _Typed:
    """Lets type checkers see the arguments of a user's error class: those of RPCError, then its own fields."""


class RPCError(MicroError, _Typed):
    """A call failed. The four fields are Go Micro's (`errors/errors.go`); the rest is known on the caller's side alone.

    A subclass declares what its callers should know as annotations, `email: str`, and is given them by name; a caller
    who names the class gets them back. Callers who do not see the class of the code, with `type_name` and `details`.

    Attributes:
        id: who says so: the name of a service, or `go.micro.client`. A server fills in its own when it is empty.
        code: an HTTP status number.
        detail: what happened, for a person.
        status: the phrase of the code.
        outcome: whether the call was answered, surely not processed, or neither is known.
        service, endpoint: what was called; empty where the error was made by a handler.
        node: id of the last node tried, or None when there was none.
        attempts: how many nodes were tried.
        elapsed: seconds from the call to this error.

    Raises TypeError for a field that the class does not have, or that it needs and was not given.
    """

    default_code: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    __micro_details__: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:
        detail: str = _field(default="", kw_only=False)
        id: str = _field(default="")
        code: int = _field(default=0)
        status: str = _field(default="")

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if cls.__module__ != __name__:
            names = (*cls.__micro_details__, *field_names(cls, _RESERVED))
            cls.__micro_details__ = tuple(dict.fromkeys(names))

    def __init__(
        self, detail: str = "", *, id: str = "", code: int | None = None, status: str | None = None, **details: Any
    ) -> None:
        super().__init__(detail)
        self.id = id
        self.code = self.default_code if code is None else code
        self.detail = detail
        self.status = phrase(self.code) if status is None else status
        self.outcome = Outcome.ANSWERED
        self.service = ""
        self.endpoint = ""
        self.node: str | None = None
        self.attempts = 0
        self.elapsed = 0.0
        names = self.__micro_details__
        if details or names:
            assign(self, names, details, complete=type(self).__init__ is RPCError.__init__)

    @property
    def type_name(self) -> str:
        """The name of the class that a user made, here or at the server; empty where the code says all."""
        kind = type(self)
        if kind.__module__ != __name__:
            return kind.__name__
        name: str = self.__dict__.get("_type_name", "")
        return name

    @property
    def details(self) -> Mapping[str, Any]:
        """The fields of such a class; as they came, unchecked, where the caller did not name it."""
        if type(self).__module__ != __name__:
            return {name: getattr(self, name) for name in self.__micro_details__ if hasattr(self, name)}
        came: Mapping[str, Any] = self.__dict__.get("_details", {})
        return came

    def __str__(self) -> str:
        """The code and detail; on the caller's side also what was called, where, how often and for how long."""
        head = f"{self.code} {self.status}".strip() if self.code else self.status
        text = ": ".join(part for part in (head, self.detail) if part)
        return f"{text} ({self._circumstances()})" if self.service else text

    def _circumstances(self) -> str:
        node = f" at {self.node}" if self.node else ""
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        outcome = self.outcome.value.replace("_", " ")
        return f"{self.service} {self.endpoint}{node}, {tries}, {self.elapsed:.3f} s, {outcome}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles with everything the caller knows, so that errors cross process pools."""
        return (_revive, (type(self), self.__dict__.copy()))


def _revive(kind: type[RPCError], state: dict[str, Any]) -> RPCError:
    error = kind.__new__(kind, state["detail"])
    error.__dict__.update(state)
    return error


_GO_PHRASES = {
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    416: "Requested Range Not Satisfiable",
    418: "I'm a teapot",
    422: "Unprocessable Entity",
}
"""Where Go's texts are others than those of some release of Python."""


def phrase(code: int) -> str:
    """The phrase of an HTTP status number as Go has it, or an empty text for a number that has none."""
    try:
        return _GO_PHRASES.get(code) or HTTPStatus(code).phrase
    except ValueError:
        return ""


class BadRequest(RPCError):
    """400: the request cannot be understood."""

    default_code = 400


class Unauthorized(RPCError):
    """401: no or wrong credentials."""

    default_code = 401


class Forbidden(RPCError):
    """403: not allowed to this caller."""

    default_code = 403


class NotFound(RPCError):
    """404: the thing asked for is not there; also an endpoint that the service does not have."""

    default_code = 404


class MethodNotAllowed(RPCError):
    """405: not in this way."""

    default_code = 405


class Timeout(RPCError):
    """408: the deadline passed."""

    default_code = 408


class Conflict(RPCError):
    """409: at odds with what is there."""

    default_code = 409


class Gone(RPCError):
    """410: it was there once."""

    default_code = 410


class PreconditionFailed(RPCError):
    """412: a condition of the caller does not hold."""

    default_code = 412


class PayloadTooLarge(RPCError):
    """413: over the limit for a message."""

    default_code = 413


class UnsupportedMediaType(RPCError):
    """415: no codec for that content type here."""

    default_code = 415


class UnprocessableEntity(RPCError):
    """422: well formed, but makes no sense."""

    default_code = 422


class TooManyRequests(RPCError):
    """429: the caller asks too often."""

    default_code = 429


class InternalServerError(RPCError):
    """500: the handler failed."""

    default_code = 500


class NotImplementedByServer(RPCError):
    """501: known, but not built."""

    default_code = 501


class BadGateway(RPCError):
    """502: something behind the service answered nonsense."""

    default_code = 502


class ServiceUnavailable(RPCError):
    """503: not now."""

    default_code = 503


class GatewayTimeout(RPCError):
    """504: something behind the service did not answer in time."""

    default_code = 504


class ServiceNotFound(ServiceUnavailable):
    """No node of the service is known; nothing was sent. The text says where was looked."""

    def __init__(self, detail: str = "", *, id: str = "go.micro.client") -> None:
        super().__init__(detail, id=id)
        self.outcome = Outcome.NOT_PROCESSED


_BY_CODE: dict[int, type[RPCError]] = {kind.default_code: kind for kind in RPCError.__subclasses__()}
_RESERVED = frozenset({*RPCError("").__dict__, *dir(RPCError)})


def from_wire(
    detail: str,
    *,
    id: str = "",
    code: int = 0,
    status: str | None = None,
    type_name: str = "",
    details: Mapping[str, Any] = MappingProxyType({}),
) -> RPCError:
    """The error that a reply describes, as the class of its code; a code without a class gives a plain `RPCError`.

    What the server said of a class of its own is kept in `type_name` and `details`, for `micro_core.revival`.
    """
    kind = _BY_CODE.get(code, RPCError)
    error = kind(detail, id=id, code=code, status=phrase(code) if status is None else status)
    if type_name:
        error.__dict__.update(_type_name=type_name, _details=dict(details))
    return error
