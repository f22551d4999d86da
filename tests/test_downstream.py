"""`downstream/` is what strangers copy: its README, its workflow and our session hold the same lines."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from micro_cli.new import write_plugin

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "downstream" / "micro-registry-example"


def constant(name: str) -> Any:
    """A constant of the noxfile."""
    for statement in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.literal_eval(statement.value)
    raise AssertionError(f"the noxfile has no {name}")


def section(readme: str, title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    return str(found)


def commands(text: str) -> list[str]:
    """The lines of a README that are indented."""
    return re.findall(r"^    (.*)$", text, re.MULTILINE)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    write_plugin("registry", "example", tmp_path)
    return tmp_path


def test_readme_workflow_and_session_hold_the_same_lines() -> None:
    lines = [*constant("DOWNSTREAM_INSTALL"), constant("DOWNSTREAM_TEST")]
    readme = (EXAMPLE / "README.md").read_text()
    assert commands(section(readme, "Test it")) == lines
    assert commands(section(readme, "Use it"))[:-1] == [lines[0], constant("DOWNSTREAM_USE")]
    workflow = (EXAMPLE / ".github" / "workflows" / "tests.yml").read_text()
    assert re.findall(r"^ +- run: (.*)$", workflow, re.MULTILINE)[-len(lines) :] == lines


def test_nothing_of_ours_comes_from_an_index() -> None:
    for path in (EXAMPLE / "README.md", EXAMPLE / ".github" / "workflows" / "tests.yml"):
        installs = [line for line in path.read_text().splitlines() if ".venv/bin/pip install" in line]
        assert installs
        assert all('--no-index --find-links "$WHEELHOUSE"' in line for line in installs)


def test_it_is_what_micro_new_plugin_writes_with_the_bodies_written(begun: Path) -> None:
    written = {path.relative_to(begun) for path in begun.rglob("*") if path.is_file()}
    assert all((EXAMPLE / path).is_file() for path in written)
    for same in ("LICENSE", ".github/workflows/tests.yml", "src/micro_registry_example/py.typed"):
        assert (EXAMPLE / same).read_text() == (begun / same).read_text()
    ours, theirs = (tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (EXAMPLE, begun))
    assert ours["project"].pop("description")
    assert theirs["project"].pop("description")
    assert ours == theirs


def test_its_readme_is_the_one_that_micro_new_plugin_writes(begun: Path) -> None:
    ours, theirs = ((folder / "README.md").read_text() for folder in (EXAMPLE, begun))
    assert section(ours, "Use it") == section(theirs, "Use it")
    assert section(ours, "Test it") == section(theirs, "Test it")
    assert re.findall("^#.*$", ours, re.MULTILINE) == re.findall("^#.*$", theirs, re.MULTILINE)
