"""Whether bytes can be UTF-8 text, judged by how they begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""What some programs write before UTF-8 text; readers may ignore it (RFC 8259, section 8.1)."""


class Format(NamedTuple):
    """What bytes are that are not UTF-8 text.

    Attributes:
        name: For people.
        remedy: A command that makes UTF-8 text of it; empty if there is no usual one.
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
# By which of the first four bytes are zero, for text that begins with two ASCII characters.
_WITHOUT_MARK: Final[Mapping[tuple[bool, ...], Format]] = {
    (True, True, True, False): Format("UTF-32 text", "iconv -f UTF-32BE -t UTF-8"),
    (False, True, True, True): Format("UTF-32 text", "iconv -f UTF-32LE -t UTF-8"),
    (True, False, True, False): Format("UTF-16 text", "iconv -f UTF-16BE -t UTF-8"),
    (False, True, False, True): Format("UTF-16 text", "iconv -f UTF-16LE -t UTF-8"),
}


def foreign_format_of(data: bytes) -> Format | None:
    """Return what bytes are if they begin as something other than UTF-8 text."""
    for signature, found in _SIGNATURES:
        if data.startswith(signature):
            return found
    return _WITHOUT_MARK.get(tuple(byte == 0 for byte in data[:4]))
