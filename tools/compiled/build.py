"""Compiles the modules that a call passes through by mypyc: the wheel `micro-compiled`, and a folder to try it from.

The modules stay what they are, Python that runs as well without. A wheel of them puts a shared library beside each file
of micro-core, micro-http and micro-rpc, which Python prefers to the file; so it fits one version of these alone.

Left out is what others subclass (the interfaces) and what is not on the way of a call.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from conditions import decided_otherwise

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "dist" / "compiled"
OVERLAY = TARGET / "overlay"
"""Goes into PYTHONPATH: the three packages as they stand in the tree, with their compiled modules."""
PACKAGES = ("micro-core", "micro-http", "micro-rpc")
MODULES = """
micro_core: call clock loan message records scopes
micro_http: client connection listener names parse pipe server tables workers write
micro_http/http2: channel client control decoder driver encoder ends faults fields frames
micro_http/http2: link sending served server streams
micro_rpc: attempts client client_stream grpc plain plans routing slots streams sweep wire work
"""
OPEN = {"micro_http/http2/sending.py": ("Stream",)}
"""Classes that may be subclassed by modules that are not compiled: whoever drives a link brings streams of his own."""


def modules() -> list[str]:
    """Their files, as paths within the overlay."""
    lines = [line.partition(": ") for line in MODULES.strip().splitlines()]
    return [f"{folder}/{name}.py" for folder, _, names in lines for name in names.split()]


def copy_sources() -> None:
    """The three packages into the overlay."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / "packages" / package / "src", OVERLAY, dirs_exist_ok=True)


def without_slots(source: str) -> str:
    """A module whose classes have no `__slots__`: compiled ones have slots anyway, and refuse the name."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = "\n"
            lines[node.lineno - 1] = " " * node.col_offset + "pass\n"
    return "".join(lines)


def opened(source: str, classes: tuple[str, ...]) -> str:
    """A module whose named classes may have subclasses that are not compiled. mypyc alone reads the import."""
    for name in classes:
        found = re.compile(rf"^class {name}\b", re.MULTILINE)
        source, times = found.subn(f"@mypyc_attr(allow_interpreted_subclasses=True)\nclass {name}", source)
        if times != 1:
            raise SystemExit(f"class {name} is to be open to subclasses, and stands in no module that is compiled")
    read = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from mypy_extensions import mypyc_attr\n"
    at = "from __future__ import annotations\n"
    return source.replace(at, at + read, 1) if classes else source


def version_of(package: str) -> str:
    """What its pyproject.toml says."""
    return str(tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]["version"])


def compile_modules() -> None:
    """The shared libraries into the overlay, and the wheel beside it."""
    from mypyc.build import mypycify
    from setuptools import setup

    extensions: list[Any] = mypycify(["--strict", *modules()], opt_level="3", group_name="micro_compiled")
    setup(
        name="micro-compiled",
        version=version_of("micro-core"),
        description="The modules of micro-core, micro-http and micro-rpc that a call passes through, compiled",
        install_requires=[f"{package}=={version_of(package)}" for package in PACKAGES],
        packages=[],
        ext_modules=extensions,
        script_args=["-q", "build_ext", "--inplace", "bdist_wheel", "--dist-dir", str(TARGET)],
    )


def main() -> None:
    """Checks and compiles. Raises SystemExit with what has to be mended first."""
    copy_sources()
    for name in modules():
        path = OVERLAY / name
        path.write_text(opened(without_slots(path.read_text()), OPEN.get(name, ())))
    os.chdir(OVERLAY)
    found = [str(each) for each in decided_otherwise(modules())]
    if found:
        sys.exit("compiled code would decide otherwise here:\n" + "\n".join(found))
    compile_modules()


if __name__ == "__main__":
    main()
