"""Reads heads and chunks with h11 in linear time. Imported for its effect, before h11 is used.

Two of h11 0.16's patterns go back and forth over blanks: a field of 64 KiB of them that ends in a
NUL takes 7 s, in which nothing else in the process runs and no timeout fires (by measurement; one
answer of a target, or one request without a key, was enough). These are the same patterns, with
possessive quantifiers where a blank can be read in one way only.
"""

from __future__ import annotations

import re
from typing import Any, Final

import h11._readers

HEADER_FIELD: Final = re.compile(
    rb"(?P<field_name>[-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*+"
    rb"(?P<field_value>(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?)[ \t]*"
)
CHUNK_HEADER: Final = re.compile(
    rb"(?P<chunk_size>[0-9A-Fa-f]{1,20})(?:(?P<chunk_ext>;[^\n]*+)(?<=\r)\n|[ \t]*\r\n)"
)

# Found by name: where h11 has others, this fails at the start, and loudly.
_readers: Any = h11._readers  # noqa: SLF001 - there is no other way
REPLACED: Final = (_readers.header_field_re, _readers.chunk_header_re)
_readers.header_field_re, _readers.chunk_header_re = HEADER_FIELD, CHUNK_HEADER
