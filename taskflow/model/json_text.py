"""JSON that is kept as text: what is nested too deep to be kept."""

from __future__ import annotations

import itertools
import re
from typing import Final

MAX_NESTING: Final = 500
"""Deep enough for people, shallow enough for every reader: PostgreSQL's recurses on a
bounded stack, and so do most clients'."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_STEPS: Final = bytes(1 if byte in b"[{" else 255 for byte in range(256))  # 255 is -1, signed
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_too_deep(text: bytes) -> bool:
    """Whether valid JSON text is nested deeper than is kept."""
    if text.count(b"[") + text.count(b"{") <= MAX_NESTING:
        return False
    brackets = b"".join(_STRING.split(text)).translate(_STEPS, _NOT_BRACKETS)
    depths = itertools.accumulate(memoryview(brackets).cast("b"))
    return max(depths, default=0) > MAX_NESTING
