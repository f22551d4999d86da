"""The tutorial "Write a plugin" is followed as it stands, and ends with a green kit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from micro_cli.new import plugin

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "downstream" / "micro-registry-example"
PAGE = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def files() -> dict[str, str]:
    """What a reader has typed in the end, by file: the blocks below each file's name, in order."""
    typed: dict[str, str] = {}
    named = re.findall(r"^`(\S+)`:\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(named) == len(blocks("python")), "a block of Python without its file's name"
    for path, block in named:
        typed[path] = f"{typed[path]}\n{block}" if path in typed else block
    return typed


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader who did what the page says."""
    monkeypatch.chdir(tmp_path)
    (first, *_), *_ = (lines(block) for block in blocks("console"))
    assert first == "$ micro new plugin registry example"
    assert CliRunner().invoke(plugin, first.split()[4:]).exit_code == 0
    folder = tmp_path / "micro-registry-example"
    for path, text in files().items():
        assert (folder / path).parent.is_dir()
        (folder / path).write_text(text)
    return folder


def test_what_is_typed_is_what_downstream_holds() -> None:
    typed = files()
    assert set(typed) == {
        *(f"src/micro_registry_example/{name}.py" for name in ("__init__", "store", "text")),
        "tests/test_conformance.py",
    }
    for path, text in typed.items():
        assert lines(text) == lines((EXAMPLE / path).read_text()), path


def test_the_kit_is_green_in_the_end(followed: Path) -> None:
    info = followed / "site" / "micro_registry_example-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: micro-registry-example\nVersion: 0.1.0\n")
    (entry_point,) = blocks("toml")
    (info / "entry_points.txt").write_text(entry_point.replace("project.entry-points.", "").replace('"', ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(followed / "src"), str(info.parent)])}
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-k", "not uvloop"]
    command = [*pytest_, "-c", os.devnull, f"--rootdir={followed}", str(followed / "tests")]
    run = subprocess.run(command, cwd=followed, env=environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout + run.stderr


def test_its_toml_is_a_part_of_the_pyproject() -> None:
    (entry_point,) = blocks("toml")
    assert entry_point in (EXAMPLE / "pyproject.toml").read_text()


def test_its_commands_are_those_of_the_readme() -> None:
    readme = re.findall(r"^    (.*)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    typed = [line.removeprefix("$ ") for block in blocks("console") for line in lines(block)]
    assert set(typed) - {"micro new plugin registry example", "cd micro-registry-example"} == set(readme)


def test_what_red_tests_say_is_what_the_skeleton_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(plugin, ["registry", "example"])
    (said,) = blocks("text")
    written = (tmp_path / "micro-registry-example" / "src" / "micro_registry_example" / "__init__.py").read_text()
    assert f'raise RuntimeError("{said.strip().removeprefix("RuntimeError: ")}")' in written
