"""JSON that is kept as text: what is too deep to be kept."""

from __future__ import annotations

import itertools
import re
from typing import Final

# PostgreSQL's reader recurses on a bounded stack, and so do most clients' readers.
MAX_DEPTH: Final = 512

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def is_too_deep(text: bytes) -> bool:
    """Whether valid JSON text is nested deeper than is kept."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(None, delete=_NOT_BRACKETS)
    depths = itertools.accumulate(map(_STEPS.__getitem__, brackets))
    return any(depth > MAX_DEPTH for depth in depths)
