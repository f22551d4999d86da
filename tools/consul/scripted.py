"""A small HTTP server that answers as a test says, for what an agent cannot be made to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Script: TypeAlias = Callable[["Asked"], "tuple[int, dict[str, str], bytes]"]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def index(self) -> int:
        """The index that it waits on, 0 for none."""
        return int(self.path.partition("index=")[2].partition("&")[0] or 0)


def answer(value: Any, index: int = 10) -> tuple[int, dict[str, str], bytes]:
    """An answer as Consul gives it."""
    return 200, {"X-Consul-Index": str(index)}, json.dumps(value).encode()


class Scripted:
    """The server; `asked` is every request so far, `script` may be changed while it runs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                owner.asked.append(asked)
                status, answered, content = owner.script(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **answered}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = _do  # noqa: N815 - the base class calls it so

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def count(self, seconds: float) -> int:
        """How many requests came in the last seconds."""
        since = time.monotonic() - seconds
        return sum(asked.at >= since for asked in self.asked)

    def close(self) -> None:
        """Stops."""
        self._server.shutdown()
        self._server.server_close()
