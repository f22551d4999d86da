import pytest
from greeter_pb2 import Request
from micro_schema import lacking
from old_pb2 import Old


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        (Request(), []),
        (Old(name="x", children=[Old(name="y")]), []),
        (Old(), ["name"]),
        (Old(children=[Old(name="y"), Old()]), ["name", "children[1].name"]),
        (Old(name="x", labels={"a": "b"}, children=[Old(name="y", labels={"a": "b"}), Old()]), ["children[1].name"]),
        (Old(children=[Old()] * 50), ["name", *(f"children[{index}].name" for index in range(19))]),
    ],
    ids=repr,
)
def test_required_fields_that_are_unset_are_named(message: Old, paths: list[str]) -> None:
    assert lacking(message) == paths
