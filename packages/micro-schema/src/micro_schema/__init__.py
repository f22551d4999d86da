"""What codecs share about annotations, and the JSON Schemas of records (`json_schema`); private to this repository.

Types are msgspec's or, where an annotation mentions a model, pydantic's. A codec says how its bytes are written and
read; what a type can hold, which types are refused, and what is said about bytes that are not of a type is found here.
Texts name the `form`: what the codec writes, "JSON" or "msgpack".
"""

from __future__ import annotations

from micro_schema.checks import MAX_DEPTH, has_infinity, holds_infinity, infinity_in, may_hold_infinity
from micro_schema.functions import Mend, decoding, encoding, refusing, unsupported
from micro_schema.lacking import lacking
from micro_schema.misfit import Misfit
from micro_schema.models import adapter, is_model, mentions_model
from micro_schema.modelshape import shape_of_model
from micro_schema.problems import problems
from micro_schema.shape import Shape, name_of, shape_of

__all__ = [
    "MAX_DEPTH",
    "Mend",
    "Misfit",
    "Shape",
    "adapter",
    "decoding",
    "encoding",
    "has_infinity",
    "holds_infinity",
    "infinity_in",
    "is_model",
    "lacking",
    "may_hold_infinity",
    "mentions_model",
    "name_of",
    "problems",
    "refusing",
    "shape_of",
    "shape_of_model",
    "unsupported",
]
