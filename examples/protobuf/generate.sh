#!/bin/sh
# Makes the modules again; needs a protoc and protoc-gen-micro on the path.
cd "$(dirname "$0")" && protoc --python_out=. --pyi_out=. --micro_out=. dictionary.proto
