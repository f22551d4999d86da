"""`protoc-gen-micro`: typed services and clients from .proto files, beside the modules that `--python_out` writes.

    protoc --python_out=. --pyi_out=. --micro_out=. say.proto      say_pb2.py, say_pb2.pyi, say_micro.py

A service becomes one class. Whoever serves it inherits from the class, whoever calls it gets an object of its type from
a function beside it: the class is the contract. Endpoints are named as Go Micro's generator names them, `Say.Hello`.
"""

from micro_protoc.generate import generate

__all__ = ["generate"]
