"""One session per question; `nox -l` is the manual. Packages are found by listing the folder, never enumerated."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "imports", "tests"]

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints.txt"
WHEELHOUSE = ROOT / "dist" / "wheelhouse"
OVERLAY = ROOT / "dist" / "compiled" / "overlay"
"""Compiled modules, for PYTHONPATH, when `compiled` has run."""

LIMIT = ["--timeout", "120", "--timeout-method", "thread"]
"""Seconds after which a test that hangs ends its process, with every thread's stack; the slowest takes a fourth of it.

By an exception it would only be asked to end, and a task that swallows what cancels it goes on hanging.
"""

PARALLEL = ["-q", "-n", "3", "--dist", "loadfile", *LIMIT]
"""Most tests wait for sockets and clocks, so three workers fill two cores."""


def pyproject(folder: Path) -> dict[str, Any]:
    """What stands in a package's pyproject.toml."""
    return tomllib.loads((folder / "pyproject.toml").read_text())


def project(folder: Path) -> dict[str, Any]:
    """The `[project]` table of a package."""
    table: dict[str, Any] = pyproject(folder)["project"]
    return table


PACKAGES = {folder.name: project(folder) for folder in sorted((ROOT / "packages").iterdir()) if folder.is_dir()}
PLUGINS = [
    name for name, table in PACKAGES.items() if any(group != "pytest11" for group in table.get("entry-points", {}))
]
GROUPS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]


def extras(table: dict[str, Any]) -> dict[str, list[str]]:
    """The extras of a package."""
    found: dict[str, list[str]] = table.get("optional-dependencies", {})
    return found


def editable(*names: str) -> list[str]:
    """Install arguments for packages of this repository, all of them for no name."""
    return [part for name in names or PACKAGES for part in ("-e", str(ROOT / "packages" / name))]


def install_all(session: nox.Session, *groups: str) -> None:
    """Every package as it stands in the tree, with the groups' tools, at the versions of constraints.txt."""
    tools = [requirement for group in groups for requirement in GROUPS[group]]
    session.install(*editable(), *tools, "-c", str(CONSTRAINTS))


def install_defaults(session: nox.Session, *more: str, groups: tuple[str, ...] = ()) -> None:
    """What a user has who installs micro-defaults, and the packages named, with the groups' tools."""
    tools = [requirement for group in groups for requirement in GROUPS[group]]
    session.install(*editable(*sorted(closure("micro-defaults", *more))), *tools, "-c", str(CONSTRAINTS))


def closure(*names: str) -> set[str]:
    """The packages of this repository that the named ones need, `test` extras of the named ones included."""
    found: set[str] = set()
    queue = [(name, True) for name in names]
    while queue:
        name, with_tests = queue.pop()
        found.add(name)
        extra = extras(PACKAGES[name]).get("test", []) if with_tests else []
        for requirement in [*PACKAGES[name]["dependencies"], *extra]:
            needed = requirement.split(">")[0].split("[")[0].strip()
            if needed in PACKAGES and needed not in found:
                queue.append((needed, False))
    return found


TOOLS = ["tools/compiled", "tools/consul", "tools/h2spec"]
DOWNSTREAM = ROOT / "downstream" / "micro-registry-example"
DOWNSTREAM_INSTALL = [
    "python -m venv .venv",
    '.venv/bin/pip install --no-index --find-links "$WHEELHOUSE" ".[test]"',
]
DOWNSTREAM_TEST = ".venv/bin/pytest tests"
DOWNSTREAM_USE = '.venv/bin/pip install --no-index --find-links "$WHEELHOUSE" . micro-defaults'
"""The lines of a stranger's README and workflow; a test holds all three against each other."""


def wheel(name: str) -> Path:
    """The wheel of a package in the wheelhouse."""
    return next(WHEELHOUSE.glob(f"{name.replace('-', '_')}-*.whl"))


def build_wheels(session: nox.Session) -> None:
    """Builds the wheel of every package into an empty wheelhouse."""
    shutil.rmtree(WHEELHOUSE, ignore_errors=True)
    for name in PACKAGES:
        session.run("uv", "build", "-q", "--wheel", str(ROOT / "packages" / name), "-o", str(WHEELHOUSE), external=True)


@nox.session
def demo(session: nox.Session) -> None:
    """Two greeters, a mailer and a consumer as processes: found, called, streamed to, killed, stopped."""
    install_defaults(session)
    session.run("python", str(ROOT / "examples" / "greeter" / "demo.py"), *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test but the soaks; arguments go to pytest: `nox -s tests -- packages/micro-core`."""
    install_all(session, "test")
    session.run("pytest", *(session.posargs or PARALLEL))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("ruff", "-c", str(CONSTRAINTS))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy --strict over every package, the examples and the tools."""
    install_all(session, "test", "check", "bench", "docs")
    sources = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("packages/*/src"))]
    session.run("mypy", *sources)
    session.run("mypy", "tests", "benchmarks", "examples", "fuzz", "docs/_ext", *TOOLS, "noxfile.py")
    session.run("mypy", "interop")  # alone, since it has a conftest.py of its own
    session.run("mypy", str(DOWNSTREAM / "src"), str(DOWNSTREAM / "tests"), env={"MYPYPATH": str(DOWNSTREAM / "src")})


@nox.session
def docs(session: nox.Session) -> None:
    """The pages in dist/docs; a warning is an error. That their code runs is seen by the tests."""
    install_all(session, "docs")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-n", str(ROOT / "docs"), str(ROOT / "dist" / "docs"))


@nox.session
def imports(session: nox.Session) -> None:
    """The layers contract of .importlinter."""
    install_all(session, "check")
    session.run("lint-imports")


@nox.session(reuse_venv=False)
@nox.parametrize("package", PLUGINS, ids=PLUGINS)
def alone(session: nox.Session, package: str) -> None:
    """A plugin's wheel in a fresh environment, with what its metadata and `test` extra ask for, passes the kit."""
    if not WHEELHOUSE.exists() or package == PLUGINS[0]:
        build_wheels(session)
    ours = [f"{name} @ {wheel(name).as_uri()}" for name in sorted(closure(package) - {package})]
    session.install(f"{package}[test] @ {wheel(package).as_uri()}", *ours, "pytest-timeout", "-c", str(CONSTRAINTS))
    session.run("python", str(ROOT / "tests" / "lists_itself.py"), package)
    suite = ROOT / "packages" / package / "tests" / "test_conformance.py"
    session.run("pytest", "-q", *LIMIT, str(suite if suite.exists() else suite.parent))


@nox.session
def lowest(session: nox.Session) -> None:
    """The tests on the lowest versions of direct dependencies that the packages claim to work with."""
    session.install("--resolution", "lowest-direct", *editable(), *GROUPS["test"])
    session.run("pytest", *(session.posargs or [*PARALLEL, "packages"]))


@nox.session
def wheels(session: nox.Session) -> None:
    """A wheelhouse of our wheels and what they need: `pip install --no-index --find-links dist/wheelhouse …`."""
    build_wheels(session)
    session.install("pip")
    wanted = [r for t in PACKAGES.values() for rs in (t["dependencies"], *extras(t).values()) for r in rs]
    backends = [r for n in PACKAGES for r in pyproject(ROOT / "packages" / n)["build-system"]["requires"]]
    needs = sorted({r for r in [*wanted, *backends] if not r.startswith("micro-")})
    session.run(
        "python",
        "-m",
        "pip",
        "download",
        "-q",
        "--only-binary",
        ":all:",
        "-c",
        str(CONSTRAINTS),
        "-d",
        str(WHEELHOUSE),
        *needs,
    )
    session.log(f"{len(list(WHEELHOUSE.glob('*.whl')))} wheels in {WHEELHOUSE.relative_to(ROOT)}")


@nox.session
def downstream(session: nox.Session) -> None:
    """A stranger's plugin, by the lines of its README and workflow: installed from our wheelhouse, tested, in use.

    In use are the demo's four processes, which find each other through it.
    """
    wheels(session)
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder).resolve() / DOWNSTREAM.name
        shutil.copytree(DOWNSTREAM, plugin, ignore=shutil.ignore_patterns(".venv", "__pycache__", ".*_cache"))
        session.chdir(plugin)
        alone = {"WHEELHOUSE": str(WHEELHOUSE), "PIP_FIND_LINKS": "", "PIP_QUIET": "1", "PYTHONPATH": ""}
        for line in [*DOWNSTREAM_INSTALL, DOWNSTREAM_TEST, DOWNSTREAM_USE]:
            session.run("bash", "-euc", line, external=True, env=alone)
        chosen = {"MICRO_REGISTRY": "example", "MICRO_REGISTRY_EXAMPLE_ADDRESS": str(plugin / "registry.db")}
        lives = {"MICRO_REGISTER_TTL": "3s", "MICRO_REGISTER_INTERVAL": "1s"}  # a kill shows when its time is over
        demo = str(ROOT / "examples" / "greeter" / "demo.py")
        session.run(".venv/bin/python", demo, external=True, env={**chosen, **lives})
        begin_every_kind(session, alone)
        session.chdir(ROOT)


def begin_every_kind(session: nox.Session, env: dict[str, str]) -> None:
    """What `micro new plugin` of the wheel writes is installed beside the example and lists itself.

    Its suite is red and says what to write.
    """
    install = [".venv/bin/pip", "install", "--no-index", "--find-links", str(WHEELHOUSE)]
    session.run(*install, "micro-cli", external=True, env=env)
    templates = ROOT / "packages" / "micro-cli" / "src" / "micro_cli" / "new" / "templates"
    kinds = sorted(path.name.removesuffix("_test.py.txt") for path in templates.glob("*_test.py.txt"))
    for kind in kinds:
        session.run(".venv/bin/micro", "new", "plugin", kind, "begun", external=True, silent=True)
    session.run(*install, *(f"./micro-{kind}-begun[test]" for kind in kinds), external=True, env=env)
    for kind in kinds:
        session.run(".venv/bin/python", str(ROOT / "tests" / "lists_itself.py"), f"micro-{kind}-begun", external=True)
        suite = [".venv/bin/pytest", "-q", "-k", "not uvloop and not trio", f"micro-{kind}-begun/tests"]
        told = session.run(*suite, external=True, silent=True, env=env, success_codes=[1])
        if "RuntimeError: write `" not in str(told):
            session.error(f"the suite of the {kind} that was begun does not say what to write:\n{told}")


@nox.session
def compiled(session: nox.Session) -> None:
    """The modules of a call compiled by mypyc, into dist/compiled, and their packages' tests on them; four minutes."""
    if not has_compiler():
        session.skip("there is no C compiler")
    install_all(session, "test", "compiled")
    session.run("python", str(ROOT / "tools" / "compiled" / "build.py"))
    on_path = ("micro-core", "micro-http", "micro-rpc", "micro-transport-http")
    folders = [str(ROOT / "packages" / name) for name in on_path]
    session.run("pytest", *PARALLEL, *folders, *session.posargs, env={"PYTHONPATH": str(OVERLAY)})


def has_compiler() -> bool:
    """Whether C can be compiled here."""
    return any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))


@nox.session
def bench(session: nox.Session) -> None:
    """Ours beside grpc, FastAPI, aiohttp, granian, NATS, Go and Go Micro, interleaved in one run; writes the page.

    Server and client have a core each; a quarter of an hour. `-- --rows "micro raw" --cases unary-64` is less. Go Micro
    and ours find each other by multicast, so all run in a network namespace of their own, where one can be made.
    """
    install_defaults(session, "micro-codec-proto", groups=("bench", "compiled"))
    if has_compiler() and ("--rows" not in session.posargs or any("compiled" in each for each in session.posargs)):
        session.run("python", str(ROOT / "tools" / "compiled" / "build.py"))
    python = str(Path(session.bin) / "python")
    bench = str(ROOT / "benchmarks" / "bench.py")
    session.run("python", str(ROOT / "benchmarks" / "golang.py"))  # while there is a network to build from
    session.run("sh", str(ROOT / "interop" / "alone.sh"), python, bench, *session.posargs, external=True)


@nox.session
def endurance(session: nox.Session) -> None:
    """Memory of 10,000 idle connections each, plain and TLS, and of a million calls; a few minutes."""
    install_defaults(session, groups=("bench",))
    session.run("python", str(ROOT / "benchmarks" / "endurance.py"), *session.posargs)


@nox.session
def bench_discovery(session: nox.Session) -> None:
    """Selection among 1,000 nodes, lookup from cache, register until visible: mDNS, and Consul where an agent is."""
    install_all(session)
    session.run("python", str(ROOT / "benchmarks" / "selection.py"), *session.posargs)
    session.run("python", str(ROOT / "tools" / "consul" / "measure.py"), success_codes=[0, 1])


@nox.session
def bench_codecs(session: nox.Session) -> None:
    """Encode and decode of 100 B and 10 KB by each codec beside its bare library, with the same typed values."""
    install_defaults(session, "micro-codec-bytes", "micro-codec-msgpack", groups=("codecs",))
    session.run("python", str(ROOT / "benchmarks" / "codec_layers.py"), *session.posargs)


@nox.session
def startup(session: nox.Session) -> None:
    """Import times over a bare interpreter, and process start to first served call."""
    install_defaults(session, "micro-registry-memory")
    session.run("python", str(ROOT / "benchmarks" / "startup.py"), *session.posargs)


@nox.session
def cancelled(session: nox.Session) -> None:
    """Calls cancelled at random points, on every back end and both versions of HTTP: nothing is left behind."""
    install_defaults(session, groups=("test",))
    session.run("python", str(ROOT / "benchmarks" / "cancelled.py"), *session.posargs)


@nox.session
def vanished(session: nox.Session) -> None:
    """Milliseconds until handlers learn that their caller cancelled, let the deadline pass, closed or was killed."""
    install_defaults(session, groups=("test",))
    session.run("python", str(ROOT / "benchmarks" / "vanished.py"), *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """300 mDNS nodes in 10 processes: all listed within 10 s, none lost in 10 minutes (`-- --seconds 600`)."""
    install_all(session, "test")
    session.run("python", str(ROOT / "packages/micro-registry-mdns/tests/soak_mdns.py"), *session.posargs)


@nox.session
def soak_consul(session: nox.Session) -> None:
    """Consul removes a node whose process was killed, about 90 s later (`-- --within 120`)."""
    install_all(session, "test")
    session.run("python", str(ROOT / "packages/micro-registry-consul/tests/soak_consul.py"), *session.posargs)


@nox.session
def interop(session: nox.Session) -> None:
    """The matrix against unmodified Go Micro processes, which are built once (2 minutes, needs Go); writes its page.

    Skipped where there is no Go, unless REQUIRE_GO is set. What needs multicast runs in a network namespace of its own.
    `-- interop/test_calls.py -k json` is less, and writes no page.
    """
    if shutil.which("go") is None:
        sentence = "there is no Go here to build the peers with"
        if os.environ.get("REQUIRE_GO"):
            session.error(sentence)
        session.skip(sentence)
    install_all(session, "test")
    session.run("python", str(ROOT / "interop" / "build.py"))
    pytest = str(Path(session.bin) / "pytest")
    arguments = session.posargs or [*PARALLEL, "--dist", "worksteal", "interop", "--write-page"]
    session.run("sh", str(ROOT / "interop" / "alone.sh"), pytest, *arguments, external=True)


@nox.session(venv_backend="none")
def consul(session: nox.Session) -> None:
    """Builds a Consul agent for the tests into the cache, once (4 minutes, needs Go), and prints its path."""
    session.run("sh", str(ROOT / "tools" / "consul" / "build.sh"), external=True)


@nox.session
def hostile(session: nox.Session) -> None:
    """4,000 slow peers and every flood of HTTP/2 against a server of its own; two minutes (`-- --peers 4000`)."""
    install_all(session, "test")
    session.run("python", str(ROOT / "packages/micro-http/tests/soak_hostile.py"), *session.posargs)


@nox.session
def hostile_mdns(session: nox.Session) -> None:
    """Hostile packets at an mDNS registry, more than it can read; four minutes, in a network namespace of its own."""
    install_all(session, "test")
    script = str(ROOT / "packages/micro-registry-mdns/tests/mdns_networks.py")
    session.run("unshare", "-Urn", str(Path(session.bin) / "python"), script, "flood", "asyncio", external=True)


@nox.session
def h2spec(session: nox.Session) -> None:
    """Our HTTP/2 server against h2spec, strictly, plain and over TLS; h2spec is built once (30 s, needs Go)."""
    install_all(session, "test")
    built = session.run("sh", str(ROOT / "tools" / "h2spec" / "build.sh"), external=True, silent=True)
    binary = str(built).strip().splitlines()[-1]
    session.run("python", str(ROOT / "tools" / "h2spec" / "run.py"), binary, *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random bytes against every decoder, a minute each (`-- --seconds 600 json msgpack`); counts the executions."""
    install_defaults(session, "micro-codec-bytes", "micro-codec-msgpack", groups=("codecs", "fuzz"))
    session.run("python", str(ROOT / "fuzz" / "decoders.py"), *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Writes constraints.txt: the versions that every other session installs."""
    sources = [str(ROOT / "packages" / name / "pyproject.toml") for name in PACKAGES]
    groups = ROOT / ".nox" / "groups.in"
    groups.write_text("\n".join(requirement for group in GROUPS.values() for requirement in group))
    ours = [part for name in PACKAGES for part in ("--no-emit-package", name)]
    session.run(
        "uv", "pip", "compile", "-q", "--universal", "--no-header", "--no-annotate", "--no-emit-index-url",
        "--all-extras", "--upgrade", *ours, "-o", str(CONSTRAINTS), *sources, str(groups), external=True,
        env={"UV_NO_PROGRESS": "1", **os.environ},
    )  # fmt: skip
