"""Names of fields that are not ASCII: msgspec alone looks for them in vain until something asked for their UTF-8."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import attrs
import pytest
from micro_codec_json import JsonCodec
from micro_codec_msgpack import MsgpackCodec


def types(name: str) -> list[Any]:
    """A class of each kind with a field of that name, a name of its own for each since equal ones are one object."""
    return [
        dataclasses.make_dataclass("Plain", [(f"{name}_plain", float), ("more", int, 0)]),
        attrs.make_class("Attrs", {f"{name}_attrs": attrs.field(type=float)}),
        TypedDict("Typed", {f"{name}_typed": float}),  # type: ignore[operator, misc]  # not known to the checker
    ]


# Written by hand, for an encoder would ask for the name's UTF-8.
ONE_FIELD = {
    "application/json": lambda name: b'{"%b":1.5}' % name,
    "application/msgpack": lambda name: b"\x81\xd9%c%b\xcb\x3f\xf8\0\0\0\0\0\0" % (len(name), name),
}
UNDER_A = {"application/json": b'{"a":%b}', "application/msgpack": b"\x81\xa1a%b"}


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()], ids=["json", "msgpack"])
@pytest.mark.parametrize("kind", range(3), ids=["dataclass", "attrs", "TypedDict"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_field_whose_name_is_not_ascii(codec: Any, kind: int, inside: bool) -> None:
    (content_type,) = codec.content_types
    type_ = types(f"höhe_{content_type[-4:]}_{inside}")[kind]
    (field, *_) = type_.__annotations__
    body, expected = ONE_FIELD[content_type](field.encode()), type_(**{field: 1.5})
    if inside:
        assert codec.decoder(dict[str, type_])(UNDER_A[content_type] % body) == {"a": expected}
    else:
        assert codec.decoder(type_)(body) == expected
