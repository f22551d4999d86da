"""Requests to the first of several agents that answers, with deadlines, a token and a pace."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import httpcore
from consul import base  # type: ignore[import-untyped]
from micro_core import Clock, OptionError, RegistryUnavailable, Secret

from micro_registry_consul.api import Address, Answer, Api, HTTPClient, Unreachable, tls_context
from micro_registry_consul.pace import Gate, Kind, Pace

log = logging.getLogger("micro.registry.consul")

MAX_BLOCKING = 128
"""Connections held by queries that wait for a change; an agent allows a client 200 connections."""

MAX_OTHERS = 16

PATIENCE = 2.0
"""Seconds that a caller waits for its turn while Consul fails."""

KEEP_ALIVE = 30.0
"""Seconds that an idle connection is kept."""

NO_DATACENTER = "No path to datacenter"
"""What an agent answers to a query for a datacenter that it does not know."""

CLOSE = 1.0
"""Seconds that closing may take."""


@dataclass(frozen=True, slots=True)
class Access:
    """How agents are reached: the options of the registry that concern connections."""

    addresses: tuple[Address, ...]
    datacenter: str
    token: Secret | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    server_name: str
    timeout: float


Ask: TypeAlias = Callable[[Api, str | None], Awaitable[Answer]]


class Silent(RegistryUnavailable):
    """No agent gave an answer of Consul's."""


class Client:
    """A client of Consul's HTTP API. A cancelled request leaves nothing behind.

    Raises of its methods: RegistryUnavailable when no agent gave an answer that can be used, and when it was not yet
    the caller's turn to ask again.
    """

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self.pace = Pace(clock)
        self._current = 0
        self._told = ""
        self._filtered = False
        context = tls_context(access.ca_file, access.cert_file, access.key_file) if self._secure else None
        self._pools = [
            httpcore.AsyncConnectionPool(context, max_connections=size, keepalive_expiry=KEEP_ALIVE)
            for size in (MAX_OTHERS, MAX_BLOCKING)
        ]
        self._reads, self._blocking = (
            [self._api(address, pool) for address in access.addresses] for pool in self._pools
        )
        self._stale = [self._api(address, self._pools[0], stale=True) for address in access.addresses]

    @property
    def _secure(self) -> bool:
        return any(address.scheme == "https" for address in self._access.addresses)

    def _api(self, address: Address, pool: httpcore.AsyncConnectionPool, *, stale: bool = False) -> Api:
        return Api(HTTPClient(address, pool, self._access.server_name, stale=stale), self._access.datacenter)

    async def close(self) -> None:
        """Closes every connection, also when cancelled."""
        with anyio.move_on_after(CLOSE, shield=True):
            for pool in self._pools:
                await pool.aclose()

    @property
    def address(self) -> Address:
        """Of the agent that is asked first."""
        return self._access.addresses[self._current]

    async def write(self, call: Ask) -> Any:
        """The answer to a request that changes something: True, or False where there is no such thing."""
        return (await self._request(Kind.WRITE, self._reads, call, self._access.timeout)).value

    async def ask_agent(self, call: Ask) -> Any:
        """The answer to a question before a change, among the changes; that it succeeds says nothing of those."""
        return (await self._request(Kind.WRITE, self._reads, call, self._access.timeout, opens=False)).value

    async def check_datacenter(self) -> None:
        """Raises RegistryUnavailable when a datacenter was chosen that the agent does not know."""
        chosen = self._access.datacenter

        async def known(api: Api, token: str | None) -> Answer:
            answer: Answer = await api.catalog.datacenters()
            if not isinstance(answer.value, list) or chosen not in answer.value:
                raise base.ConsulException(NO_DATACENTER)
            return answer

        if chosen:
            await self.ask_agent(known)

    async def read(self, call: Ask, limit: float) -> Any:
        """The answer to a query in `stale` mode within so many seconds, at most half of them before its turn."""
        began = self._clock()
        with _patience(limit / 2, self.pace.gates[Kind.READ]):
            held = await self.pace.enter(self.pace.gates[Kind.READ])
        return (await self._send(Kind.READ, self._stale, call, began + limit - self._clock(), held=held)).value

    async def read_exactly(self, call: Ask) -> Any:
        """The answer to a query."""
        return (await self._request(Kind.READ, self._reads, call, self._access.timeout)).value

    async def block(self, call: Ask, wait: float, *, in_turn: bool) -> Answer:
        """The answer to a query that may wait so many seconds for a change.

        It waits for its turn as long as it takes; `in_turn` says that the caller has done so already.
        """
        timeout = wait * (1 + 1 / 16) + self._access.timeout  # Consul waits up to a sixteenth longer
        held = False if in_turn else await self.pace.enter(self.pace.gates[Kind.READ])
        return await self._send(Kind.READ, self._blocking, call, timeout, held=held)

    async def _request(self, kind: Kind, apis: list[Api], call: Ask, timeout: float, *, opens: bool = True) -> Answer:
        with _patience(PATIENCE, self.pace.gates[kind]):
            held = await self.pace.enter(self.pace.gates[kind])
        return await self._send(kind, apis, call, timeout, held=held, opens=opens)

    async def _send(
        self, kind: Kind, apis: list[Api], call: Ask, timeout: float, *, held: bool, opens: bool = True
    ) -> Answer:
        gate = self.pace.gates[kind]
        try:
            answer = await self._somewhere(apis, call, timeout, once=bool(gate.trouble))
        except RegistryUnavailable as error:
            self.pace.failed(gate, str(error), silent=isinstance(error, Silent))
            self._tell(str(error))
            raise
        finally:
            if held:
                gate.lock.release()
        if (opens and answer.value is not False) or gate.silent:
            self.pace.succeeded(gate)
        self._succeeded(answer)
        return answer

    async def _somewhere(self, apis: list[Api], call: Ask, timeout: float, *, once: bool) -> Answer:
        for left in reversed(range(1 if once else len(apis))):
            at = self._current
            try:
                return await self._attempt(apis[at], call, timeout)
            except Unreachable as error:
                trouble = f"the Consul agent at {self._access.addresses[at]} does not answer: {error}"
                if self._current == at:
                    self._current = (at + 1) % len(apis)
                if not left:
                    raise Silent(trouble) from None
            except base.ConsulException as error:
                raise RegistryUnavailable(self._refusal(at, error)) from None
        raise RegistryUnavailable("no address of a Consul agent is known")

    async def _attempt(self, api: Api, call: Ask, timeout: float) -> Answer:
        token = self._token()
        try:
            return await _within(timeout, call(api, token))
        except (base.ACLDisabled, base.ACLPermissionDenied):
            if self._access.token is None:
                raise
            self._access.token.forget()
            again = self._token()
            if again == token:
                raise
        log.info("the token for Consul was refused, and another stands in its file: going on with that")
        return await _within(timeout, call(api, again))

    def _token(self) -> str | None:
        if self._access.token is None:
            return None
        try:
            token = self._access.token.reveal()
        except OptionError as error:
            raise RegistryUnavailable(str(error)) from None
        if not (token.isascii() and token.isprintable()):
            raise RegistryUnavailable("the token for Consul holds characters that no HTTP header may")
        return token or None

    def _refusal(self, at: int, error: Exception) -> str:
        address = self._access.addresses[at]
        said = " ".join(str(error).split())
        if NO_DATACENTER in said:
            cure = "set MICRO_REGISTRY_CONSUL_DATACENTER to one that `consul catalog datacenters` lists"
            return f"the Consul agent at {address} knows no datacenter {self._access.datacenter!r}: {cure}"
        if not isinstance(error, base.ACLDisabled | base.ACLPermissionDenied):
            return f"the Consul agent at {address} answers: {said}"
        token = "the token" if self._access.token else "requests without a token"
        cure = "set MICRO_REGISTRY_CONSUL_TOKEN or _TOKEN_FILE to one that may read and write services"
        return f"the Consul agent at {address} refuses {token} ({said}): {cure}"

    def _tell(self, trouble: str) -> None:
        if not self._told:
            log.warning("%s; going on with what is known", trouble)
        self._told = trouble

    def _succeeded(self, answer: Answer) -> None:
        if self._told and not any(gate.trouble for gate in self.pace.gates.values()):
            log.info("the Consul agent at %s answers again", self.address)
            self._told = ""
        if answer.filtered and not self._filtered:
            log.warning(
                "the Consul agent at %s leaves out what the token may not read, perhaps since its rights were revoked; "
                "going on with what is known",
                self.address,
            )
        self._filtered = self._filtered or answer.filtered


async def _within(timeout: float, answer: Awaitable[Answer]) -> Answer:
    try:
        with anyio.fail_after(timeout):
            return await answer
    except TimeoutError:
        raise Unreachable(f"nothing within {timeout:g} s") from None


@contextmanager
def _patience(seconds: float, gate: Gate) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise RegistryUnavailable(gate.trouble) from None
