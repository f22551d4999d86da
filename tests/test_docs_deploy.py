"""The pages about deployment: what they hand to systemd, Docker and Kubernetes does what they say.

Nothing here builds an image or starts a unit. What these would run is run, with what they would set.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from consul_agent import Agent, binary_for_tests
from consul_agent import running as running_agent
from docs_page import AGENT, free_port
from docs_read import Block, blocks, commands, dockerfile, documents, ini

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONTAINERS, SYSTEMD = "deploy-in-containers.md", "deploy-under-systemd.md"


def of(page: str, language: str) -> list[Block]:
    text = (DOCS / "how-to" / page).read_text(encoding="utf-8")
    return [block for block in blocks(text) if block.language == language]


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    """The folder of the tutorial's greeter."""
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    (found,) = (block for block in blocks(page) if block.file == "greeter.py")
    (tmp_path / "greeter.py").write_text(found.text)
    return tmp_path


def accepted(variables: dict[str, str], folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The line of `micro config` for each variable that it names as a source. A service would start by them."""
    run = [sys.executable, "-m", "micro", "config", "--json"]
    done = subprocess.run(
        run, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{variables}\n{done.stderr}"
    return {name: line for name in variables for line in done.stdout.splitlines() if f"{name} in" in line}


@pytest.fixture
def plain(surroundings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in surroundings.items() if not name.startswith(("MICRO_", "CONSUL_"))}


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A service that is stopped by SIGTERM within the ten seconds that Docker gives, and ends with 0."""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=10)
            assert process.returncode == 0, output
        finally:
            process.kill()


def instructions() -> dict[str, list[list[str]]]:
    """The arguments of each instruction of the Dockerfile."""
    (block,) = of(CONTAINERS, "docker")
    found: dict[str, list[list[str]]] = {}
    for name, arguments in dockerfile(block.text):
        found.setdefault(name, []).append(arguments)
    return found


def environment_of_image() -> dict[str, str]:
    return dict(pair.split("=", 1) for arguments in instructions()["ENV"] for pair in arguments)


def test_the_image_has_a_python_that_the_packages_take() -> None:
    ((image,),) = instructions()["FROM"]
    version = re.fullmatch(r"python:3\.(\d+)-slim", image)
    assert version
    assert int(version[1]) >= 11


def test_the_image_installs_packages_that_there_are_from_the_folder_that_is_copied() -> None:
    (install,) = instructions()["RUN"]
    copied = dict(arguments[-2:] for arguments in instructions()["COPY"])
    assert install[:2] == ["pip", "install"]
    assert install[install.index("--find-links") + 1] == copied["dist/wheelhouse"]
    ours = {tomllib.loads(path.read_text())["project"]["name"] for path in ROOT.glob("packages/*/pyproject.toml")}
    assert {name for name in install if name.startswith("micro-")} <= ours
    assert {"micro-defaults", "micro-registry-consul", "micro-cli"} <= set(install)


def test_the_image_runs_what_is_copied_and_a_probe_sees_it(greeter: Path, plain: dict[str, str]) -> None:
    """Its command with its variables, but on loopback; then the probe of Kubernetes; then SIGTERM."""
    (command,) = instructions()["CMD"]
    assert [command[1], "."] in instructions()["COPY"]
    (probe,) = (found["livenessProbe"]["exec"]["command"] for found in pieces() if "livenessProbe" in found)
    port = environment_of_image()["MICRO_SERVER_ADDRESS"]
    assert probe[-2:] == ["--address", f"127.0.0.1{port}"]
    address = f"127.0.0.1:{free_port()}"
    environment = {**plain, **environment_of_image(), "MICRO_SERVER_ADDRESS": address, "MICRO_REGISTRY": "memory"}
    with running([sys.executable, *command[1:]], greeter, environment):
        wait = f"until {' '.join([*probe[:-1], address])} 2> /dev/null; do sleep 0.1; done"
        done = subprocess.run(
            ["bash", "-c", wait], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert '"ok"' in done.stdout


def pieces() -> list[dict[str, Any]]:
    return [document for block in of(CONTAINERS, "yaml") for document in documents(block.text)]


def test_services_of_compose_start_by_what_is_set(tmp_path: Path, plain: dict[str, str]) -> None:
    (compose,) = (found["services"] for found in pieces() if "services" in found)
    variables = {name: str(value) for name, value in compose["greeter"]["environment"].items()}
    assert set(accepted(variables, tmp_path, plain)) == set(variables)
    assert variables["MICRO_REGISTRY_ADDRESS"].partition(":")[0] in compose


def test_a_pod_starts_by_what_is_set_and_meets_the_headless_service(tmp_path: Path, plain: dict[str, str]) -> None:
    (variables,) = ({one["name"]: one["value"] for one in found["env"]} for found in pieces() if "env" in found)
    assert set(accepted(variables, tmp_path, plain)) == set(variables)
    (service,) = (found for found in pieces() if found.get("kind") == "Service")
    assert service["spec"]["clusterIP"] == "None", "only a headless Service has its pods' addresses as A records"
    assert [port["port"] for port in service["spec"]["ports"]] == [int(variables["MICRO_REGISTRY_DNS_PORT"])]
    assert environment_of_image()["MICRO_SERVER_ADDRESS"] == f":{variables['MICRO_REGISTRY_DNS_PORT']}"


def unit() -> str:
    (block,) = of(SYSTEMD, "ini")
    return block.text


def test_a_unit_starts_by_what_is_set(tmp_path: Path, plain: dict[str, str]) -> None:
    (tmp_path / "consul-token").write_text("secret")
    found = re.findall(r"^Environment=(\w+)=(.*)$", unit(), re.MULTILINE)
    variables = {name: value.replace("%d", str(tmp_path)) for name, value in found}
    assert set(accepted(variables, tmp_path, plain)) == set(variables)
    service = ini(unit())["Service"]
    assert service["LoadCredential"].partition(":")[0] == "consul-token"
    assert int(service["TimeoutStopSec"]) > 2 + 6 + 1, "propagation, drain and flush"


def test_a_unit_runs_what_can_be_run(greeter: Path, plain: dict[str, str]) -> None:
    service = ini(unit())["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program.startswith(service["WorkingDirectory"])
    address = f"127.0.0.1:{free_port()}"
    environment = {**plain, "MICRO_REGISTRY": "memory", "MICRO_SERVER_ADDRESS": address}
    with running([sys.executable, *arguments], greeter, environment):
        wait = f"until micro call greeter Say.Hello name=Ada --address {address} 2> /dev/null; do sleep 0.1; done"
        subprocess.run(["bash", "-c", wait], env=environment, capture_output=True, timeout=30, check=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here to ask about a unit")
def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "greeter.service"
    path.write_text(unit().replace("/srv/greeter/.venv/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert path.name not in done.stderr, done.stderr


@pytest.fixture
def agent() -> Iterator[Agent]:
    with running_agent(Agent(binary_for_tests())) as agent:
        yield agent


def with_agent(page: str) -> str:
    """The one command of a page that asks for an agent."""
    text = (DOCS / page).read_text(encoding="utf-8")
    ((command, _),) = (found for block in blocks(text) if block.mark == AGENT for found in commands(block.text))
    return command


def test_nobody_else_asks_for_an_agent() -> None:
    asking = {path.name for path in DOCS.rglob("*.md") if f"<!-- {AGENT} -->" in path.read_text(encoding="utf-8")}
    assert asking == {"tutorial.md", SYSTEMD}


def test_the_doctor_finds_the_agent_well(agent: Agent, plain: dict[str, str], tmp_path: Path) -> None:
    command, environment = with_agent(f"how-to/{SYSTEMD}"), {**plain, "CONSUL_HTTP_ADDR": agent.address}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "consul" in done.stdout


def test_the_tutorials_greeter_is_found_through_the_agent(agent: Agent, plain: dict[str, str], greeter: Path) -> None:
    environment = {**plain, "CONSUL_HTTP_ADDR": agent.address}
    with running(["bash", "-c", f"exec env {with_agent('tutorial.md')}"], greeter, environment):
        call = "until MICRO_REGISTRY=consul micro call greeter Say.Hello name=Ada 2> /dev/null; do sleep 0.1; done"
        done = subprocess.run(
            ["bash", "-c", call], env=environment, capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stdout == '{"message": "Hello Ada"}\n'
