"""What both directions of header compression (RFC 7541) agree on: the static table, sizes, names."""

from __future__ import annotations

import re

from hpack.table import HeaderTable

TABLE_SIZE = 4096
"""Bytes of a table that both ends keep (RFC 9113 §6.5.2, the default)."""

STATIC = tuple((name.decode(), value.decode()) for name, value in HeaderTable.STATIC_TABLE)
"""Name and value of the static table's entries, the first of which has the index 1 (RFC 7541 appendix A)."""

OVERHEAD = 32
"""Bytes that an entry counts beyond its text (RFC 7541 §4.1)."""

PSEUDO = frozenset({":method", ":scheme", ":authority", ":path", ":status"})
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
ROOM = 1024
LONGEST = 128
"""How many names are remembered, and how long each may be."""
