"""A codec of a content type that nobody else has: JSON by a name that Go Micro does not know."""

from __future__ import annotations

from micro_codec_json import JsonCodec
from micro_core import Codec, hookimpl


class OnlyPython(JsonCodec):
    content_types = ("application/x-python",)


@hookimpl
def micro_codec() -> type[Codec]:
    return OnlyPython
