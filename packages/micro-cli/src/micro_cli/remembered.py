"""What completion knows of services: a small file, so that a shell need not wait for a registry.

`{"greeter": {"Say.Hello": {"stream": false, "fields": ["name", "address.city"]}}}` under the user's cache folder, one
file per configuration that may see other services. It is written by commands that looked, and by a process of its own
that a completion starts when the file is old.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FRESH = 3.0
"""Seconds for which what was remembered is believed without looking again."""


def path_of(environment: Mapping[str, str]) -> Path:
    """The file for this environment, working directory included where its micro.toml counts."""
    folder = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micro"
    chosen = sorted((key, value) for key, value in environment.items() if _matters(key))
    here = str(Path.cwd()) if Path("micro.toml").is_file() else ""
    digest = hashlib.sha256(json.dumps([chosen, here]).encode()).hexdigest()[:16]
    return folder / f"services-{digest}.json"


def _matters(key: str) -> bool:
    return key.startswith(("MICRO_REGISTRY", "CONSUL_")) or key in ("MICRO_NAMESPACE", "MICRO_CONFIG")


def remember(records: Iterable[Any], environment: Mapping[str, str] | None = None) -> None:
    """Writes the file; one that cannot be written is no matter."""
    from micro_cli.interface import interfaces_of

    versions: dict[str, list[Any]] = {}
    for record in records:
        if any("topic" not in node.metadata for node in record.nodes):  # else subscribers of a broker, which serve none
            versions.setdefault(record.name, []).append(record)
    services = {}
    for name, them in versions.items():
        types = interfaces_of(them)
        services[name] = {
            each.name: {"stream": bool(each.stream), "fields": list(types.fields(each.request))}
            for each in types.endpoints.values()
        }
    with contextlib.suppress(OSError, RuntimeError):
        path = path_of(os.environ if environment is None else environment)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(services), encoding="utf-8")
        partial.replace(path)


def recall(environment: Mapping[str, str]) -> tuple[dict[str, dict[str, dict[str, Any]]], float]:
    """Services with their endpoints, and how many seconds ago that was; nothing and infinity where there is no file."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = path_of(environment)
        age = time.time() - path.stat().st_mtime
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found, age
    return {}, float("inf")
