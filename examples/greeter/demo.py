"""The demo: two greeters, a mailer and a consumer, each a process of its own, found by multicast DNS on loopback.

Everything it prints is what those processes said. It ends non-zero when something did not happen. `MICRO_REGISTRY` and
the like choose other plugins; nothing here changes.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
PATIENCE = 15.0
"""Seconds that anything here may take."""


class DemoFailed(Exception):
    """Something that the demo shows did not happen."""


def expect(happened: object, what: str) -> None:
    if not happened:
        raise DemoFailed(what)


def say(text: str = "") -> None:
    print(text, flush=True)


class Process:
    """A program of this folder; its log goes to a file that is shown only when the demo fails."""

    def __init__(self, program: str, environment: dict[str, str], log: IO[bytes]) -> None:
        self.program = program
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / f"{program}.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self.pid = self._process.pid

    def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        expect(line, f"{self.program} (process {self.pid}) ended without an answer")
        return line.rstrip("\n")

    def ask(self, **command: Any) -> Any:
        self.tell(**command)
        return json.loads(self.line())

    def kill(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    def wait(self) -> int:
        return self._process.wait(timeout=PATIENCE)

    def close(self) -> None:
        """Stops the process if it is still there. Never raises."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def environment() -> dict[str, str]:
    """Multicast on loopback alone, in a namespace of this run, so that nothing on the network is seen or disturbed."""
    own = {"MICRO_NAMESPACE": f"demo-{secrets.token_hex(3)}", "MICRO_LOG": "info"}
    if os.environ.get("MICRO_REGISTRY", "mdns") == "mdns":
        own["MICRO_REGISTRY_MDNS_INTERFACES"] = "127.0.0.1"
    return {**own, **os.environ, "PYTHONPATH": str(HERE)}


def until_listed(consumer: Process, wanted: dict[str, int]) -> dict[str, int]:
    """Asks until the registry lists what is wanted."""
    deadline = time.monotonic() + PATIENCE
    while True:
        listed: dict[str, int] = consumer.ask(do="list")
        if all(listed.get(name, 0) == nodes for name, nodes in wanted.items()):
            return listed
        expect(time.monotonic() < deadline, f"the registry lists {listed}, not {wanted}")


def until_gone(consumer: Process, nodes: int) -> None:
    """Asks until the registry lists no more than that many greeters."""
    deadline = time.monotonic() + PATIENCE
    while (listed := consumer.ask(do="list")["greeter"]) > nodes:
        expect(time.monotonic() < deadline, f"the registry still lists {listed} greeters")


def until_answering(consumer: Process, process: Process) -> None:
    """Makes calls until the process has answered one."""
    deadline = time.monotonic() + PATIENCE
    while str(process.pid) not in consumer.ask(do="call", times=20)["answered"]:
        expect(time.monotonic() < deadline, f"no call reached process {process.pid}")


def shares(tally: dict[str, Any], names: dict[int, str]) -> str:
    total = sum(tally["answered"].values())
    parts = [f"{names[int(pid)]} {count} ({count / total:.0%})" for pid, count in sorted(tally["answered"].items())]
    return f"{total} calls, {len(tally['failed'])} failed: " + ", ".join(parts)


def succeeded(tally: dict[str, Any], *processes: Process) -> None:
    expect(not tally["failed"], f"calls failed: {tally['failed'][:3]}")
    total = sum(tally["answered"].values())
    for process in processes:
        share = tally["answered"].get(str(process.pid), 0) / total
        expect(share >= 0.2, f"process {process.pid} answered only {share:.0%}")


def story(start: Any) -> None:
    first, second, mailer, consumer = (start(name) for name in ("greeter", "greeter", "mailer", "consumer"))
    names = {first.pid: "first", second.pid: "second"}
    say(f"Started greeter {first.pid} and {second.pid}, mailer {mailer.pid}, consumer {consumer.pid}.")
    expect(json.loads(consumer.line()).get("ready"), "the consumer did not start")

    listed = until_listed(consumer, {"greeter": 2, "mailer": 1})
    say("\nThe registry lists")
    for name, nodes in sorted(listed.items()):
        say(f"  {name:<20} {nodes} node{'s' if nodes > 1 else ''}")

    tally = consumer.ask(do="call", times=200)
    succeeded(tally, first, second)
    say(f"\nCalling Say.Hello\n  {shares(tally, names)}")

    messages = ["one", "two", "three"]
    replies = consumer.ask(do="chat", messages=messages)["replies"]
    expect(replies == [f"You said {message}" for message in messages], f"the stream answered {replies}")
    say("\nA bidirectional stream, Say.Chat")
    for message, reply in zip(messages, replies, strict=True):
        say(f"  > {message:<8} < {reply}")

    say("\nEvents on users.created")
    for name in ("Ada", "Grace"):
        nonce = secrets.token_hex(4)
        consumer.ask(do="publish", name=name, nonce=nonce)
        printed = mailer.line()
        expect(printed == f"Welcome, {name}! ({nonce})", f"the mailer printed {printed!r}")
        say(f"  published {name} {nonce}; the mailer printed: {printed}")

    consumer.ask(do="load")
    time.sleep(0.5)
    first.kill(signal.SIGKILL)
    killed = time.monotonic()
    first.wait()
    time.sleep(1.0)
    tally = consumer.ask(do="stop")
    succeeded(tally, second)
    say(f"\nKilled the first greeter (SIGKILL) under load\n  {shares(tally, names)}")
    until_gone(consumer, nodes=1)
    say(f"  the registry lists one greeter, {time.monotonic() - killed:.1f} s after the kill")

    third = start("greeter")
    names[third.pid] = "third"
    until_answering(consumer, third)
    consumer.ask(do="load")
    time.sleep(0.5)
    second.kill(signal.SIGTERM)
    code = second.wait()
    tally = consumer.ask(do="stop")
    succeeded(tally, third)
    expect(code == 0, f"the second greeter ended with status {code}")
    say(f"\nStarted a third and stopped the second (SIGTERM) under load\n  {shares(tally, names)}")


def main() -> int:
    started = time.monotonic()
    with ExitStack() as stack, tempfile.TemporaryFile() as log:

        def start(program: str) -> Process:
            process = Process(program, surroundings, log)
            stack.callback(process.close)
            return process

        surroundings = environment()
        try:
            story(start)
        except (DemoFailed, subprocess.TimeoutExpired) as error:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            say(f"\nThe demo failed: {error}.")
            return 1
    say(f"\nAll of it happened, in {time.monotonic() - started:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
