"""run(): processes, signals, exit codes, logging. Real processes, over the memory plugins."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import micro
import pytest

PREAMBLE = """
import sys, anyio, micro
KINDS = {"registry": "memory", "transport": "memory", "broker": "memory"}
service = micro.Service("greeter", **KINDS)

class Echo:
    async def echo(self, text: str) -> str:
        return text

    async def slow(self, seconds: float) -> float:
        await anyio.sleep(seconds)
        return seconds

@service.after_start
def ready():
    print("ready", flush=True)

@service.after_stop
def stopped():
    print("stopped", flush=True)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program; what is still there after the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(program: str, **environment: str) -> subprocess.Popen[str]:
        path = tmp_path / "program.py"
        path.write_text(PREAMBLE + textwrap.dedent(program))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MICRO_")}
        process = subprocess.Popen(
            [sys.executable, str(path)],
            cwd=tmp_path,
            env={**clean, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def wait_for_log(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    assert any(text in line for line in process.stderr)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=15)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("number", "backend"), [(signal.SIGINT, "asyncio"), (signal.SIGTERM, "uvloop"), (signal.SIGTERM, "trio")]
)
def test_a_signal_stops_it_gracefully(start: Start, number: signal.Signals, backend: str) -> None:
    process = start("service.handler(Echo()); service.run()", MICRO_BACKEND=backend)
    wait_for(process, "ready")
    process.send_signal(number)
    code, out, err = ended(process)
    assert (code, out) == (0, "stopped\n")
    assert f"{number.name}: stopping" in err
    assert "Traceback" not in err
    assert "greeter is deregistered from memory" in err


@pytest.mark.parametrize(("wanted", "loop"), [("", "uvloop"), ("asyncio", "asyncio")])
def test_uvloop_is_taken_where_it_is_installed(start: Start, wanted: str, loop: str) -> None:
    program = """
    @service.after_start
    async def tell():
        import asyncio
        print(type(asyncio.get_running_loop()).__module__.partition(".")[0], flush=True)
    service.run(backend=sys.argv[1] if len(sys.argv) > 1 else None)
    """
    process = start(program, MICRO_BACKEND=wanted)
    wait_for(process, "ready")
    wait_for(process, loop)


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    program = """
    service.handler(Echo())
    @service.subscriber("topic")
    async def hang(event: int) -> None:
        print("hanging", flush=True)
        await anyio.sleep(60)
    @service.after_start
    async def publish():
        await service.client.publish("topic", 1)
    micro.run(service)
    """
    process = start(program)
    wait_for(process, "ready")
    wait_for(process, "hanging")
    process.send_signal(signal.SIGTERM)
    wait_for_log(process, "SIGTERM: stopping")
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 128 + signal.SIGTERM
    assert time.monotonic() - began < 3
    assert "SIGTERM again: ending at once" in err
    assert "Traceback" not in err


BLOCKING = """
import contextlib, time
@service.handler
class Block:
    def block(self, seconds: float) -> float:
        print("blocking", flush=True)
        time.sleep(seconds)
        return seconds
@service.lifespan
async def life():
    async with anyio.create_task_group() as tasks:
        async def call():
            with contextlib.suppress(micro.errors.ServiceUnavailable):
                await service.client.call("greeter", "Block.Block", 30.0, float, timeout=30)
        service.after_start(lambda: tasks.start_soon(call))
        yield
micro.run(service)
"""


def test_a_second_signal_waits_for_no_thread(start: Start) -> None:
    process = start(BLOCKING, MICRO_STOP_DRAIN="60s")
    wait_for(process, "ready")
    wait_for(process, "blocking")
    process.send_signal(signal.SIGTERM)
    wait_for_log(process, "SIGTERM: stopping")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 128 + signal.SIGTERM
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("backend", "number", "code"),
    [("asyncio", signal.SIGTERM, 0), ("uvloop", signal.SIGINT, 128 + signal.SIGINT), ("trio", signal.SIGTERM, 0)],
)
def test_a_thread_that_outlives_the_drain_is_left_behind(
    start: Start, backend: str, number: signal.Signals, code: int
) -> None:
    process = start(BLOCKING, MICRO_BACKEND=backend, MICRO_STOP_DRAIN="200ms")
    wait_for(process, "ready")
    wait_for(process, "blocking")
    began = time.monotonic()
    process.send_signal(number)
    assert ended(process)[:2] == (code, "stopped\n")
    assert time.monotonic() - began < 5


def test_a_signal_while_it_starts_ends_it(start: Start) -> None:
    program = """
    @service.lifespan
    async def life():
        print("starting", flush=True)
        await anyio.sleep(60)
        yield
    service.run()
    """
    process = start(program)
    wait_for(process, "starting")
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process)
    assert (code, out) == (0, "stopped\n")
    assert "Traceback" not in err


@pytest.mark.parametrize("waits", ["service.after_start(anyio.sleep_forever)", "MemoryRegistry.register = hang"])
def test_a_signal_stops_it_gracefully_once_it_can_be_called(start: Start, waits: str) -> None:
    program = f"""
    from micro_registry_memory import MemoryRegistry
    async def hang(*_, **__):
        await anyio.sleep_forever()
    class Slow:
        async def slow(self, seconds: float) -> float:
            print("asked", flush=True)
            await anyio.sleep(seconds)
            return seconds
    service.handler(Slow())
    @service.lifespan
    async def life():
        async def call():
            print(await service.client.call("greeter", "Slow.Slow", 0.3, float, address=":8080"), flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            yield
    {waits}
    service.run()
    """
    process = start(program, MICRO_SERVER_ADDRESS=":8080", MICRO_REGISTER_WAIT="60s")
    asked = iter(process.stdout or ())
    assert any(line == "asked\n" for line in asked)
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process)
    assert (code, out.replace("ready\n", "")) == (0, "0.3\nstopped\n")
    assert "Traceback" not in err


@pytest.fixture
def levels() -> Iterator[None]:
    """Puts back the level that run() sets."""
    logger = logging.getLogger("micro")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.usefixtures("levels")
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MICRO_REGISTRY": "memroy"}, "no registry named 'memroy' is installed (selected by MICRO_REGISTRY"),
        ({"MICRO_REGISTRY_MEMORY_ADRESS": "x"}, "unknown option 'adress'"),
        ({"MICRO_REGISTER_TTL": "soon"}, "MICRO_REGISTER_TTL in the environment: expected a duration"),
        ({"MICRO_SERVER_ADDRESS": "nonsense"}, "nonsense"),
        ({"MICRO_LOG": "loud"}, "log='loud' (MICRO_LOG) is no level"),
        ({"MICRO_BACKEND": "curio"}, "backend='curio' (MICRO_BACKEND) is unknown"),
        ({"MICRO_CONFIG": "nowhere.toml"}, "nowhere.toml cannot be read"),
        ({"MICRO_EXTENSIONS_DISABLED": "nope"}, "extension 'nope'"),
        ({"MICRO_SERVER_ADVERTISE": "a b"}, "MICRO_SERVER_ADVERTISE"),
        ({"MICRO_NAMESPACE": "a.b"}, "MICRO_NAMESPACE"),
    ],
)
def test_a_configuration_error_is_one_line_and_exit_code_2(
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    service = micro.Service("greeter", transport="memory", broker="memory", options={"registry.memory.address": "x"})
    monkeypatch.setenv("MICRO_REGISTRY", environment.get("MICRO_REGISTRY", "memory"))
    with pytest.raises(SystemExit) as exit_:
        service.run()
    (line,) = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2
    assert line.startswith("error: ")
    assert said in line


def test_a_handler_without_annotations_is_one_line_and_exit_code_2(start: Start) -> None:
    program = """
    @service.handler
    class Wrong:
        async def hello(self, request):
            return request
    service.run()
    """
    code, _, err = ended(start(program))
    assert code == 2
    assert "Traceback" not in err
    assert "error: Wrong.hello has no return annotation; write `async def hello" in err


def test_any_other_error_at_start_is_raised(start: Start) -> None:
    program = """
    @service.before_start
    def fail():
        raise LookupError("mine")
    service.run()
    """
    code, _, err = ended(start(program))
    assert code == 1
    assert err.splitlines()[-1] == "LookupError: mine"
    assert "ExceptionGroup" not in err


def test_several_services_run_in_one_process(start: Start) -> None:
    program = """
    other = micro.Service("other", **KINDS)
    other.handler(Echo())
    @other.after_start
    async def ask():
        print(await other.client.call("other", "Echo.Echo", "hello", str), flush=True)
    micro.run(service, other)
    """
    process = start(program, MICRO_SERVER_NAME="one", MICRO_SERVER_ADDRESS="127.0.0.1:1")
    assert process.stdout is not None
    assert {process.stdout.readline().strip() for _ in range(2)} == {"ready", "hello"}
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 0
    assert "greeter is deregistered" in err
    assert "other is deregistered" in err
    assert "MICRO_SERVER_NAME in the environment is not applied" in err


def test_a_mistake_in_one_service_ends_all(start: Start) -> None:
    program = """
    other = micro.Service("other", **KINDS)
    @other.handler
    class Wrong:
        async def hello(self, request):
            return request
    micro.run(service, other)
    """
    code, _, err = ended(start(program))
    assert code == 2
    assert "Traceback" not in err


def test_logging_is_left_alone_where_it_is_set_up(start: Start) -> None:
    program = """
    import logging
    logging.basicConfig(format="MINE %(message)s", level="INFO")
    service.run()
    """
    process = start(program)
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    _, _, err = ended(process)
    assert all(line.startswith("MINE ") for line in err.splitlines())
    assert "MINE greeter is registered with memory" in err


def test_the_level_is_chosen_by_micro_log(start: Start) -> None:
    process = start("service.run()", MICRO_LOG="warning")
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "stopped\n", "")


def test_a_command_line_that_someone_else_parsed_wins(start: Start) -> None:
    program = """
    @service.after_start
    def tell():
        print(service.name, service.record.metadata, flush=True)
    micro.run(service, command_line={"server.name": "line"})
    """
    process = start(program, MICRO_SERVER_NAME="environment")
    wait_for(process, "ready")
    wait_for(process, "line {}")


def test_arguments_are_never_parsed(start: Start) -> None:
    process = start("sys.argv.append('--registry=nope'); service.run()")
    wait_for(process, "ready")


def test_importing_micro_loads_no_plugin_and_nothing_slow() -> None:
    program = "import sys, micro; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    slow = {"importlib_metadata", "tomllib", "uvloop", "trio", "msgspec", "zeroconf", "httptools", "pydantic"}
    plugins = {name for name in loaded if name.startswith("micro_") and not name.startswith("micro_core")}
    assert (plugins, slow & set(loaded)) == (set(), set())
