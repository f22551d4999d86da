"""`micro run --reload`: the same command in a process of its own, begun anew when a source file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from micro_cli.output import note

Stamps: TypeAlias = Mapping[str, tuple[int, int]]

POLL = 0.3
"""Seconds between looks at the files."""

SKIPPED = frozenset({".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", "build", "dist"})


def run_again_and_again() -> None:
    """Returns when the process was ended by a signal to this one; its exit code is then ours, by SystemExit."""
    arguments = [word for word in sys.argv[1:] if word != "--reload"]
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopping.append(received))
    while True:
        stamps = _stamps()
        # A group of its own: a terminal's Ctrl-C reaches it once, through us, and not twice.
        child = subprocess.Popen([sys.executable, "-m", "micro_cli", *arguments], process_group=0)  # noqa: S603
        changed = _changed(child, stamps, stopping)
        if stopping:
            raise SystemExit(_ended(child, stopping))
        note(f"{changed} changed: beginning anew")
        _end(child)


def _changed(child: subprocess.Popen[bytes], stamps: Stamps, stopping: list[int]) -> str:
    """Waits for a change, or for a signal; a process that ended by itself waits for the next change."""
    told = False
    while not stopping:
        time.sleep(POLL)
        now = _stamps()
        different = sorted(path for path in {*stamps, *now} if stamps.get(path) != now.get(path))
        if different:
            return different[0]
        if child.poll() is not None and not told:
            told = True
            note(f"ended with exit code {child.returncode}; waiting for a change")
    return ""


def _ended(child: subprocess.Popen[bytes], stopping: list[int]) -> int:
    """Hands every signal on and waits for the end."""
    sent = 0
    while child.poll() is None:
        if len(stopping) > sent:
            child.send_signal(stopping[sent])
            sent += 1
        time.sleep(0.02)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    """At once: what is edited needs no grace, and one goodbye is sent all the same."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _stamps() -> Stamps:
    """Time and size of every source file below the working directory, and of micro.toml."""
    return {str(path): (stat.st_mtime_ns, stat.st_size) for path, stat in _files(Path())}


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        for name in names:
            if name.endswith(".py") or name == "micro.toml":
                path = Path(top) / name
                try:
                    yield path, path.stat()
                except OSError:
                    continue
