"""Types, and values of them, that every codec without a schema of its own carries as it carries JSON's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Literal, TypedDict

import attrs
import msgspec


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class User:
    name: str
    id: int = 0
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    value: float
    children: list[Tree] = field(default_factory=list)


class Box(msgspec.Struct):
    user: User
    secret: bytes


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Point(TypedDict):
    x: int
    y: float


@attrs.define
class Car:
    wheels: int


@dataclass
class Other:
    title: str


VALUES: list[tuple[Any, Any]] = [
    (User, User("Ada", 2**62, ["x"])),
    (User | None, None),
    (User | None, User("Ada")),
    (User | int | str, "5"),
    (int, -(2**63)),
    (int, 2**64 - 1),
    (Tree, Tree(1.5, [Tree(2.0)])),
    (Box, Box(User("Ada"), b"\x00\xff")),
    (Cat | Dog, Dog("Rex")),
    (Point, {"x": 1, "y": 2.5}),
    (Car, Car(4)),
    (Color, Color.RED),
    (Level, Level.HIGH),
    (Literal["a", "b"], "b"),
    (bytes, b"\x00\xff"),
    (bytearray, bytearray(b"\x00\xff")),
    (dict[str, list[int]], {"a": [1]}),
    (set[int], {1, 2}),
    (tuple[int, str], (1, "a")),
    (Any, None),
    (None, None),
    (type(None), None),
]
"""Each with its annotation."""
