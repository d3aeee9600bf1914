"""Checks and escapes for text from clients and targets: JSON depth, encodings, odd characters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

MAX_NESTING: Final = 500
"""Maximum nesting of stored JSON: the parsers of PostgreSQL and of most clients have limited
stacks."""

_STRING: Final = re.compile(rb'"[^"]*+"')
_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rf"{_HIGH}{_LOW}|(?P<half>{_HIGH}|{_LOW})|\\.")
_STRUCTURE: Final = b'"[]{}'
_NO_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in _STRUCTURE)
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_STEPS: Final = bytes(1 if byte in b"[" else 255 for byte in range(256))  # 255 is -1, signed
_STRIPPED_LEVELS: Final = 4
_RUN: Final = re.compile(rb"\[+|\]+")
# Brackets for each change of direction, from which number on runs are faster than brackets.
_RUN_BRACKETS: Final = 32


def is_too_deep(text: bytes, limit: int = MAX_NESTING) -> bool:
    """Return whether valid JSON text is nested deeper than ``limit`` levels."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    brackets = _brackets_of(text)
    # Removing all innermost pairs strips one level, and most brackets of most texts.
    for _ in range(_STRIPPED_LEVELS):
        brackets = brackets.replace(b"[]", b"")
    if len(brackets) > _RUN_BRACKETS * brackets.count(b"]["):
        steps: Iterable[int] = map(_step_of, _RUN.findall(brackets))
    else:
        steps = memoryview(brackets.translate(_STEPS)).cast("b")
    return max(itertools.accumulate(steps), default=0) + _STRIPPED_LEVELS > limit


def _step_of(run: bytes) -> int:
    """Return by how many levels a run of equal brackets changes the depth."""
    return len(run) if run.startswith(b"[") else -len(run)


def without_lone_surrogates(text: str) -> str:
    r"""Return valid JSON text with unpaired surrogate escapes replaced by ``\\ufffd``."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda match: "\\ufffd" if match["half"] else match[0], text)


def _brackets_of(text: bytes) -> bytes:
    """Return the brackets outside strings. Avoids regular expressions where possible: speed."""
    text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    # Two adjacent quotes can be removed, whether they are one string or the gap between two.
    text = text.translate(_ONE_KIND, _NO_STRUCTURE).replace(b'""', b"")
    return b"".join(_STRING.split(text)) if b'"' in text else text


BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some programs write it before UTF-8 text; readers may ignore it (RFC 8259, section 8.1)."""


class Format(NamedTuple):
    """A format other than UTF-8 text.

    Attributes:
        name: The name of the format.
        remedy: A command that converts it to UTF-8 text; empty if there is no common one.
    """

    name: str
    remedy: str = ""


_UTF_16: Final = Format("UTF-16 text", "iconv -f UTF-16 -t UTF-8")
_UTF_32: Final = Format("UTF-32 text", "iconv -f UTF-32 -t UTF-8")
_SIGNATURES: Final = (
    (b"\xff\xfe\x00\x00", _UTF_32),
    (b"\x00\x00\xfe\xff", _UTF_32),
    (b"\xff\xfe", _UTF_16),
    (b"\xfe\xff", _UTF_16),
    (b"\x1f\x8b", Format("gzip data", "zcat")),
    (b"BZh", Format("bzip2 data", "bzcat")),
    (b"\xfd7zXZ\x00", Format("xz data", "xzcat")),
    (b"\x28\xb5\x2f\xfd", Format("zstd data", "zstdcat")),
    (b"PK\x03\x04", Format("a zip archive or an Excel workbook")),
    (b"PK\x05\x06", Format("a zip archive")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Format("an Excel workbook")),
    (b"%PDF-", Format("a PDF document")),
)
# Keys: which of the first four bytes are zero, in text that begins with two ASCII characters.
_WITHOUT_MARK: Final[Mapping[tuple[bool, ...], Format]] = {
    (True, True, True, False): Format("UTF-32 text", "iconv -f UTF-32BE -t UTF-8"),
    (False, True, True, True): Format("UTF-32 text", "iconv -f UTF-32LE -t UTF-8"),
    (True, False, True, False): Format("UTF-16 text", "iconv -f UTF-16BE -t UTF-8"),
    (False, True, False, True): Format("UTF-16 text", "iconv -f UTF-16LE -t UTF-8"),
}


def foreign_format_of(data: bytes) -> Format | None:
    """Return the format of data that does not begin like UTF-8 text; ``None`` if it does."""
    for signature, found in _SIGNATURES:
        if data.startswith(signature):
            return found
    return _WITHOUT_MARK.get(tuple(byte == 0 for byte in data[:4]))


def printable(text: str) -> str:
    """Escape control characters and unpaired surrogates in untrusted text."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, limit: int) -> str:
    """Return the text, truncated with an ellipsis if it is longer than ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
