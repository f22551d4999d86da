"""The documentation: every block of code is run, and everything that people can write or meet has an entry."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs_page import AGENT, BEHIND, SERVED, shown
from docs_read import READERS, Block, blocks, check, commands, go
from micro import errors
from micro.config.settings import KEYS
from micro_core import hookspecs, loader
from micro_core.errors import MicroError
from micro_core.options import option_fields
from micro_options import plugin_options, settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TESTED_ELSEWHERE = {
    "how-to/write-a-plugin.md": "tests/test_write_a_plugin.py",
    "how-to/call-a-go-micro-service.md": "interop/test_pages.py",
    "how-to/join-a-go-micro-mesh.md": "interop/test_pages.py",
    "how-to/move-a-mesh-from-go.md": "interop/test_pages.py",
}
"""Pages whose code a test of their own runs, in an environment of its own, and where that names them."""

PAGES = sorted(
    path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.relative_to(DOCS).parts
)
WITH_CODE = [
    page for page in PAGES if page not in TESTED_ELSEWHERE and any(blocks((DOCS / page).read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("page", WITH_CODE)
def test_every_block_of_code_of_the_page_is_run(page: str, tmp_path: Path, surroundings: dict[str, str]) -> None:
    run = [sys.executable, "-W", "error", str(ROOT / "tests" / "docs_page.py"), str(DOCS / page)]
    done = subprocess.run(run, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"


NOT_RUN = {
    ("tutorial.md", "the tests have everything installed"),
    ("how-to/choose-a-registry.md", "opens a port to the network"),
    ("how-to/call-a-go-micro-service.md", "the tests have it built"),
}
"""The console blocks that nobody runs, all of them, each with the reason that its page gives."""


def test_only_these_commands_are_not_run_and_their_variables_are_known(tmp_path: Path) -> None:
    found = set()
    for page in PAGES:
        for block in blocks((DOCS / page).read_text(encoding="utf-8")):
            if block.mark.startswith("not run: "):
                found.add((page, block.mark.removeprefix("not run: ")))
                for command, _ in commands(block.text):
                    assert_its_variables_and_packages_are_known(command, tmp_path)
    assert found == NOT_RUN


def assert_its_variables_and_packages_are_known(command: str, folder: Path) -> None:
    set_before = dict(re.findall(r"\b(MICRO_\w+)=(\S+)", command))
    config = [sys.executable, "-m", "micro", "config"]
    done = subprocess.run(config, cwd=folder, env={**os.environ, **set_before}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"{name} in the environment" in done.stdout for name in set_before), command
    if "pip install" in command:
        ours = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}
        assert {word for word in command.split() if word.startswith("micro-")} <= ours


@pytest.mark.parametrize("page", PAGES)
def test_no_block_of_the_page_escapes_being_run(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = list(blocks(text))
    assert len(re.findall(r"^ *`{3,} *(?:\{(?:code-block|code)\} *)?[\w-]+ *$", text, re.MULTILINE)) == len(found)
    assert not re.search(r"^ *~~~|\{code\}|\{literalinclude\}|\.\. code", text, re.MULTILINE), "a block in another way"
    for block in found:
        check(block)
        marked = block.mark in ("", AGENT) or block.mark.startswith("not run: ")
        assert marked or BEHIND.fullmatch(block.mark) or SERVED.fullmatch(block.mark), f"line {block.line}"
        assert not block.mark or block.language == "console", f"line {block.line}: a mark says how commands run"
    assert text.count("<!-- ") == sum(1 for block in found if block.mark)


@pytest.mark.parametrize("page", TESTED_ELSEWHERE)
def test_pages_tested_elsewhere_are(page: str) -> None:
    assert Path(page).name in (ROOT / TESTED_ELSEWHERE[page]).read_text()


def test_blocks_are_found_with_what_is_said_about_them() -> None:
    text = "a\n\n<!-- background -->\n```console\n$ a\n```\n\n```{code-block} toml\n:caption: a.toml\n\nb = 1\n```\n"
    assert list(blocks(text)) == [
        Block(5, "console", "background", "", "$ a\n"),
        Block(10, "toml", "", "a.toml", "b = 1\n"),
    ]
    assert list(commands("$ a \\\n  b\nout\n$ c\n")) == [("a   b", "out\n"), ("c", "")]
    assert shown("one   two\n…\nfour", "one two\nthree\nfour\n")
    assert not shown("one\n", "one\ntwo\n")


BAD = {
    "python": "a b\n",
    "console": "$ if\n",
    "toml": '[project.entry-points."micro.regstry"]\na = "b"\n',
    "json": "{",
    "ini": "no section\n",
    "yaml": "kind: Service\n",
    "docker": 'FROM a\nCOPPY b c\nCMD ["d"]\n',
    "protobuf": 'syntax = "proto3"; message {}\n',
    "rust": "fn main() {}\n",
    "": "x\n",
}


@pytest.mark.parametrize("language", BAD)
def test_a_block_that_cannot_be_read_is_an_error_and_so_is_one_that_nobody_reads(language: str) -> None:
    assert {*BAD, "go", "text"} >= READERS.keys()
    with pytest.raises(AssertionError):
        check(Block(1, language, "", "", BAD[language]))


@pytest.mark.skipif(shutil.which("gofmt") is None, reason="there is no Go here to read Go's blocks")
@pytest.mark.parametrize("text", ["a := (\n", "a  :=  1\n"])
def test_go_that_gofmt_would_not_have_written_is_an_error(text: str) -> None:
    with pytest.raises(AssertionError):
        go(text)


def test_a_page_whose_command_fails_fails(tmp_path: Path, surroundings: dict[str, str]) -> None:
    for text in ("```console\n$ false\n```\n", "```python\nassert False\n```\n", "```console\n$ echo a\nb\n```\n"):
        (tmp_path / "page.md").write_text(text)
        run = [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(tmp_path / "page.md")]
        assert subprocess.run(run, cwd=tmp_path, env=surroundings, capture_output=True, timeout=60).returncode == 1


def test_the_tree_of_errors_is_theirs() -> None:
    (tree,) = (
        b.text for b in blocks((DOCS / "reference/errors.md").read_text(encoding="utf-8")) if b.language == "text"
    )
    above = {0: ""}
    for line in tree.splitlines():
        parents, _, children = line.lstrip("│├└─ ").partition(": ")
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
        above[depth] = parents
        pairs = [(name, above[depth - 1]) for name in parents.split(", ") if depth]
        pairs += [(name, parents) for name in children.split(", ") if name not in ("", "…")]
        for name, parent in pairs:
            assert issubclass(getattr(errors, name), getattr(errors, parent)), line


def entries(page: str) -> set[str]:
    """What a page of the reference has an entry for: the objects that it documents."""
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    return set(re.findall(r"^\.\. auto(?:function|exception|class):: (\S+)$", text, re.MULTILINE))


def test_every_hook_has_an_entry() -> None:
    hooks = {name for name, value in vars(hookspecs).items() if hasattr(value, "micro_spec")}
    assert len(hooks) >= 12
    documented = entries("hooks.md") - {"micro_core.hookspecs.Host", "micro_core.Finding"}
    assert documented == {f"micro_core.hookspecs.{name}" for name in hooks}
    assert all(getattr(hookspecs, name).__doc__ for name in hooks)


def every_error(base: type[MicroError] = MicroError) -> Iterator[type[MicroError]]:
    yield base
    for kind in base.__subclasses__():
        yield from every_error(kind)


def test_every_error_has_an_entry() -> None:
    ours = {kind.__name__ for kind in every_error() if kind.__module__ == "micro_core.errors"}
    assert entries("errors.md") >= {f"micro.errors.{name}" for name in ours | {"Outcome"}}
    assert ours <= set(errors.__all__)
    assert all(getattr(errors, name).__doc__ for name in ours)


def test_no_package_has_errors_of_its_own_that_users_meet() -> None:
    """Plugins let none of their own out; a class below MicroError anywhere else would lack an entry."""
    for source in ROOT.glob("packages/*/src/*/**/*.py"):
        if source.parent.name == "micro_core" or "micro_cli" in source.parts or "micro_conformance" in source.parts:
            continue
        found = re.findall(
            r"^class (\w+)\([\w.]*(?:MicroError|RPCError|ConfigurationError)\)", source.read_text(), re.MULTILINE
        )
        assert not [name for name in found if not name.startswith("_")], source


ENTRY = re.compile(r"^\.\. (?:auto\w+|py:type):: (\S+)(?:\n   :module: (\S+))?$", re.MULTILINE)


@pytest.mark.parametrize("module", ["micro", "micro.sync", "micro.testing", "micro_core"])
def test_every_exported_name_has_an_entry(module: str) -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCS.glob("reference/*.md"))
    documented = {f"{of}.{name}" if of else name for name, of in ENTRY.findall(text)}
    for name in set(importlib.import_module(module).__all__) - {"errors", "hookimpl"}:
        where = [f"{home}.{name}" for home in (module, "micro_core", "micro.errors", "micro_core.hookspecs")]
        assert documented & set(where[:1] if module in ("micro.sync", "micro.testing") else where), name


def declared_plugins() -> list[tuple[str, str]]:
    """Kind and name of every plugin of this repository, from the projects as they stand."""
    found = []
    for path in ROOT.glob("packages/*/pyproject.toml"):
        project: dict[str, Any] = tomllib.loads(path.read_text())["project"]
        for group, names in project.get("entry-points", {}).items():
            kind = group.removeprefix("micro.")
            if kind in loader.KINDS:
                found += [(kind, name) for name in names]
    return sorted(found)


@pytest.mark.parametrize(("kind", "name"), declared_plugins())
def test_every_option_of_every_plugin_has_an_entry(kind: str, name: str) -> None:
    text = plugin_options(kind)
    assert f"## {kind} {name}\n" in text
    for option, field in option_fields(loader.load(kind, name).cls.Options).items():
        assert f"{{confval}} {kind}.{name}.{option}\n" in text
        assert f"MICRO_{kind}_{name}_{option}`".upper().replace("-", "_") in text
        assert len(field.help) > 3, f"{kind}.{name}.{option} has no help"


def test_every_kind_of_plugin_and_every_setting_is_on_its_page() -> None:
    page = (DOCS / "reference" / "options.md").read_text(encoding="utf-8")
    assert re.findall(r"^```\{plugin-options\} (\w+)$", page, re.MULTILINE) == list(loader.KINDS)
    assert "{service-settings}" in (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    text = settings()
    assert all(f"{{confval}} {key}\n" in text for key in KEYS)


def test_the_directory_lists_every_plugin_of_this_repository() -> None:
    text = (DOCS / "plugins" / "directory.md").read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        if "micro-plugin" in project.get("keywords", []):
            assert f"`{project['name']}`" in text, project["name"]


def test_the_unknown_plugin_error_names_a_page_that_exists() -> None:
    with pytest.raises(errors.UnknownPlugin) as raised:
        loader.load("registry", "nobody-wrote-this")
    (path,) = re.findall(r"docs/\S+\.md", str(raised.value))
    assert (ROOT / path).is_file()


def test_the_decisions_are_all_listed() -> None:
    listed = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for path in DOCS.glob("decisions/*.md"):
        assert path.name == "README.md" or f"({path.name})" in listed, path.name


def requirements() -> set[str]:
    """The names of everything of others that a project of this repository asks for, development included."""
    found: list[str] = []
    for path in [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]:
        read = tomllib.loads(path.read_text())
        groups = [*read.get("dependency-groups", {}).values(), read.get("build-system", {}).get("requires", [])]
        project = read["project"]
        for names in (*groups, project.get("dependencies", []), *project.get("optional-dependencies", {}).values()):
            found += names
    names = {re.split(r"[\[<>=;~! ]", requirement)[0].lower() for requirement in found}
    return {name for name in names if not name.startswith("micro-")}


CALLED = {"myst-parser": "MyST", "mypy": "mypy --strict"}
"""Names in prose of what is named otherwise where it is installed."""


@pytest.mark.parametrize("name", sorted(requirements()))
def test_every_dependency_has_a_decision(name: str) -> None:
    text = (DOCS / "decisions" / "dependencies.md").read_text(encoding="utf-8")
    chosen = [row.split("|")[2].lower() for row in text.splitlines() if row.startswith("| ")]
    assert any(re.search(rf"(?<![\w-]){re.escape(CALLED.get(name, name).lower())}(?![\w-])", cell) for cell in chosen)
