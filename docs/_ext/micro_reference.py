"""The Sphinx side of the generated reference: directives for options, docstrings as they are written here."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import micro
import micro_core
from docutils import nodes
from micro_options import plugin_options, settings
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

EXPORTED = {
    **{name: f"micro_core.{name}" for name in micro_core.__all__},
    **{name: f"micro.errors.{name}" for name in micro.errors.__all__},
    **{name: f"micro.{name}" for name in micro.__all__},
}
"""What users and authors of plugins import, and the name of its entry."""

_NAMES = (
    "SubscriberMiddleware",
    "Middleware",
    "EventHandler",
    "CallNext",
    "Accept",
    "Encode",
    "Decode",
    "Buffer",
    "Clock",
)
ALIASES = {stringify_annotation(getattr(micro_core, name), "smart"): name for name in _NAMES}
"""Types that have a name here, by what Sphinx writes for them; those that hold others come first."""

GIVEN = {
    *("micro.Context", "micro.Response", "micro.Stream", "micro.Replies", "micro.sync.Stream", "micro.sync.Replies"),
    *("micro.testing.App", "micro.testing.Clock", "micro_core.NodeSet", "micro_core.Attempt"),
}
"""Classes whose objects people are given: how one is made is nobody's business."""

OF_THE_WIRE = re.compile(r"\s*\((?:`[^`]*` ?)?,? ?WIRE §[^)]*\)")
"""Where a fact of the wire comes from; for readers of the source."""


class PluginOptions(SphinxDirective):
    """`{plugin-options} registry`: every installed plugin of the kind with its options."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The parsed text."""
        return self.parse_text_to_nodes(plugin_options(self.arguments[0]), allow_section_headings=True)


class ServiceSettings(SphinxDirective):
    """`{service-settings}`: every setting of a service."""

    def run(self) -> list[nodes.Node]:
        """The parsed text."""
        return self.parse_text_to_nodes(settings(), allow_section_headings=True)


def rewrite(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Reads a docstring as a reader of the source does: what stands indented after a paragraph, and `this`, is code."""
    text = OF_THE_WIRE.sub("", "\n".join(lines))
    pieces = _INDENTED.split(text)  # text, block, text, block, …
    pieces[::2] = [_literals(piece) for piece in pieces[::2]]
    pieces[1::2] = [_literal(piece) for piece in pieces[1::2]]
    lines[:] = "".join(pieces).split("\n")


def around_napoleon() -> tuple[Callable[..., None], Callable[..., None]]:
    """Keeps sentences about attributes as they are: napoleon takes what stands before a colon for a type."""
    kept: dict[str, list[str]] = {}

    def keep(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        if what in ("attribute", "property"):
            kept[name] = list(lines)

    def give_back(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = kept.pop(name, lines)

    return keep, give_back


_QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_INDENTED = re.compile(r"(?:(?<=\n)|^)(?=\S)([^\n]*\n\n(?: {4}[^\n]*\n|\n(?= {4}))+)")


def _literals(text: str) -> str:
    return _QUOTED.sub(r"``\1``", text)


def _literal(piece: str) -> str:
    before, _, block = piece.partition("\n\n")
    try:
        compile(textwrap.dedent(block), "docstring", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        language = "python"
    except SyntaxError:
        language = "text"
    return f"{_literals(before)}\n\n.. code-block:: {language}\n\n{block}"


def list_decisions(app: Sphinx, docname: str, source: list[str]) -> None:
    """Gives the list of decisions, which is also read where no Sphinx is, a table of contents."""
    if docname == "decisions/README":
        pages = sorted(path.stem for path in Path(app.srcdir, "decisions").glob("*.md") if path.stem != "README")
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *pages, "```", ""])


def shorten(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leaves out the arguments of classes that nobody constructs; types that have a name go by it."""
    if name in GIVEN:
        return "", ""
    return _named(signature), _named(returns)


def _named(annotated: str | None) -> str | None:
    for written, name in ALIASES.items():
        annotated = annotated and annotated.replace(written, f"~micro_core.{name}")
    return annotated and _MADE.sub(lambda match: "{}" if match[0].startswith("m") else "...", annotated)


_MADE = re.compile(r"mappingproxy\(\{\}\)|<dataclasses\._MISSING_TYPE object>")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement) -> nodes.Node | None:
    """Links a bare or private name to the entry of what is exported; that one lacks an entry is a warning."""
    if node.get("refdomain") != "py":
        return None
    entry = EXPORTED.get(node["reftarget"].rpartition(".")[2])
    if entry is None:
        return contnode
    found = env.domains.python_domain.objects.get(entry)
    return None if found is None else make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, contnode)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("plugin-options", PluginOptions)
    app.add_directive("service-settings", ServiceSettings)
    app.connect("source-read", list_decisions)
    app.connect("autodoc-process-docstring", rewrite, priority=100)
    keep, give_back = around_napoleon()
    app.connect("autodoc-process-docstring", keep, priority=200)
    app.connect("autodoc-process-docstring", give_back, priority=900)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
