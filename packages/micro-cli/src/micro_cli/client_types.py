"""Types of a service as Python source.

A type becomes a dataclass where every field has a name that Python takes and is either required or has a default that
can be written, so that sending the default is the same as leaving it out. All others become TypedDicts, which can leave
fields out and have any names. Types that a union tells apart by a tag become msgspec Structs with that tag.

Names and texts come from strangers, and here they become source code: a name is written where it is an identifier, and
all else as a literal.
"""

from __future__ import annotations

import base64
import binascii
import keyword
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from micro_cli.annotations import Annotations, is_struct, text_literal
from micro_cli.checking import problems
from micro_cli.interface import Interfaces, Schema

BUILTINS = frozenset({"bool", "bytes", "dict", "float", "int", "list", "str", "tuple"})
MODULES = frozenset({"base64", "decimal", "dt", "micro", "msgspec", "uuid"})
IMPORTED = frozenset({"Any", "AsyncIterator", "Literal", "NotRequired", "Protocol", "TypedDict", "dataclass", "field"})
USED = BUILTINS | MODULES | IMPORTED
"""What a module says by these names, nothing else in it may be called."""


def identifier(name: str, taken: Collection[str], used: Collection[str] = USED) -> str:
    """A name that Python takes and nobody has, as close as possible."""
    made = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", name)).strip("_") or "unnamed"
    if not made.isidentifier():
        made = f"n{made}" if f"n{made}".isidentifier() else ascii_name(made)
    return free(f"{made}_" if keyword.iskeyword(made) or made in used else made, taken)


def ascii_name(name: str) -> str:
    """The name in ASCII letters, digits and underscores."""
    made = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "unnamed"
    return f"n{made}" if made[0].isdigit() else made


def free(name: str, taken: Collection[str]) -> str:
    """The name, with a number where somebody has it."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name.rstrip('_')}_{number}", number + 1
    return found


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `default`, or `factory` that makes one, is source code, empty where there is none."""

    name: str
    annotation: str
    required: bool
    default: str = ""
    factory: str = ""

    @property
    def has_default(self) -> bool:
        """Whether the class can say what it is when it is left out."""
        return bool(self.default or self.factory)


class Types:
    """Writes the types of a service."""

    def __init__(self, types: Interfaces) -> None:
        self._types = types
        self._structs = [name for name in sorted(types.defs) if is_struct(types.defs[name])]
        self.names: dict[str, str] = {}
        for name in self._structs:
            self.names[name] = identifier(name, self.names.values())
        self._tags = {name: tag for name, tag in _tags(types) if self._is_plain_class(name)}
        tagged = {self.names[name] for name in self._tags}
        self._annotations = Annotations(types, self.names.__getitem__, tagged=tagged)

    def annotation(self, schema: Schema | None) -> str:
        """The annotation of a request, a reply or a field."""
        return self._annotations.of(schema)

    def classes(self) -> list[str]:
        """The source of each class."""
        return [self._class(name) for name in self._structs]

    def _class(self, name: str) -> str:
        schema, cls = self._types.defs[name], self.names[name]
        tag_field, tag = self._tags.get(name, ("", ""))
        required = schema.get("required", ())
        fields = [
            self._field(field, each, field in required)
            for field, each in schema["properties"].items()
            if not tag_field or field != tag_field
        ]
        if tag_field:
            return _struct(cls, fields, tag_field, tag)
        if not self._is_plain_class(name):
            return _typed_dict_of_any_names(cls, fields)
        said = bool(fields) and name not in self._types.shaped
        said = said and all(each.required or each.has_default for each in fields)
        return _dataclass(cls, fields) if said else _typed_dict(cls, fields)

    def _is_plain_class(self, name: str) -> bool:
        """Whether its fields may stand in the body of a class, where a name hides what else is called so."""
        hidden = {*USED, *self.names.values()}
        return all(
            field.isidentifier() and field[0] != "_" and field not in hidden and not keyword.iskeyword(field)
            and unicodedata.is_normalized("NFKC", field)
            for field in self._types.defs[name]["properties"]
        )  # fmt: skip

    def _field(self, name: str, schema: Schema, required: bool) -> Field:
        annotation = self.annotation(schema)
        if "const" in schema and annotation.startswith("Literal["):
            return Field(name, annotation, required, _literal(schema["const"]))
        if required:
            return Field(name, annotation, True)
        default = schema.get("default")
        if default is None:
            return Field(name, annotation, False, "None" if annotation.endswith("| None") else "")
        if problems(default, schema, self._types):
            return Field(name, annotation, False)
        return Field(name, annotation, False, *_default(default, annotation.removesuffix(" | None")))


def _tags(types: Interfaces) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each type that a union tells apart by a text, with the field and the text."""
    for parts in _unions(types):
        structs = [part["$ref"] for part in parts if "$ref" in part and is_struct(types.defs[part["$ref"]])]
        tags = {name: dict(_constants(types.defs[name])) for name in structs}
        shared = set.intersection(*(set(each) for each in tags.values())) if len(tags) > 1 else set()
        for field in sorted(shared):
            if len({each[field] for each in tags.values()}) == len(tags):
                yield from ((name, (field, each[field])) for name, each in tags.items())
                break


def _constants(schema: Schema) -> Iterator[tuple[str, str]]:
    for field, each in schema["properties"].items():
        if isinstance(each.get("const"), str):
            yield field, each["const"]


def _unions(types: Interfaces) -> Iterator[list[Schema]]:
    left: list[Any] = [
        *types.defs.values(),
        *(side for each in types.endpoints.values() for side in (each.request, each.reply)),
    ]
    while left:
        schema = left.pop()
        if isinstance(schema, list):
            left += schema
        elif isinstance(schema, dict):
            if isinstance(schema.get("anyOf"), list):
                yield schema["anyOf"]
            left += [value for word, value in schema.items() if word not in ("const", "default", "enum")]


def _literal(value: Any) -> str:
    return text_literal(value) if isinstance(value, str) else repr(value)


_MADE: Mapping[str, str] = {
    "dt.datetime": "dt.datetime.fromisoformat({})", "dt.date": "dt.date.fromisoformat({})",
    "dt.time": "dt.time.fromisoformat({})", "uuid.UUID": "uuid.UUID({})", "decimal.Decimal": "decimal.Decimal({})",
}  # fmt: skip


def _default(value: Any, annotation: str) -> tuple[str, str]:
    """The source of a default, and of what makes it; both empty where it cannot be written."""
    if value in ([], {}) and annotation.startswith(("list[", "dict[")):
        return "", annotation.partition("[")[0]
    if isinstance(value, list) and annotation in _OF_SCALARS and all(isinstance(each, _SCALAR) for each in value):
        return "", f"lambda: [{', '.join(map(_literal, value))}]"
    if isinstance(value, str):
        return _text(value, annotation)
    return (_literal(value), "") if isinstance(value, _SCALAR) else ("", "")


_SCALAR = (str, int, float)
_OF_SCALARS = frozenset({"list[str]", "list[int]", "list[float]", "list[bool]"})


def _text(value: str, annotation: str) -> tuple[str, str]:
    if annotation in _MADE:
        return "", f"lambda: {_MADE[annotation].format(text_literal(value))}"
    if annotation == "bytes":
        try:
            return repr(base64.b64decode(value)), ""
        except (ValueError, binascii.Error):
            return "", ""
    parts = annotation.split(" | ")
    return (text_literal(value), "") if "str" in parts or annotation.startswith("Literal[") else ("", "")


def _lines(fields: list[Field], made_by: str) -> list[str]:
    """The body of a class; what has no default comes first."""
    return [
        f"    {_line(each, made_by)}" for each in sorted(fields, key=lambda each: not each.required or each.has_default)
    ]


def _line(each: Field, made_by: str) -> str:
    if each.factory:
        return f"{each.name}: {each.annotation} = {made_by}(default_factory={each.factory})"
    if each.default:
        return f"{each.name}: {each.annotation} = {each.default}"
    if each.required:
        return f"{each.name}: {each.annotation}"
    return f"{each.name}: {each.annotation} | msgspec.UnsetType = msgspec.UNSET"


def _dataclass(name: str, fields: list[Field]) -> str:
    return "\n".join(["@dataclass", f"class {name}:", *_lines(fields, "field")])


def _struct(name: str, fields: list[Field], tag_field: str, tag: str) -> str:
    head = f"class {name}(msgspec.Struct, tag_field={text_literal(tag_field)}, tag={text_literal(tag)}):"
    return "\n".join([head, *(_lines(fields, "msgspec.field") or ["    pass"])])


def _typed_dict(name: str, fields: list[Field]) -> str:
    mixed = any(each.required for each in fields)
    head = f"class {name}(TypedDict):" if mixed else f"class {name}(TypedDict, total=False):"
    return "\n".join([head, *([f"    {each.name}: {_annotation(each, mixed)}" for each in fields] or ["    pass"])])


def _typed_dict_of_any_names(name: str, fields: list[Field]) -> str:
    """Names are keys of a call; annotations are quoted, since they may name what comes further down."""
    keys = [f"        {text_literal(each.name)}: {_quoted(_annotation(each))}," for each in fields]
    return "\n".join([f"{name} = TypedDict(", f'    "{name}",', "    {", *keys, "    },", ")"])


def _annotation(each: Field, mixed: bool = True) -> str:
    return f"NotRequired[{each.annotation}]" if mixed and not each.required else each.annotation


def _quoted(annotation: str) -> str:
    return f"'{annotation}'" if '"' in annotation and "'" not in annotation else text_literal(annotation)
