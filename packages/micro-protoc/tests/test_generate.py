"""What the plugin writes, by a real protoc."""

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from micro_protoc import generate

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).parents[3] / "examples" / "protobuf"

SAY = """
syntax = "proto3";
package shop.v1;
import "google/protobuf/empty.proto";
import "deep/down-below.proto";

// Says "things" with a \\ and
//
//   three \"""quotes\""".
service Say {
  // Greets.
  rpc Hello(Request) returns (deep.Outer.Inner);
  rpc GetURL(google.protobuf.Empty) returns (stream Request) { option idempotency_level = IDEMPOTENT; }
  rpc Import(stream Request) returns (google.protobuf.Empty) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Chat(stream deep.Outer) returns (stream Request);
}
service Other {}
message Request { string name = 1; optional int64 maybe = 2; }
"""

BELOW = """
syntax = "proto2";
package deep;
message Outer { message Inner { required string name = 1; } }
"""


def protoc(folder, *files):
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "--pyi_out=.", "--micro_out=."]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([*command, *files], cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "down-below.proto").write_text(BELOW)
    (tmp_path / "say.proto").write_text(SAY)
    done = protoc(tmp_path, "say.proto", "deep/down-below.proto")
    assert (done.returncode, done.stderr) == (0, "")
    return tmp_path


PROGRAM = """
from collections.abc import AsyncIterator

import micro
from deep.down_below_pb2 import Outer
from google.protobuf.empty_pb2 import Empty
from say_micro import Say, say_client
from say_pb2 import Request

service = micro.Service("shop", registry="memory", transport="memory")

class Greeter(Say):
    async def hello(self, request: Request) -> Outer.Inner:
        return Outer.Inner(name=request.name)

    async def get_url(self, request: Empty) -> AsyncIterator[Request]:
        yield Request(name="u")

    async def import_(self, requests: AsyncIterator[Request]) -> Empty:
        async for _ in requests:
            pass
        return Empty()

    async def chat(self, requests: AsyncIterator[Outer]) -> AsyncIterator[Request]:
        async for _ in requests:
            yield Request(name="c")

service.handler(Greeter())

async def outers() -> AsyncIterator[Outer]:
    yield Outer()

async def requests() -> AsyncIterator[Request]:
    yield Request()

async def use(client: micro.Client) -> list[str]:
    say = say_client(client, "shop", timeout=5)
    said = [(await say.hello(Request(name="h"))).name]
    said += [request.name async for request in say.get_url(Empty())]
    empty: Empty = await say.import_(requests())
    said += [request.name async for request in say.chat(outers())]
    return said
"""

WRONG = """
import micro
from say_micro import Say, say_client
from google.protobuf.empty_pb2 import Empty
from say_pb2 import Request
from program import outers

class Half(Say):
    async def hello(self, request: Request) -> Request:
        return request

Half()

async def use(client: micro.Client) -> None:
    say = say_client(client, "shop", tiemout=5)
    await say.hello(Empty())
    say.import_(outers())
    (await say.hello(Request())).nope
    async for request in say.get_url(Empty()):
        request.nope
    say.nope()
    say_client("greeter")
"""


def test_a_program_is_typed_and_a_wrong_argument_is_an_error(shop):
    (shop / "program.py").write_text(PROGRAM)
    (shop / "wrong.py").write_text(textwrap.dedent(WRONG))
    run = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    right = subprocess.run([*run, "say_micro.py", "program.py"], cwd=shop, capture_output=True, text=True, check=False)
    assert (right.returncode, right.stdout) == (0, "")
    wrong = subprocess.run([*run, "wrong.py"], cwd=shop, capture_output=True, text=True, check=False)
    told = {int(line.split(":")[1]) for line in wrong.stdout.splitlines() if ": error: " in line}
    assert told == {9, 12, 15, 16, 17, 18, 20, 21, 22}, wrong.stdout


SERVED = """
import anyio, micro
from program import service, use

async def main():
    async with service, micro.Client(registry="memory", transport="memory") as client:
        print(await use(client))
        (record,) = await client.list_services()
        for endpoint in record.endpoints:
            print(endpoint.name, endpoint.metadata.get("idempotent"))

anyio.run(main)
"""


def test_endpoints_are_named_as_by_go_micros_generator_and_all_shapes_work(shop):
    (shop / "program.py").write_text(PROGRAM)
    (shop / "served.py").write_text(SERVED)
    done = subprocess.run([sys.executable, "served.py"], cwd=shop, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "['h', 'u', 'c']",
        "Say.Chat None",
        "Say.GetURL true",
        "Say.Hello None",
        "Say.Import true",
    ], done.stderr


def test_a_comment_is_the_docstring_whatever_it_holds(shop, monkeypatch):
    monkeypatch.syspath_prepend(str(shop))
    say = importlib.import_module("say_micro").Say
    assert say.__doc__.split() == ["Says", '"things"', "with", "a", "\\", "and", "three", '"""quotes""".']
    assert (say.hello.__doc__, say.chat.__doc__) == ("Greets.", "Chat.")


def test_a_service_without_methods_is_written_and_a_file_without_services_is_not(shop):
    assert "class Other(" in (shop / "say_micro.py").read_text()
    assert not (shop / "deep" / "down_below_micro.py").exists()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("a.proto", "rpc GetUrl(M) returns (M); rpc GetURL(M) returns (M);", "'get_url' in Python, as GetUrl is"),
        ("a.proto", "rpc _Hidden(M) returns (M);", "_Hidden of service S begins with an underscore"),
        ("a.proto", "rpc A(M) returns (class); } message class {", "'class' is a word of Python"),
        ("a.proto", "rpc A(M) returns (O.None); } message O { message None {}", "'O.None' is a word of Python"),
        ("a.proto", "} service s {", "'s_client' in Python, as that of S is"),
        ("class/a.proto", "", "'class' is no name of a Python module"),
        ("4.proto", "", "'4_micro' is no name of a Python module"),
    ],
)
def test_what_python_cannot_say_is_one_sentence_of_protocs(tmp_path, file, text, said):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f'syntax = "proto3"; service S {{ {text} }} message M {{}}')
    done = protoc(tmp_path, file)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("service", "endpoint"),
    [
        ("Say", "Say.A"), ("say", "Say.A"), ("say_hello", "SayHello.A"), ("Say_Hello", "Say_Hello.A"),
        ("v1say2you", "V1Say2You.A"), ("_x", "XX.A"), ("HTTPSay", "HTTPSay.A"), ("async", "Async.A"),
    ],
)  # fmt: skip
def test_services_are_named_as_by_go_micros_generator(tmp_path, service, endpoint):
    (tmp_path / "a.proto").write_text(
        f'syntax = "proto3"; service {service} {{ rpc A(M) returns (M); }} message M {{}}'
    )
    assert protoc(tmp_path, "a.proto").stderr == ""
    written = (tmp_path / "a_micro.py").read_text()
    compile(written, "a_micro.py", "exec")
    assert f'@_micro.endpoint("{endpoint}")' in written


def test_a_service_that_is_called_by_a_word_of_python(tmp_path):
    (tmp_path / "a.proto").write_text('syntax = "proto3"; service async { rpc A(M) returns (M); } message M {}')
    assert protoc(tmp_path, "a.proto").stderr == ""
    written = (tmp_path / "a_micro.py").read_text()
    assert "class async_(_abc.ABC):" in written
    assert "def async_client(" in written


def test_an_option_is_refused():
    request = CodeGeneratorRequest(parameter="paths=x", file_to_generate=["a.proto"])
    request.proto_file.append(FileDescriptorProto(name="a.proto"))
    assert generate(request).error == "protoc-gen-micro has no options, and was given 'paths=x'"


def test_the_example_is_what_the_plugin_writes_today(tmp_path):
    (tmp_path / "dictionary.proto").write_text((EXAMPLE / "dictionary.proto").read_text())
    assert protoc(tmp_path, "dictionary.proto").returncode == 0
    assert (tmp_path / "dictionary_micro.py").read_text() == (EXAMPLE / "dictionary_micro.py").read_text()
