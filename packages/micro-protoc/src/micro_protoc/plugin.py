"""What protoc runs: a CodeGeneratorRequest on standard input, a CodeGeneratorResponse on standard output."""

from __future__ import annotations

import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest

from micro_protoc.generate import generate


def main() -> None:
    """Answers one request. Started by hand it says what it is for, and exits with 2."""
    if sys.stdin.isatty():
        sys.exit("protoc-gen-micro is run by protoc: protoc --python_out=. --pyi_out=. --micro_out=. say.proto")
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString())
