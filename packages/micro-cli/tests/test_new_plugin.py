"""`micro new plugin`: what it writes, for every kind, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from micro_cli.new import KINDS, plugin, write_plugin
from micro_core import ConfigurationError, loader

ROOT = Path(__file__).parents[3]
NAME = "least-busy2"
MODULE = NAME.replace("-", "_")
EACH_KIND = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one plugin of each kind, in folders named after the kinds."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind in KINDS:
        write_plugin(kind, NAME, folder / kind)
    return folder


def project(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())
    return table


def installed(folder: Path) -> dict[str, str]:
    """The environment in which the plugin is installed: its `src`, and metadata as pip would write it."""
    table = project(folder)["project"]
    info = folder / "site" / f"{table['name'].replace('-', '_')}-{table['version']}.dist-info"
    info.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {each}\n" for each in table["dependencies"])
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {table['version']}\n{requires}"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
        for group, points in table["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(info.parent)])}


def cases(report: Path) -> dict[str, str]:
    """The tests that ran and what each failed with, empty for green ones."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        troubles = [*case.iter("failure"), *case.iter("error")]
        if case.find("skipped") is None:
            found[case.attrib["name"]] = "".join(trouble.text or "" for trouble in troubles)
    return found


def test_every_kind_that_is_loaded_can_be_begun() -> None:
    assert set(KINDS) == {*loader.KINDS, "extension"}


@EACH_KIND
def test_the_files_are_those_of_a_whole_repository(every_kind: Path, kind: str) -> None:
    written = {str(path.relative_to(every_kind / kind)) for path in (every_kind / kind).rglob("*") if path.is_file()}
    module = f"src/micro_{kind}_{MODULE}"
    assert {path for path in written if not path.startswith("site/") and "__pycache__" not in path} == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".github/workflows/tests.yml",
        f"{module}/__init__.py",
        f"{module}/py.typed",
        "tests/test_conformance.py",
    }


@EACH_KIND
def test_its_suite_is_red_and_says_what_to_write(every_kind: Path, tmp_path: Path, kind: str) -> None:
    folder, report = every_kind / kind, tmp_path / "report.xml"
    quick = [
        "-q",
        "--tb=native",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-k",
        "not uvloop and not trio",
    ]
    arguments = [*quick, f"--junitxml={report}", "-c", os.devnull]
    command = [sys.executable, "-m", "pytest", *arguments, f"--rootdir={folder}", str(folder / "tests")]
    run = subprocess.run(command, env=installed(folder), cwd=folder, capture_output=True, text=True, timeout=240)
    assert run.returncode == 1, run.stdout + run.stderr
    failures = {test: message for test, message in cases(report).items() if message}
    for test, message in failures.items():
        assert "RuntimeError: write `" in message, f"{test}: {message}"
    green = {test for test, message in cases(report).items() if not message}
    hook = "test_its_hooks_fit" if kind == "extension" else "test_the_hook_answers_with_a_whole_class"
    assert hook in green


@pytest.mark.parametrize("name", ["ab", "a" * 40])
def test_what_is_written_is_clean_under_ruff_whatever_the_length_of_the_name(tmp_path: Path, name: str) -> None:
    for kind in KINDS:
        write_plugin(kind, name, tmp_path / kind)
    run_ruff(tmp_path)


@EACH_KIND
def test_each_method_says_what_to_write(every_kind: Path, kind: str) -> None:
    """A suite shows them one after another: who cannot listen is not asked to call."""
    source = (every_kind / kind / f"src/micro_{kind}_{MODULE}/__init__.py").read_text()
    for method in ["around"] if kind == "extension" else loader.KINDS[kind].__abstractmethods__:
        assert f'raise RuntimeError("write `{method}`: ' in source


def test_what_is_written_is_clean_under_ruff_and_mypy(every_kind: Path) -> None:
    run_ruff(every_kind)
    run_mypy(every_kind)


def run_ruff(folder: Path) -> None:
    config = f"--config={ROOT / 'pyproject.toml'}"
    for check in (["check", "--no-cache", config], ["format", "--check", "--no-cache", config]):
        command = [sys.executable, "-m", "ruff", *check, "."]
        ruff = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert ruff.returncode == 0, ruff.stdout + ruff.stderr


def run_mypy(every_kind: Path) -> None:
    sources = [str(every_kind / kind / part) for kind in KINDS for part in ("src", "tests")]
    path = os.pathsep.join(str(every_kind / kind / "src") for kind in KINDS)
    flags = ["--strict", "--explicit-package-bases", f"--cache-dir={os.devnull}", f"--config-file={os.devnull}"]
    mypy = [sys.executable, "-m", "mypy", *flags, *sources]
    environment = {**os.environ, "MYPYPATH": path}
    typed = subprocess.run(mypy, cwd=every_kind, env=environment, capture_output=True, text=True, timeout=240)
    assert typed.returncode == 0, typed.stdout + typed.stderr


@pytest.mark.parametrize(
    "name", ["", "Couch", "couch_db", "-couch", "couch-", "2couch", "a--b", "../x", "a b", "é", "a" * 41]
)
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a plugin"):
        write_plugin("registry", name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no kind of plugin 'queue'; known are registry, "):
        write_plugin("queue", "couch", tmp_path)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ConfigurationError, match="is there already"):
            write_plugin("registry", "couch", taken)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_plugin("registry", "couch", tmp_path / "mine" / "new")


def test_the_command_lists_what_it_wrote_and_what_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(plugin, ["registry", "couch"])
    assert run.exit_code == 0
    assert "micro-registry-couch/pyproject.toml\n" in run.output
    assert run.output.endswith(
        "Now write the bodies in micro-registry-couch/src/micro_registry_couch/__init__.py; "
        "micro-registry-couch/README.md says how to test them.\n"
    )


@pytest.mark.parametrize("arguments", [["registry", "Couch"], ["queue", "couch"], ["registry"], []])
def test_a_wrong_command_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(plugin, arguments)
    assert run.exit_code == 2
    assert "Error: " in run.output
    assert list(tmp_path.iterdir()) == []
