"""The convention of the repository, held against the folders as they are."""

from __future__ import annotations

import ast
import configparser
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from micro_cli.new import KINDS, write_plugin
from micro_core.loader import DIRECTORY, DISTRIBUTIONS

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(folder.name for folder in (ROOT / "packages").iterdir() if folder.is_dir())
SUPPORT = {"micro-http", "micro-discovery", "micro-messaging", "micro-schema"}

MODULES = {"micro-service": "micro"}
"""Distributions whose module is not called after them."""
NOT_BY_KIND = {"micro-rpc"}
"""Distributions that serve several kinds, and are called after the protocol instead."""


def pyproject(package: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())


def entry_points(package: str) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = pyproject(package)["project"].get("entry-points", {})
    return groups


def module(package: str) -> str | None:
    return None if package == "micro-defaults" else MODULES.get(package, package.replace("-", "_"))


def assert_is_the_skeleton(package: str, table: dict[str, Any]) -> None:
    assert table["build-system"] == {"requires": ["hatchling>=1.27"], "build-backend": "hatchling.build"}
    project = table["project"]
    fixed = {key: project[key] for key in ("name", "readme", "requires-python", "license", "classifiers")}
    assert fixed == {
        "name": package,
        "readme": "README.md",
        "requires-python": ">=3.11",
        "license": "Apache-2.0",
        "classifiers": ["Private :: Do Not Upload", "Typing :: Typed"],
    }
    plugin = any(group.startswith("micro.") for group in project.get("entry-points", {}))
    assert project.get("keywords") == (["micro-plugin"] if plugin else None)
    for requirement in project["dependencies"]:
        if requirement.startswith("micro-"):
            assert re.fullmatch(r"[a-z-]+(\[[a-z]+\])?>=0\.1,<1", requirement), requirement


@pytest.mark.parametrize("package", PACKAGES)
def test_every_pyproject_is_the_one_skeleton(package: str) -> None:
    assert_is_the_skeleton(package, pyproject(package))
    assert pyproject(package)["project"]["version"] == pyproject("micro-core")["project"]["version"]


OF_USERS = {"google", "pydantic", "pydantic_core", "trio"}
"""Modules that are imported where their user has imported them already, so that nobody needs them for our sake."""
STANDARD = {*sys.stdlib_module_names, "annotationlib"}
"""With what releases of Python have that are later than this one."""


@pytest.mark.parametrize("package", [name for name in PACKAGES if module(name)])
def test_every_package_declares_what_it_imports(package: str) -> None:
    project = pyproject(package)["project"]
    extras = project.get("optional-dependencies", {})
    asked = [*project["dependencies"], *(each for name, group in extras.items() if name != "test" for each in group)]
    declared = {re.split(r"[\[<>=;!~ ]", requirement)[0] for requirement in [*asked, package]}
    ours = {name: [each] for each in PACKAGES if (name := module(each))}
    brought_by = {**packages_distributions(), **ours, "consul": ["python-consul2"]}
    for name in sorted(set(imported(package)) - STANDARD - OF_USERS):
        bringing = {each.replace("_", "-") for each in brought_by.get(name, [name])}
        assert declared & bringing, f"{package} imports {name}"


def imported(package: str) -> Iterator[str]:
    """The first parts of all modules that a package imports as it runs, in functions, too."""
    left: list[ast.AST] = [ast.parse(path.read_text()) for path in (ROOT / "packages" / package / "src").rglob("*.py")]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            left += ast.iter_child_nodes(node)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_plugin_begun_by_micro_new_has_the_same_skeleton(tmp_path: Path, kind: str) -> None:
    write_plugin(kind, "example", tmp_path)
    table = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert_is_the_skeleton(f"micro-{kind}-example", table)
    module = f"micro_{kind}_example"
    assert table["project"]["entry-points"][f"micro.{kind}"] == {"example": module}
    assert (tmp_path / "README.md").read_text().startswith(f"# micro-{kind}-example\n")
    assert (tmp_path / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (tmp_path / "src" / module / "py.typed").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_folder_distribution_module_group_and_name_agree(package: str) -> None:
    folder = ROOT / "packages" / package
    assert (folder / "README.md").read_text().startswith(f"# {package}\n")
    name = module(package)
    if name is None:
        return
    assert (folder / "src" / name / "py.typed").exists()
    assert [path.name for path in (folder / "src").iterdir() if path.is_dir()] == [name]
    for group, entries in entry_points(package).items():
        assert set(entries.values()) <= {name, f"{name}.plugin", f"{name}.testing.plugin"}
        if group not in ("pytest11", "micro.content_type") and package not in NOT_BY_KIND:
            kind = group.removeprefix("micro.")
            assert list(entries) == [package.removeprefix(f"micro-{kind}-")]


def test_the_workspace_sources_name_every_package() -> None:
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["sources"]
    assert sources == {package: {"workspace": True} for package in PACKAGES}


def test_the_import_contract_names_every_package_in_its_layer() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    modules = {name for package in PACKAGES if (name := module(package))}
    assert set(parser["importlinter"]["root_packages"].split()) == modules
    layers = parser["importlinter:contract:layers"]["layers"].strip().splitlines()
    support = {package.replace("-", "_") for package in SUPPORT}
    assert layers[-1].strip() == "micro_core"
    assert layers[0].strip() == "micro_cli"
    assert {name for layer in layers[2:-1] for name in layer.replace("|", " ").split()} == support
    assert set(layers[1].replace("|", " ").split()) == modules - support - {"micro_core", "micro_cli"}


def test_an_error_about_a_content_type_and_the_directory_name_the_package_that_brings_it() -> None:
    brought = {name: package for package in PACKAGES for name in entry_points(package).get("micro.content_type", {})}
    assert dict(DISTRIBUTIONS) == brought
    rows = [line for line in (ROOT / DIRECTORY).read_text().splitlines() if line.startswith("| codec ")]
    for content_type, package in brought.items():
        assert any(f"`{package}`" in row and f"`{content_type}`" in row for row in rows), package


def test_the_readme_lists_every_package() -> None:
    text = (ROOT / "README.md").read_text()
    for package in PACKAGES:
        assert f"`{package}`" in text, package


def test_no_text_tells_to_install_our_names_from_an_index() -> None:
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("packages/**/*.md"),
        *ROOT.glob("packages/*/src/**/*.py"),
    ]:
        for line in path.read_text().splitlines():
            assert not re.search(r"pip install (?!.*--find-links).*\bmicro-", line), f"{path.relative_to(ROOT)}: {line}"
