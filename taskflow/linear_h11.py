"""Makes h11 parse headers and chunks in linear time; imported for its effect, before h11 is used.

Two regular expressions of h11 0.16 backtrack quadratically over blanks. A header of 64 KiB of them
that ends in a NUL takes 7 s, during which the event loop is blocked and no timeout fires (measured;
one response of a target, or one request without a key, was enough). The replacements are the same
expressions with possessive quantifiers.
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

# If a new version of h11 has other names, this import fails.
_readers: Any = h11._readers  # noqa: SLF001 - there is no other way
REPLACED: Final = (_readers.header_field_re, _readers.chunk_header_re)
_readers.header_field_re, _readers.chunk_header_re = HEADER_FIELD, CHUNK_HEADER
