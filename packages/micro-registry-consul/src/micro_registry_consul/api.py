"""python-consul2 over a client of ours: its endpoints and answers, our connections.

The library's own clients block, or know asyncio alone, or cannot be cancelled. Its endpoint classes return whatever
`http.get` and `http.put` return, so a client whose methods are coroutines makes them awaitable. Every failure comes out
as one of the library's exceptions; `client.py` translates them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpcore
from consul import base  # type: ignore[import-untyped]
from micro_core import ConfigurationError, OptionError

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer."""

_INDEX = "X-Consul-Index"
_FILTERED = b"x-consul-results-filtered-by-acls"


class Unreachable(base.ConsulException):  # type: ignore[misc]
    """No answer, or none that is Consul's: another agent may be asked."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an agent listens."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def read_address(text: str, *, tls: bool) -> Address:
    """An agent's address from `host`, `host:port` or a URL of either. Raises OptionError."""
    url = text if "://" in text else f"{'https' if tls else 'http'}://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OptionError(f"the address {text!r} of a Consul agent cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise OptionError(f"expected host:port or http(s)://host:port as address of a Consul agent, not {text!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise OptionError(f"the address {text!r} of a Consul agent has a path; its API is served at /v1 alone")
    return Address(parts.scheme, parts.hostname, port or (8501 if parts.scheme == "https" else 8500))


def tls_context(ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    """A verifying context. Raises ConfigurationError when a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file:
            context.load_cert_chain(cert_file, key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = ", ".join(file for file in (ca_file, cert_file, key_file) if file)
        raise ConfigurationError(f"registry 'consul': the certificates in {files} cannot be used: {error}") from None
    return context


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint gave back, and whether Consul left out what the token may not read."""

    value: Any
    filtered: bool


class HTTPClient(base.HTTPClient):  # type: ignore[misc]
    """The library's HTTP client interface, as coroutines over a pool of connections."""

    def __init__(self, address: Address, pool: httpcore.AsyncConnectionPool, sni: str, *, stale: bool) -> None:
        super().__init__(address.host, address.port, address.scheme)
        self._address = address
        self._pool = pool
        self._extensions = {"sni_hostname": sni} if sni else {}
        self._stale = [("stale", "")] if stale else []

    async def get(self, callback: Any, path: str, params: Any = None, headers: Any = None) -> Answer:
        """As in the library, with the answer wrapped."""
        return await self._ask("GET", callback, path, [*(params or ()), *self._stale], headers)

    async def put(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Answer:
        """As in the library, with the answer wrapped."""
        return await self._ask("PUT", callback, path, params, headers, data)

    async def delete(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Answer:
        """As in the library, with the answer wrapped."""
        return await self._ask("DELETE", callback, path, params, headers, data)

    async def post(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Answer:
        """As in the library, with the answer wrapped."""
        return await self._ask("POST", callback, path, params, headers, data)

    async def _ask(
        self,
        method: str,
        callback: Callable[[Any], Any],
        path: str,
        params: Iterable[tuple[str, str]] | None,
        headers: Mapping[str, str] | None,
        data: str = "",
    ) -> Answer:
        target = quote(path, safe="/:")
        if params:
            target = f"{target}?{urlencode(list(params))}"
        try:
            status, answered, body = await self._exchange(method, target, headers or {}, data.encode("utf-8"))
        except httpcore.LocalProtocolError:  # its text holds what was to be sent, tokens too
            raise Unreachable("the request cannot be sent as HTTP") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise Unreachable(_reason(error)) from None
        return self._read(callback, status, answered, body)

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        address = self._address
        url = httpcore.URL(
            scheme=address.scheme.encode(), host=address.host.encode("idna"), port=address.port, target=target.encode()
        )
        body = bytearray()
        async with self._pool.stream(
            method, url, headers=[*headers.items()], content=content, extensions=self._extensions
        ) as response:
            async for part in response.aiter_stream():
                body += part
                if len(body) > MAX_ANSWER:
                    raise Unreachable(f"it answers with more than {MAX_ANSWER} bytes")
        return response.status, {name.lower(): value for name, value in response.headers}, bytes(body)

    def _read(self, callback: Callable[[Any], Any], status: int, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        index = headers.get(_INDEX.lower().encode(), b"0").decode("latin-1")
        text = body.decode("utf-8", "replace")
        if status >= 300 and not 400 <= status < 600:
            raise Unreachable(f"it answers with status {status}, which Consul does not")
        try:
            value = callback(base.Response(status, {_INDEX: index}, text[:500] if status >= 400 else text, body))
        except (ValueError, RecursionError):
            raise Unreachable("its answer is no JSON") from None
        return Answer(value, headers.get(_FILTERED, b"").lower() == b"true")


def _reason(error: BaseException) -> str:
    """What happened; some back ends say it in the cause alone."""
    cause: BaseException | None = error
    while cause is not None:
        if str(cause):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


class Api(base.Consul):  # type: ignore[misc]
    """The endpoints of one agent that this registry uses. Their methods return coroutines of `Answer`."""

    def __init__(self, http: HTTPClient, datacenter: str) -> None:
        # Not the base's constructor, in which CONSUL_HTTP_* of the environment win over every argument.
        self.http = http
        self.token = None
        self.dc = datacenter or None
        self.consistency = "default"
        self.agent = base.Consul.Agent(self)
        self.catalog = base.Consul.Catalog(self)
        self.health = base.Consul.Health(self)
        self.status = base.Consul.Status(self)
