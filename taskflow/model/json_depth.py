"""JSON that is kept as text: what is nested too deep to be kept."""

from __future__ import annotations

import itertools
import re
from typing import Final

MAX_NESTING: Final = 500
"""Deep enough for people, shallow enough for every reader: PostgreSQL's recurses on a
bounded stack, and so do most clients'."""

_STRING: Final = re.compile(rb'"[^"]*+"')
_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rf"{_HIGH}{_LOW}|(?P<half>{_HIGH}|{_LOW})|\\.")
_STRUCTURE: Final = b'"[]{}'
_NO_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in _STRUCTURE)
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_STEPS: Final = bytes(1 if byte in b"[" else 255 for byte in range(256))  # 255 is -1, signed
_PEELED: Final = 4


def is_too_deep(text: bytes, most: int = MAX_NESTING) -> bool:
    """Whether valid JSON text is nested deeper than that."""
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    brackets = _brackets_of(text)
    # The innermost pairs go, all at once: that takes one level off, and most of most texts.
    for _ in range(_PEELED):
        brackets = brackets.replace(b"[]", b"")
    depths = itertools.accumulate(memoryview(brackets.translate(_STEPS)).cast("b"))
    return max(depths, default=0) + _PEELED > most


def without_lone_surrogates(text: str) -> str:
    r"""Valid JSON text with ``\\ufffd`` for escapes that are half a character."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda match: "\\ufffd" if match["half"] else match[0], text)


def _brackets_of(text: bytes) -> bytes:
    """The brackets outside of strings. What can be done without a regular expression is."""
    text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    # Two quotes in a row may go, be they a string or between two: what is outside stays so.
    text = text.translate(_ONE_KIND, _NO_STRUCTURE).replace(b'""', b"")
    return b"".join(_STRING.split(text)) if b'"' in text else text
