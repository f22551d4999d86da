"""The module that `micro client` writes: taken by type checkers and linters, and by a service that really runs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from micro.described import KEY, STREAM_KEY
from micro_cli.annotations import Annotations
from micro_cli.client_module import client_module, gaps
from micro_cli.interface import Interfaces, interfaces_of
from micro_core import Endpoint, ServiceRecord, Value

Micro = Callable[..., Any]
Started = Callable[..., Any]

SHOP = """
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

import micro
import msgspec

class Color(enum.Enum):
    RED = "red"
    GREEN = "green"

@dataclass
class Address:
    city: str
    zip: str | None = None

@dataclass
class Tree:
    name: str
    children: list["Tree"] = field(default_factory=list)

class Cat(msgspec.Struct, tag=True):
    lives: int

class Dog(msgspec.Struct, tag=True):
    name: str = "Rex"

Odd = TypedDict("Odd", {"first-name": str, "class": NotRequired[int]})

class Thing(TypedDict):
    id: uuid.UUID
    note: NotRequired[str]

@dataclass
class Order:
    id: uuid.UUID
    at: dt.datetime
    raw: bytes = b"x"
    price: decimal.Decimal = decimal.Decimal("1.50")
    day: dt.date = dt.date(2030, 1, 31)
    color: Color = Color.RED
    sizes: list[int] = field(default_factory=list)
    pair: tuple[int, str] | None = None
    labels: dict[str, Address] = field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    either: int | str = 1

@dataclass
class Made:
    when: dt.datetime = field(default_factory=lambda: dt.datetime(2030, 1, 1))

service = micro.Service("shop")

@service.handler
class Orders:
    @micro.endpoint(idempotent=True)
    async def get(self, id: uuid.UUID) -> Order:
        return Order(id, dt.datetime(2030, 1, 31, 12, tzinfo=dt.UTC), labels={"home": Address("Rome")})

    async def put(self, order: Order) -> Order:
        return order

    async def nothing(self) -> None: ...

    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def total(self, orders: AsyncIterator[Order]) -> decimal.Decimal:
        return sum([order.price async for order in orders], decimal.Decimal(0))

    async def echo(self, trees: AsyncIterator[Tree]) -> AsyncIterator[Tree]:
        async for tree in trees:
            yield Tree("root", [tree])

    @micro.endpoint("HTTPPet")
    async def pet(self, pet: Cat | Dog) -> list[Cat | Dog]:
        return [pet, Dog()]

    async def odd(self, odd: Odd) -> Thing:
        return Thing(id=uuid.UUID(int=1), note=odd["first-name"])

    async def made(self, made: Made) -> Made:
        return made
"""

CALLER = """
import asyncio
import datetime as dt
import decimal
import uuid
from collections.abc import AsyncIterator

import micro

from shop_client import Address, Cat, Dog, Order, Orders, Tree


async def main() -> None:
    async with micro.Client() as client:
        orders = client.proxy(Orders, "shop")
        one = await orders.get(uuid.UUID(int=5))
        assert one == Order(
            uuid.UUID(int=5), dt.datetime(2030, 1, 31, 12, tzinfo=dt.UTC), labels={"home": Address("Rome")}
        ), one
        assert (one.raw, one.price, one.color) == (b"x", decimal.Decimal("1.50"), "red")
        assert await orders.put(one) == one
        await orders.nothing()
        assert [number async for number in orders.count(3)] == [0, 1, 2]

        async def twice() -> AsyncIterator[Order]:
            yield one
            yield one

        assert await orders.total(twice()) == decimal.Decimal("3.00")

        async def trees() -> AsyncIterator[Tree]:
            yield Tree("leaf")

        assert [tree async for tree in orders.echo(trees())] == [Tree("root", [Tree("leaf")])]
        assert await orders.http_pet(Cat(9)) == [Cat(9), Dog("Rex")]
        assert await orders.odd({"first-name": "Ada"}) == {"id": uuid.UUID(int=1), "note": "Ada"}
        assert await orders.made({}) == {"when": dt.datetime(2030, 1, 1)}
    print("well")


asyncio.run(main())
"""


def clean(*paths: Path, folder: Path) -> None:
    """Raises unless mypy --strict and ruff are content."""
    for command in (
        ["-m", "mypy", "--strict", "--cache-dir", str(folder / ".mypy_cache")],
        [
            "-m",
            "ruff",
            "check",
            "--isolated",
            "--no-cache",
            "--select",
            "E4,E7,E9,F,I,B,W",
            "--target-version",
            "py311",
        ],
    ):
        ended = subprocess.run([sys.executable, *command, *map(str, paths)], cwd=folder, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_module_of_a_running_service_is_typed_and_works(
    micro_: Micro, start: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICRO_REGISTER_SCHEMAS", "5000")
    (tmp_path / "shop.py").write_text(SHOP)
    serving = start("run", "shop:service")
    assert any("is registered" in line for line in serving.stderr)
    written = micro_("client", "shop")
    assert (written.code, written.err) == (0, [])
    (tmp_path / "shop_client.py").write_text("\n".join(written.out) + "\n")
    (tmp_path / "caller.py").write_text(CALLER)
    clean(tmp_path / "shop_client.py", tmp_path / "caller.py", folder=tmp_path)
    called = subprocess.run([sys.executable, "caller.py"], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (called.returncode, called.stdout) == (0, "well\n"), called.stderr


def of(*endpoints: Endpoint, service: str = "greeter", version: str = "1") -> str:
    types = interfaces_of([ServiceRecord(service, version, (), endpoints)])
    return client_module(service, version, types, [])


def told(name: str, document: Any, **metadata: str) -> Endpoint:
    return Endpoint(name, metadata={KEY: json.dumps(document), **metadata})


EVIL = 'x"""\nimport os; os.abort()\n\\"'
TEXT = {"type": "string"}
STRUCT = {"type": "object", "properties": {"x": TEXT}}


def request(schema: Any, **defs: Any) -> dict[str, Any]:
    return {"request": schema, "reply": None, "$defs": defs}


def struct(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


STRANGE = {
    "shapes": of(
        Endpoint("Say.Hello", Value("R", "R", (Value("name", "string"), Value("tags", "[]string"))), Value("", "[]R")),
        Endpoint("Say.Up", Value("Context", "Context"), Value("Stream", "Stream"), {"stream": "true"}),
        Endpoint("Say.Down", Value("Context", "Context"), metadata={"stream": "true", STREAM_KEY: "server"}),
        Endpoint("Say.Any"),
    ),
    "names": of(
        *(told(f"Say.{name}", request(TEXT)) for name in ("Class", "List", "Of", "of", "OF", "2nd", "GetHTTPPage")),
        *(told(f"Say.{name}", request(TEXT)) for name in ("é", "a-b", "a_b", "_")),
        told("pkg.v1.Say.Hello", request(TEXT)), told("2.X", request(TEXT)), told("None.X", request(TEXT)),
        told("/pkg.Say/Hello", request(TEXT)), told("Nodot", request(TEXT)), told("micro.X", request(TEXT)),
    ),
    "types": of(
        told("Say.A", request({"$ref": "#/$defs/Say"}, Say=STRUCT)),
        told("Say.B", request({"$ref": "#/$defs/Any"}, Any=STRUCT)),
        told("Say.C", request({"$ref": "#/$defs/list"}, list=STRUCT)),
        told("Say.D", request({"$ref": "#/$defs/Page[int]"}, **{"Page[int]": STRUCT, "Page_int": struct(y=TEXT)})),
        told("Say.E", request({"$ref": "#/$defs/E"}, E=struct())),
        told("Say.F", request({"$ref": "#/$defs/Loop"}, Loop={"anyOf": [{"$ref": "#/$defs/Loop"}]})),
    ),
    "fields": of(
        told("Say.A", request({"$ref": "#/$defs/A"}, A=struct(**{"from": TEXT, "a b": {"enum": ["x"]}, "": TEXT}))),
        told("Say.B", request({"$ref": "#/$defs/B"}, B=struct(str=TEXT, list={"type": "array", "items": TEXT}))),
        told("Say.C", request({"$ref": "#/$defs/C"}, C=struct(_x=TEXT, __y={"$ref": "#/$defs/B"}), B=STRUCT)),
        told("Say.D", request({"$ref": "#/$defs/D"}, D=struct(C=TEXT, é=TEXT, dt={"format": "date", **TEXT}))),
        told("Say.E", request({"$ref": "#/$defs/E"}, E={**struct(a=TEXT, b=TEXT), "required": ["b"]})),
    ),
    "defaults": of(
        told("Say.A", request({"$ref": "#/$defs/A"}, A=struct(
            a={**TEXT, "default": EVIL}, b={"type": "integer", "default": -1}, c={"type": "boolean", "default": True},
            d={"type": "array", "items": {"type": "number"}, "default": [1.5, -2]},
            f={**TEXT, "default": "\u202e"}, e={"enum": ["é", "\u202e"], "default": "é"},
            g={**TEXT, "format": "uuid", "default": "00000000-0000-0000-0000-000000000001"},
        ))),
        told("Say.B", request({"$ref": "#/$defs/B"}, B=struct(a={**TEXT, "default": 5}))),
        told("Say.C", request({"$ref": "#/$defs/C"}, C=struct(a={**TEXT, "format": "duration", "default": "PT1S"}))),
    ),
    "unions": of(
        told("Say.A", request({"anyOf": [TEXT, {**TEXT, "format": "date"}, {"enum": ["a"]}, {"type": "null"}]})),
        told("Say.B", request({"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}, A=STRUCT, B=struct(y=TEXT))),
        told("Say.C", request({"anyOf": [{"type": "array"}, {"type": "array", "items": TEXT}, {"type": "integer"}]})),
        told("Say.D", request({"anyOf": [{"$ref": "#/$defs/X"}, {"$ref": "#/$defs/Y"}]}, X=struct(
            kind={"const": EVIL}, n={"type": "integer"}), Y=struct(kind={"const": "y"}, more={"$ref": "#/$defs/X"}))),
        told("Say.E", request({"anyOf": [{"enum": [1, 2]}, {"type": "integer"}, {"enum": [1.5]}, {"type": "null"}]})),
        told("Say.F", request({"enum": [True, False]})),
        told("Say.G", request({"enum": [1, "a", None]})),
    ),
    "evil": of(
        told(f"Say.{EVIL}", request({"$ref": f"#/$defs/{EVIL}"}, **{EVIL: struct(**{EVIL: {"const": EVIL}})})),
        told(f"{EVIL}.X", request(TEXT)), told(EVIL.replace(".", ""), request(TEXT)),
        service=f'gr"""{EVIL}', version=EVIL,
    ),
    "only what no proxy can call": of(told("Nodot", request(TEXT))),
}  # fmt: skip


LIGATURE = "\ufb01n"
"""Python reads it as `fin`."""


def test_names_that_python_takes_as_they_are_are_kept() -> None:
    made = of(
        told("Maß.SagGröße", request({"$ref": "#/$defs/Größe"}, Größe={**struct(höhe=TEXT), "required": ["höhe"]})),
        told("Maß.Find", request({"$ref": "#/$defs/Sought"}, Sought=struct(**{LIGATURE: TEXT}))),
        told(f"Maß.{LIGATURE}", request(TEXT)),
    )
    assert "@dataclass\nclass Größe:\n    höhe: str\n" in made
    assert f'        "{LIGATURE}": "NotRequired[str]",\n' in made
    assert "class Maß(Protocol):\n    async def find(self" in made
    assert "    async def sag_größe(self, request: Größe)" in made
    assert f'    @micro.endpoint("Maß.{LIGATURE}")\n    async def fin(' in made


def test_modules_of_strange_records_are_clean(tmp_path: Path) -> None:
    paths = []
    for name, text in STRANGE.items():
        paths.append(tmp_path / f"client_of_{name.replace(' ', '_')}.py")
        paths[-1].write_text(text)
    clean(*paths, folder=tmp_path)


@pytest.mark.parametrize("name", STRANGE)
def test_the_types_of_a_strange_module_can_be_encoded_and_decoded(name: str) -> None:
    module: dict[str, Any] = {"__name__": "page"}
    sys.modules["page"] = type(sys)("page")
    vars(sys.modules["page"]).update(module)
    try:
        exec(compile(STRANGE[name], name, "exec"), vars(sys.modules["page"]))
        for each in list(vars(sys.modules["page"]).values()):
            if isinstance(each, type) and each.__module__ == "page":
                protocol = getattr(each, "_is_protocol", False)
                types = [hint for method in vars(each).values() if callable(method) for hint in hints(method)]
                for type_ in types if protocol else [each]:
                    msgspec.json.Decoder(type_)
    finally:
        del sys.modules["page"]


def hints(method: Any) -> list[Any]:
    from typing import get_args, get_origin, get_type_hints

    if not hasattr(method, "__annotations__") or method.__module__ != "page":
        return []
    found = get_type_hints(method, vars(sys.modules["page"])).values()
    return [get_args(hint)[0] if str(get_origin(hint)).endswith("AsyncIterator'>") else hint for hint in found]


def test_nothing_of_a_strangers_text_is_run() -> None:
    for name, text in STRANGE.items():
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
        assert calls <= {"field", "TypedDict", "micro.endpoint", "uuid.UUID"}, (name, calls)


def test_what_is_left_out_of_a_shape_is_not_sent_as_null() -> None:
    shape = Value("R", "R", (Value("tags", "[]string"), Value("inner", "R")))
    assert "class R(TypedDict, total=False):\n" in of(Endpoint("Say.Hello", shape, Value("string", "string")))


def test_what_is_not_known_is_told() -> None:
    types = interfaces_of(
        [
            ServiceRecord(
                "greeter", "1", (),
                (
                    Endpoint("Say.Hello", Value("R", "R")),
                    Endpoint("Say.Up", metadata={"stream": "true"}),
                    Endpoint("Say.Down", metadata={"stream": "true", STREAM_KEY: "server"}),
                    Endpoint("Say.Any"),
                    told("Nodot", request(TEXT)),
                    told("Say.Known", request(TEXT)),
                ),
            )
        ]
    )  # fmt: skip
    assert list(gaps(types)) == [
        "Nodot has no dot in its name, so no proxy can call it: use client.call",
        "Say.Any: no schema is registered, so anything may be sent",
        "Say.Down: no schema is registered, so it is not known what is streamed",
        "Say.Hello: no schema is registered, so anything may be sent",
        "Say.Up: no schema is registered, so it is not known what is streamed, and maybe by whom",
    ]


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        (None, "None"),
        ({}, "Any"),
        ({"type": "array"}, "list[Any]"),
        ({"type": "array", "prefixItems": [TEXT, {"type": "integer"}]}, "tuple[str, int]"),
        ({"type": "object"}, "dict[str, Any]"),
        ({"type": "object", "additionalProperties": False}, "dict[str, Any]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "dict[str, float]"),
        (struct(x=TEXT), "dict[str, Any]"),
        ({"anyOf": [TEXT, {}]}, "Any"),
        ({"anyOf": [{"type": "null"}, TEXT]}, "str | None"),
        ({"enum": []}, "Any"),
        ({"enum": [2, "b"]}, 'Literal["b", 2]'),
        ({"enum": [None, "a"]}, 'Literal["a", None]'),
        ({"const": "'"}, 'Literal["\'"]'),
    ],
)
def test_annotations(schema: Any, annotation: str) -> None:
    assert Annotations(Interfaces({}, {}), str).of(schema) == annotation
