"""Names of .proto files in Python."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_LOWER = re.compile(r"_([a-z])|(?<![A-Za-z])([a-z])")
"""Where a word begins in lower case."""


class Unwritable(Exception):
    """The file asks for what cannot be written in Python; the text is for protoc's user."""


def snake(name: str) -> str:
    """`GetURL` as `get_url`."""
    return _WORDS.sub("_", name).lower()


def camel(name: str) -> str:
    """The name that Go gives a service: `say_hello` as `SayHello`."""
    first, rest = ("X", name[1:]) if name.startswith("_") else ("", name)
    return first + _LOWER.sub(lambda found: (found[1] or found[2]).upper(), rest)


def identifier(name: str) -> str:
    """The name, with an underscore behind where it is a word of Python."""
    return f"{name}_" if keyword.iskeyword(name) else name


def module(proto: str, suffix: str) -> str:
    """The module of a file, as protoc's own generator names it: `a/b-c.proto` is `a.b_c_pb2`."""
    name = proto.removesuffix(".proto").replace("-", "_").replace("/", ".") + suffix
    for part in name.split("."):
        if not part.isidentifier() or keyword.iskeyword(part):
            raise Unwritable(f"{proto}: {part!r} is no name of a Python module; rename the file or folder")
    return name


def alias(module: str) -> str:
    """What a module is called where it is imported: a name that no service has."""
    return "_" + module.replace(".", "_")


class Types:
    """Where messages are found in Python, by their full name, `.package.Outer.Inner`."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._found: dict[str, tuple[str, str]] = {}
        for file in files:
            package = f".{file.package}" if file.package else ""
            for path in _paths(file.message_type, ()):
                self._found[f"{package}.{'.'.join(path)}"] = (file.name, ".".join(path))

    def module(self, full_name: str) -> str:
        """The module that holds a message."""
        return module(self._found[full_name][0], "_pb2")

    def expression(self, full_name: str) -> str:
        """The message where its module is imported by its alias. Raises Unwritable."""
        file, path = self._found[full_name]
        if any(map(keyword.iskeyword, path.split("."))):
            raise Unwritable(f"{file}: message {path!r} is a word of Python, so nothing can be typed by it; rename it")
        return f"{alias(self.module(full_name))}.{path}"


def _paths(messages: Iterable[DescriptorProto], outer: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for message in messages:
        path = (*outer, message.name)
        yield path
        yield from _paths(message.nested_type, path)
