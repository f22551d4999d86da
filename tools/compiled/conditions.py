"""Conditions that compiled code would decide otherwise.

mypy believes what it has seen of an attribute until it is assigned in the same function, whatever is called or
awaited in between. As a check that is a wrong guess at worst. mypyc compiles by it: after `if self.lost: return` and an
`await`, a second look at `self.lost` would be left out, or raise TypeError where the guess is wrong. Whoever asks twice
asks through a method, which is believed nothing.

And numbers have no identity in compiled code: an attribute that holds a float is a new object whenever it is read, so
that `is` says no where `==` says yes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import GetSetDescriptorType, MemberDescriptorType

from mypy import build
from mypy.modulefinder import BuildSource
from mypy.nodes import (
    AssertStmt,
    ComparisonExpr,
    ConditionalExpr,
    Expression,
    IfStmt,
    MemberExpr,
    MypyFile,
    NameExpr,
    Node,
    OpExpr,
    UnaryExpr,
    Var,
    WhileStmt,
)
from mypy.options import Options
from mypy.types import AnyType, Instance, LiteralType, NoneType, Type, UnionType, get_proper_type


@dataclass(frozen=True)
class Otherwise:
    """A condition that compiled code decides otherwise, or not at all."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def decided_otherwise(paths: list[str]) -> Iterator[Otherwise]:
    """Those of these files, which are the modules of the current folder. Raises SystemExit where mypy finds errors."""
    options = Options()
    options.export_types = options.preserve_asts = options.check_untyped_defs = True
    options.incremental = False
    sources = [BuildSource(path, path.removesuffix(".py").replace("/", ".")) for path in paths]
    result = build.build(sources, options)
    if result.errors:
        raise SystemExit("\n".join(result.errors))
    for source in sources:
        tree = result.files[str(source.module)]
        for attribute in _asked(tree):
            told = result.types.get(attribute.expression)
            if told is not None and attribute.decided_by(told):
                expression = attribute.expression
                yield Otherwise(str(source.path), expression.line, f"{expression.name} is always {told}")
        for line in _identities_of_numbers(tree, result.types):
            yield Otherwise(str(source.path), line, "a number has no identity: compare it by == or !=")


@dataclass(frozen=True)
class _Asked:
    """An attribute whose truth decides, or whether it is None."""

    expression: MemberExpr
    for_none: bool

    def decided_by(self, told: Type) -> bool:
        """Whether an attribute of that type always says the same."""
        proper = get_proper_type(told)
        if self.for_none:
            return isinstance(proper, NoneType) or not _may_be_none(proper)
        return not (proper.can_be_true and proper.can_be_false)


def _may_be_none(told: Type) -> bool:
    proper = get_proper_type(told)
    if isinstance(proper, UnionType):
        return any(_may_be_none(item) for item in proper.items)
    return isinstance(proper, NoneType | AnyType) or (
        isinstance(proper, Instance) and proper.type.fullname == "builtins.object"
    )


def _identities_of_numbers(tree: MypyFile, types: dict[Expression, Type]) -> Iterator[int]:
    """Lines of those comparisons."""
    for node in _nodes(tree):
        if isinstance(node, ComparisonExpr):
            for operator, left, right in node.pairwise():
                if operator in ("is", "is not") and _is_number(types.get(left)) and _is_number(types.get(right)):
                    yield node.line


def _is_number(told: Type | None) -> bool:
    proper = get_proper_type(told)
    if isinstance(proper, UnionType):
        return any(_is_number(item) for item in proper.items)
    if isinstance(proper, LiteralType):
        return _is_number(proper.fallback)
    return isinstance(proper, Instance) and proper.type.fullname in ("builtins.int", "builtins.float")


def _asked(tree: MypyFile) -> Iterator[_Asked]:
    """The attributes in conditions of a module."""
    for node in _nodes(tree):
        if isinstance(node, IfStmt):
            for condition in node.expr:
                yield from _operands(condition)
        elif isinstance(node, WhileStmt | AssertStmt):
            yield from _operands(node.expr)
        elif isinstance(node, ConditionalExpr):
            yield from _operands(node.cond)
        elif isinstance(node, OpExpr) and node.op in ("and", "or"):
            yield from _operands(node.left)


def _operands(condition: Expression) -> Iterator[_Asked]:
    if isinstance(condition, UnaryExpr) and condition.op == "not":
        yield from _operands(condition.expr)
    elif isinstance(condition, OpExpr) and condition.op in ("and", "or"):
        yield from _operands(condition.right)
    elif isinstance(condition, ComparisonExpr):
        for operator, left, right in condition.pairwise():
            is_none = isinstance(right, NameExpr) and right.fullname == "builtins.None"
            if operator in ("is", "is not") and is_none and isinstance(left, MemberExpr):
                yield _Asked(left, True)
    elif isinstance(condition, MemberExpr) and isinstance(condition.node, Var | None):
        yield _Asked(condition, False)


def _nodes(tree: MypyFile) -> Iterator[Node]:
    """Every node below it, whose attributes are descriptors since mypy is compiled itself."""
    waiting: list[object] = list(tree.defs)
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, list | tuple):
            waiting.extend(each)
        elif isinstance(each, Node) and not isinstance(each, MypyFile) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting.extend(_attributes(each))


_ELSEWHERE = ("node", "info", "type", "setter")
"""What a name refers to, which may stand in another module; and one of the items of an overload, where it has any."""


def _attributes(node: Node) -> Iterator[object]:
    """What stands below it."""
    for kind in type(node).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, GetSetDescriptorType | MemberDescriptorType) and name not in _ELSEWHERE:
                yield getattr(node, name, None)
