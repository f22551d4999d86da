"""The text of a typed client module, from what a service registered: its types, and a Protocol for each handler.

The Protocols are for `client.proxy`. What a record does not say is said in the module: by `Any`, and by a comment.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence

from micro.naming import go_name

from micro_cli.annotations import text_literal
from micro_cli.client_types import BUILTINS, Types, identifier
from micro_cli.interface import Interface, Interfaces

WIDTH = 88
"""What a line may take, as formatters have it."""

_OF_PROXY = frozenset({"of"})
"""Names that a proxy uses itself."""

NO_DOT = "has no dot in its name, so no proxy can call it: use client.call"


def client_module(service: str, version: str, types: Interfaces, idempotent: Collection[str]) -> str:
    """Python source; `idempotent` names the endpoints that may be repeated."""
    return _Module(service, types, idempotent).text(version)


def gaps(types: Interfaces) -> Iterator[str]:
    """A sentence for each endpoint of which the record does not say all."""
    for each in types.endpoints.values():
        if not each.exact:
            yield f"{each.name}: {_gap(each)}"
        if "." not in each.name:
            yield f"{each.name} {NO_DOT}"


def _gap(each: Interface) -> str:
    if each.stream:
        by_whom = "" if each.stream in ("client", "server") else ", and maybe by whom"
        return f"no schema is registered, so it is not known what is streamed{by_whom}"
    known = [side for side in (each.request, each.reply) if side]
    return "no schema is registered, " + (
        "only names and Go types, three levels deep; any field may be left out" if known else "so anything may be sent"
    )


class _Module:
    def __init__(self, service: str, types: Interfaces, idempotent: Collection[str]) -> None:
        self._service = service
        self._idempotent = idempotent
        self._types = Types(types)
        groups: dict[str, list[Interface]] = {}
        for name, each in types.endpoints.items():
            groups.setdefault(name.rpartition(".")[0], []).append(each)
        self._lone = groups.pop("", [])
        self._groups = groups

    def text(self, version: str) -> str:
        contracts = list(self._contracts())
        body = "\n\n\n".join([*self._types.classes(), *(text for _, text in contracts)])
        head = [self._docstring(version, [name for name, _ in contracts]), "from __future__ import annotations"]
        head += [*_imports(body), *(f"# {_inert(each.name)} {NO_DOT}" for each in self._lone)]
        apart = "\n\n\n" if body.startswith(("@", "class")) else "\n\n"
        return "\n\n".join(head) + (f"{apart}{body}\n" if body else "\n")

    def _docstring(self, version: str, names: Sequence[str]) -> str:
        about = f"Client of {_inert(self._service)}, from what version {_inert(version)} registered."
        if not names:
            return f'"""{about}"""'
        variable = names[0].lower() if names[0].lower() not in names else "proxy"
        proxy = f'{variable} = client.proxy({names[0]}, "{_inert(self._service)}")'
        return f'"""{about}\n\nasync with micro.Client() as client:\n    {proxy}\n"""'

    def _contracts(self) -> Iterator[tuple[str, str]]:
        taken = set(self._types.names.values())
        for group, endpoints in self._groups.items():
            name = identifier(group, taken)
            taken.add(name)
            methods: dict[str, str] = {}
            for each in endpoints:
                method = identifier(_snake(each.name.rpartition(".")[2]), methods, BUILTINS | _OF_PROXY)
                methods[method] = self._method(method, each, f"{name}.{go_name(method)}")
            yield name, f"class {name}(Protocol):\n" + "\n\n".join(methods.values())

    def _method(self, method: str, each: Interface, implied: str) -> str:
        lines = []
        if not each.exact:
            lines.append(f"# {_gap(each)}")
        marks = [text_literal(each.name)] if each.name != implied else []
        if each.name in self._idempotent:
            marks.append("idempotent=True")
        if marks:
            lines.append(f"@micro.endpoint({', '.join(marks)})")
        return "\n".join(f"    {line}" for line in [*lines, *self._signature(method, each)])

    def _signature(self, method: str, each: Interface) -> list[str]:
        request, reply = self._types.annotation(each.request), self._types.annotation(each.reply)
        parameters = "self" if each.request is None else f"self, request: {request}"
        if each.stream in ("client", "both"):
            parameters = f"self, values: AsyncIterator[{request}]"
        if each.stream in ("server", "both"):
            reply = f"AsyncIterator[{reply}]"
        word = "def" if each.stream in ("server", "both") else "async def"
        line = f"{word} {method}({parameters}) -> {reply}: ..."
        return [line] if len(line) + 4 <= WIDTH else [f"{word} {method}(", f"    {parameters}", f") -> {reply}: ..."]


def _snake(name: str) -> str:
    """`SayHello` as `say_hello`, `GetHTTPPage` as `get_http_page`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower()


def _inert(text: str) -> str:
    """As it may stand in a docstring or comment, which it cannot end."""
    return "".join(char if char.isprintable() and char not in '"\\' else "?" for char in text)


_WHENCE = (
    ("import datetime as dt", ("dt",)),
    ("import decimal", ("decimal",)),
    ("import uuid", ("uuid",)),
    ("from collections.abc import {}", ("AsyncIterator",)),
    ("from dataclasses import {}", ("dataclass", "field")),
    ("from typing import {}", ("Any", "Literal", "NotRequired", "Protocol", "TypedDict")),
)
_FOREIGN = (("import micro", ("micro",)), ("import msgspec", ("msgspec",)))


def _imports(body: str) -> list[str]:
    """Those that the source uses: the standard library's, and others."""
    used = _names(ast.parse(body))
    blocks = []
    for whence in (_WHENCE, _FOREIGN):
        lines = [line.format(", ".join(sorted(used & {*names}))) for line, names in whence if used & {*names}]
        blocks.append("\n".join(lines))
    return [block for block in blocks if block]


def _names(tree: ast.AST) -> set[str]:
    """Every name in a tree, those in the quoted annotations of a TypedDict among them."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for value in node.values:
                if isinstance(value, ast.Constant):
                    found |= _names(ast.parse(str(value.value), mode="eval"))
    return found
