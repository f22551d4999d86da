"""Real Consul agents on loopback, for tests and measurements: `python tools/consul/consul_agent.py` runs one."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
PATIENCE = 20.0
"""Seconds for an agent to be ready."""

REQUIRED = bool(os.environ.get("REQUIRE_CONSUL"))
"""Whether tests that need an agent fail without one, instead of being skipped."""

_NAMED = os.environ.get("CONSUL_BINARY", "")


def cached_binary() -> Path:
    """Where build.sh puts the binary."""
    sources = b"".join((HERE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "micro-python" / f"consul-1.16.3-{hashlib.sha256(sources).hexdigest()[:16]}" / "consul"


def find_binary() -> Path | None:
    """The binary that a variable names, the one in the cache, or one on the path."""
    if _NAMED:
        return Path(_NAMED)
    cached = cached_binary()
    if cached.exists():
        return cached
    found = shutil.which("consul")
    return Path(found) if found else None


def binary_for_tests() -> Path:
    """The same for a fixture: without one its tests are skipped, or fail where they are required."""
    import pytest

    found = find_binary()
    if found is None:
        text = "no Consul agent: nox -s consul builds one (4 minutes, once), CONSUL_BINARY names another"
        if REQUIRED:
            pytest.fail(text)
        pytest.skip(text)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses for TCP or UDP now."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            ports.append(tcp.getsockname()[1])
        return ports


class Agent:
    """One agent; what is asked of it here goes by its plaintext port."""

    def __init__(self, binary: Path, *configuration: str, token: str = "", tls_port: int = -1) -> None:
        self.binary = binary
        self.token = token
        self.http, server, serf = free_ports(3)
        self.tls_port = tls_port
        ports = (
            f"ports {{ http={self.http} https={tls_port} dns=-1 grpc=-1 grpc_tls=-1 server={server} serf_lan={serf} "
        )
        self._configuration = [ports + "serf_wan=-1 }", "limits { http_max_conns_per_client=-1 }", *configuration]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes]

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.http}"

    def start(self) -> None:
        """Starts it with an empty state, and waits until it is ready."""
        command = [str(self.binary), "agent", "-dev", "-node", "t", "-bind", "127.0.0.1", "-client", "127.0.0.1"]
        command += ["-log-level", "warn", *(part for text in self._configuration for part in ("-hcl", text))]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = self.output()
                self.kill()
                raise RuntimeError(f"the Consul agent did not start: {text}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            return any(check["CheckID"] == "serfHealth" for check in self.ask("GET", "/v1/health/node/t") or [])
        except (URLError, OSError, ValueError):
            return False

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """The answer of its API, as whoever owns it. Raises HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Consul-Token": self.token if token is None else token}
        request = Request(f"http://{self.address}{path}", data, headers, method=method)
        with urlopen(request, timeout=5) as response:
            text = response.read()
        return json.loads(text) if text.strip() else None

    def warm(self) -> None:
        """Waits until it tells the servers what happens to checks at once, as it does not in its first seconds."""
        body = {"Name": "warm", "Check": {"TTL": "10ms", "DeregisterCriticalServiceAfter": "1m0s"}}
        self.ask("PUT", "/v1/agent/service/register", body)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.ask("PUT", "/v1/agent/check/pass/service:warm")
            time.sleep(0.1)
            if self._status() == "critical":
                break
        self.ask("PUT", "/v1/agent/service/deregister/warm")

    def _status(self) -> str:
        checks = self.ask("GET", "/v1/health/checks/warm")
        return str(checks[0]["Status"]) if checks and checks[0]["Output"] else ""

    def signal(self, how: signal.Signals) -> None:
        """Signals its process: SIGSTOP hangs it, SIGCONT wakes it."""
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self) -> None:
        """Ends it without a goodbye. Does nothing when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.kill()
            process.wait()
            self._log.close()

    def output(self) -> str:
        """The end of what it logged."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - 4000))
        text = self._log.read().decode(errors="replace")
        self._log.seek(0, os.SEEK_END)
        return text

    def restart(self) -> None:
        """Kills it and starts it with nothing."""
        self.kill()
        self.start()


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    """An agent for the length of a block."""
    agent.start()
    try:
        yield agent
    finally:
        agent.kill()


def with_acl(binary: Path) -> Agent:
    """An agent that denies by default; its own `token` may do everything."""
    token = "-".join(secrets.token_hex(size) for size in (4, 2, 2, 2, 6))
    acl = f'acl {{ enabled=true default_policy="deny" tokens {{ initial_management="{token}" agent="{token}" }} }}'
    return Agent(binary, acl, token=token)


class Certificates:
    """An authority of Consul's own making, with a server's and a client's certificate."""

    def __init__(self, binary: Path, folder: Path) -> None:
        for arguments in (
            ("ca", "create"),
            ("cert", "create", "-server", "-dc", "dc1", "-additional-ipaddress", "127.0.0.1"),
            ("cert", "create", "-client"),
        ):
            subprocess.run([binary, "tls", *arguments], cwd=folder, check=True, capture_output=True)
        self.ca = folder / "consul-agent-ca.pem"
        self.server, self.server_key = (folder / f"dc1-server-consul-0{end}.pem" for end in ("", "-key"))
        self.client, self.client_key = (folder / f"dc1-client-consul-0{end}.pem" for end in ("", "-key"))

    def agent(self, binary: Path, *, verify_client: bool) -> Agent:
        """An agent that speaks TLS, too."""
        files = f'ca_file="{self.ca}" cert_file="{self.server}" key_file="{self.server_key}"'
        verify = str(verify_client).lower()
        tls = f"tls {{ defaults {{ {files} }} https {{ verify_incoming={verify} }} }}"
        return Agent(binary, tls, tls_port=free_ports(1)[0])

    def context(self) -> ssl.SSLContext:
        """What a client verifies by."""
        return ssl.create_default_context(cafile=self.ca)


def main() -> int:
    """Runs an agent until it is interrupted."""
    binary = find_binary()
    if binary is None:
        print("no Consul: run tools/consul/build.sh first", file=sys.stderr)
        return 1
    with running(Agent(binary)) as agent:
        print(f"MICRO_REGISTRY=consul MICRO_REGISTRY_ADDRESS={agent.address}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
