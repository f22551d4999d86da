"""Header compression held against RFC 7541's examples, a reader without memory, and another implementation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hpack import Decoder as OtherDecoder
from hpack import Encoder as OtherEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import Head
from micro_http.http2.decoder import Block, Decoder, Names
from micro_http.http2.encoder import Encoder, integer
from micro_http.http2.faults import CompressionFault, Fault, StreamFault
from micro_http.http2.fields import TABLE_SIZE
from micro_http.names import FRAMING

MOST = 16 * 1024


def welcome(block: Block) -> None:
    """Every head is one."""


def unwelcome(block: Block) -> None:
    raise StreamFault(1, "no head is one")


def decoder(most: int = MOST, *, memory: bool = True) -> Decoder:
    """Without memory, what a run of indices stands for is never remembered."""
    return Decoder(most, 100, Names(), welcome if memory else unwelcome)


def said(block: Block) -> tuple[Head, int, int, bool]:
    return block.head, block.size, block.lines, bool(block.fault)


# RFC 7541, appendix C: a block in hexadecimal, what it says, and how large the table is then.
Example = tuple[str, Head, int]
FIRST_REQUEST: Head = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "www.example.com"}
REQUESTS: list[Head] = [
    FIRST_REQUEST,
    {**FIRST_REQUEST, "cache-control": "no-cache"},
    {
        ":method": "GET",
        ":scheme": "https",
        ":path": "/index.html",
        ":authority": "www.example.com",
        "custom-key": "custom-value",
    },
]
C3 = [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]
C4 = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]
REPLY: Head = {
    ":status": "302",
    "cache-control": "private",
    "date": "Mon, 21 Oct 2013 20:13:21 GMT",
    "location": "https://www.example.com",
}
REPLIES: list[Head] = [
    REPLY,
    {**REPLY, ":status": "307"},
    {
        **REPLY,
        ":status": "200",
        "date": "Mon, 21 Oct 2013 20:13:22 GMT",
        "content-encoding": "gzip",
        "set-cookie": "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    },
]
C5 = [
    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17"
    "68747470733a2f2f7777772e6578616d706c652e636f6d",
    "4803333037c1c0bf",
    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d41"
    "53444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
]
C6 = [
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b"
    "3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
]


@pytest.mark.parametrize(
    ("raw", "head"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", {"custom-key": "custom-header"}),  # C.2.1
        ("040c2f73616d706c652f70617468", {":path": "/sample/path"}),  # C.2.2
        ("100870617373776f726406736563726574", {"password": "secret"}),  # C.2.3
        ("82", {":method": "GET"}),  # C.2.4
    ],
)
def test_fields_of_each_kind_are_read(raw: str, head: Head) -> None:
    assert decoder().decode(bytes.fromhex(raw)).head == head


@pytest.mark.parametrize("blocks", [C3, C4])
def test_requests_of_the_rfc_are_read(blocks: list[str]) -> None:
    ours = decoder()
    for raw, head in zip(blocks, REQUESTS, strict=True):
        block = ours.decode(bytes.fromhex(raw))
        assert (block.head, block.fault) == (head, "")


@pytest.mark.parametrize("blocks", [C5, C6])
def test_replies_of_the_rfc_are_read_with_a_table_of_256_bytes(blocks: list[str]) -> None:
    ours = decoder()
    ours.resize(256)
    for raw, head in zip(blocks, REPLIES, strict=True):
        block = ours.decode(bytes.fromhex(raw))
        assert (block.head, block.fault) == (head, "")


@pytest.mark.parametrize(
    ("value", "bits", "raw"), [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (31, 5, "1f00"), (127, 7, "7f00")]
)
def test_numbers_are_written_as_in_appendix_c_1(value: int, bits: int, raw: str) -> None:
    assert integer(value, bits, 0).hex() == raw


BROKEN = {
    "index 0": "80",
    "index behind an empty table": "be",
    "index far behind": "ffff7f",
    "number without an end": "ff",
    "number that goes on": "ffffff",
    "number over 28 bits": "ffffffffff01",
    "number of ten bytes": "ffffffffffffffffffff01",
    "name of an index that is not there": "7f00" + "0161",
    "literal without a name": "00",
    "literal without a value": "000161",
    "name longer than the block": "00056162",
    "value longer than the block": "0001610562",
    "huge name": "007fffffff7f",
    "Huffman with EOS": "0001" + "61" + "84ffffffff",
    "Huffman padded with a whole byte": "000161" + "82" + "1fff",
    "Huffman padded with zeros": "000161" + "8118",
    "table over 4096 bytes": "3fe21f",
    "table far over": "3fffffff7f",
    "size changes behind a field": "8220",
    "size without an end": "3f",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_ends_the_connection(raw: str) -> None:
    with pytest.raises(CompressionFault):
        decoder().decode(bytes.fromhex(raw))


REFUSED: dict[str, Sequence[tuple[bytes, bytes]]] = {
    "upper case": [(b"X", b"y")],
    "space in a name": [(b"x y", b"z")],
    "colon in a name": [(b"x:y", b"z")],
    "empty name": [(b"", b"z")],
    "line break in a name": [(b"x\r\ny", b"z")],
    "name not ASCII": [("ü".encode(), b"z")],
    "unknown pseudo header": [(b":protocol", b"websocket")],
    "line feed": [(b"x", b"a\nb")],
    "carriage return": [(b"x", b"a\rb")],
    "nul": [(b"x", b"a\0b")],
    "delete": [(b"x", b"a\x7fb")],
    "space in front": [(b"x", b" a")],
    "space behind": [(b"x", b"a ")],
    "tab in front": [(b"x", b"\ta")],
    "connection": [(b"connection", b"close")],
    "keep-alive": [(b"keep-alive", b"1")],
    "proxy-connection": [(b"proxy-connection", b"close")],
    "transfer-encoding": [(b"transfer-encoding", b"chunked")],
    "upgrade": [(b"upgrade", b"h2c")],
    "two paths": [(b":path", b"/"), (b":path", b"/")],
    "two lengths": [(b"content-length", b"1"), (b"content-length", b"1")],
    "two hosts": [(b"host", b"a"), (b"host", b"a")],
    "pseudo header behind others": [(b"x", b"y"), (b":path", b"/")],
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("form", ["literal", "huffman", "behind a run", "indexed", "indexed again"])
def test_fields_that_no_message_may_hold_are_named(fields: Sequence[tuple[bytes, bytes]], form: str) -> None:
    ours, other = decoder(), OtherEncoder()
    front = [] if fields[0][0].startswith(b":") else [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
    if form == "behind a run":
        ours.decode(other.encode(front))
        raw = other.encode(front) + b"".join(literal(*field) for field in fields)
    elif form.startswith("indexed"):
        for _ in range(form.count(" ") + 1):
            ours.decode(other.encode([*front, *fields]))
        raw = other.encode([*front, *fields])
    else:
        raw = other.encode([*front, *fields], huffman=form == "huffman")
    assert ours.decode(raw).fault


def literal(name: bytes, value: bytes) -> bytes:
    """Without indexing, without Huffman."""
    return b"\x00" + integer(len(name), 7, 0) + name + integer(len(value), 7, 0) + value


def test_a_repeated_name_gives_its_first_value_and_counts_twice() -> None:
    block = decoder().decode(literal(b"x", b"1") + literal(b"x", b"22"))
    assert (block.head, block.lines, block.size) == ({"x": "1"}, 2, 33 + 1 + 33 + 2)


def test_values_that_are_no_utf8_are_latin_1_and_leave_the_table_right() -> None:
    """The size of an entry counts the bytes that arrived, whatever its text takes in memory (RFC 7541 §4.1)."""
    ours, other = decoder(), OtherDecoder()
    names = [(f"name-{at}".encode(), b"\xff" * 400) for at in range(40)]
    encoder = OtherEncoder()
    for name, value in names:
        raw = encoder.encode([(name, value)])
        other.decode(raw, raw=True)
        assert ours.decode(raw).head == {name.decode(): value.decode("latin-1")}
        again = encoder.encode([(name, b"\xfe" * 7)])
        other.decode(again, raw=True)
        ours.decode(again)
    assert ours._size == other.header_table._current_size
    assert len(ours._dynamic) == len(other.header_table.dynamic_entries)


def test_an_entry_larger_than_the_table_empties_it() -> None:
    ours = decoder()
    ours.decode(b"\x40\x01a\x01b")
    assert ours.decode(b"\xbe").head == {"a": "b"}
    ours.decode(b"\x40\x01a" + integer(TABLE_SIZE, 7, 0) + b"x" * TABLE_SIZE)
    assert not ours._dynamic
    with pytest.raises(CompressionFault):
        ours.decode(b"\xbe")


def test_a_smaller_table_forgets_the_oldest_first() -> None:
    ours = decoder()
    ours.decode(b"\x40\x01a\x01b\x40\x01c\x01d")
    assert ours.decode(b"\x3f\x03\xbe").head == {"c": "d"}  # 34 bytes: one entry
    assert ours.decode(b"\x20\x3f\xe1\x1f\x82").head == {":method": "GET"}
    with pytest.raises(CompressionFault):
        ours.decode(b"\xbe")


def test_a_head_over_the_limit_is_counted_and_not_kept() -> None:
    ours = decoder(100)
    ours.decode(b"\x40\x01a\x20" + b"x" * 32)
    block = ours.decode(b"\xbe" * 20)
    assert block.size == 20 * 65
    assert len(block.head) <= 1
    with pytest.raises(Fault):
        ours.decode(b"\xbe" * 10_000)


def test_the_memory_of_runs_is_bounded_and_forgets_with_the_table() -> None:
    ours = decoder()
    for at in range(1, 62):
        for other in range(1, 62):
            ours.decode(bytes((0x80 | at, 0x80 | other)))
    assert len(ours._runs) <= 256
    ours.decode(b"\x40\x01a\x01b")
    assert ours.decode(b"\xbe").head == {"a": "b"}
    ours.decode(b"\x40\x01a\x01c")
    assert ours.decode(b"\xbe").head == {"a": "c"}


NAMES = st.sampled_from(
    ["a", "micro-service", "content-type", "micro-id", "x-long-name", "date", ":path", "host", "te"]
)
VALUES = st.sampled_from(
    ["", "1", "2", "application/json", "x" * 126, "x" * 127, "x" * 900, "grüße", "a: b", "\t", " a", "a "]
)
HEADS = st.dictionaries(NAMES, VALUES, max_size=6)
UNFIT: list[Head] = [{"x": "a\nb"}, {"a": "1", "x\r": "b"}, {"micro-service": "g", "a b": "c"}, {"a": "\ud800"}]
WRONG = st.sampled_from(UNFIT)
SIZES = st.sampled_from([0, 32, 33, 100, 1000, 4096, 65_536])


def wire_head(head: Head) -> dict[str, str]:
    """What of a head may be seen at the other end."""
    return {name: value.strip(" \t") for name, value in head.items() if name[0] != ":" and name not in FRAMING}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(HEADS, WRONG, SIZES), max_size=40))
def test_what_the_encoder_writes_is_read_by_both(steps: list[Head | int]) -> None:
    encoder, ours, bare, other = Encoder(), decoder(), decoder(memory=False), OtherDecoder()
    other.max_header_list_size = 2**20
    for step in steps:
        if isinstance(step, int):
            encoder.resize(step)
            continue
        try:
            raw = encoder.encode(step, (":status", "200"))
        except ValueError:
            assert step in UNFIT
            continue
        expected = {":status": "200", **wire_head(step)}
        assert dict(other.decode(raw)) == expected
        block = ours.decode(raw)
        assert said(block) == said(bare.decode(raw))
        assert (block.head, block.lines) == (expected, len(expected))


PSEUDO = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":status", "200"), (":authority", ""), (":x", "y")]


@pytest.mark.parametrize("entry", PSEUDO)
def test_a_colon_in_a_name_never_reaches_the_wire(entry: tuple[str, str]) -> None:
    encoder = Encoder()
    for _ in range(3):
        raw = encoder.encode({entry[0]: entry[1], "a": "b"}, (":status", "200"))
        assert decoder().decode(raw[:1]).head == {":status": "200"}
        assert b"\x01a\x01b" in raw or len(raw) == 2
        assert len(raw) <= 6


BYTES = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.one_of(
            st.integers(0x81, 0xC2).map(lambda byte: bytes((byte,))),
            st.sampled_from(
                [b"\x40\x01a\x01b", b"\x00\x01c\x01d", b"\x44\x01/", b"\x20", b"\x3f\xe1\x1f", b"\x3f\x03"]
            ),
            st.binary(max_size=3),
        ),
        max_size=12,
    ).map(b"".join),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(BYTES, max_size=12))
def test_memory_of_runs_changes_nothing_whatever_arrives(blocks: list[bytes]) -> None:
    ours, bare = decoder(), decoder(memory=False)
    for raw in blocks:
        try:
            expected = said(bare.decode(raw))
        except CompressionFault:
            with pytest.raises(CompressionFault):
                ours.decode(raw)
            return
        assert said(ours.decode(raw)) == expected
        assert ours._dynamic == bare._dynamic
        assert ours._size == sum(entry[-1] for entry in ours._dynamic) <= TABLE_SIZE


def plain(name: bytes, value: bytes, length: int | None = None) -> bytes:
    """A literal field without an index whose value says that it is so long."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value) if length is None else length,)) + value


ID, LEFT = plain(b"micro-id", b"7"), plain(b"timeout", b"5000")
ENDS = {
    "": b"",
    "a call's": ID + LEFT,
    "a call's, and more": ID + LEFT + plain(b"x", b"y"),
    "a call's, another way round": LEFT + ID,
    "an id that says it is longer": plain(b"micro-id", b"7", 2) + LEFT,
    "an id that says it is shorter": plain(b"micro-id", b"78", 1) + LEFT,
    "a timeout that says it is longer": ID + plain(b"timeout", b"5000", 5),
    "a timeout that says it is shorter": ID + plain(b"timeout", b"5000", 3),
    "an id that is no number": plain(b"micro-id", b"a") + LEFT,
    "a timeout that is no number": ID + plain(b"timeout", b"5\n"),
    "an id twice": ID + ID + LEFT,
}


@pytest.mark.parametrize("most", [MOST, 130, 165])
@pytest.mark.parametrize("known", [b"\x82\x84", b"\x82\x84\xbe"], ids=["a run", "a run with an id in it"])
@pytest.mark.parametrize("end", ENDS)
def test_what_is_read_quickly_is_what_is_read(end: str, known: bytes, most: int) -> None:
    reader = decoder(most)
    reader.decode(b"\x40\x08micro-id\x019")
    reader.decode(known)
    data = known + ENDS[end]
    plainly = decoder(MOST, memory=False)
    plainly.decode(b"\x40\x08micro-id\x019")
    try:
        block = plainly.decode(data)
    except CompressionFault:
        assert reader.quick(data) is None
        return
    quickly = reader.quick(data)
    if quickly is not None:
        assert (quickly, block.fault, block.size <= most) == (block.head, "", True)
    elif end in ("", "a call's") and most == MOST and known == b"\x82\x84":
        pytest.fail("the common case is not read quickly")
