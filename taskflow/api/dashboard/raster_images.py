"""Recognizes raster images by their first bytes, whatever media type their sender declares.

Only formats that cannot contain scripts or links to other resources: a browser renders them as
pixels. SVG and HTML are never images here.
"""

from __future__ import annotations

import re
import struct
from typing import Final

MAX_BYTES: Final = 2 * 2**20
MAX_PIXELS: Final = 2**24
"""Maximum width times height. A small file may declare more than a browser has memory for."""

# Start of frame, with the height and the width; 0xC4, 0xC8 and 0xCC begin other segments.
_JPEG_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_MAX_JPEG_SEGMENTS: Final = 1000


def raster_type_of(data: bytes) -> str | None:
    """Return the media type of an image that is safe to show; ``None`` for all other bytes."""
    if len(data) > MAX_BYTES:
        return None
    try:
        media_type, width, height = _size_of(data)
    except (ValueError, struct.error, IndexError):
        return None
    return media_type if 0 < width * height <= MAX_PIXELS else None


def _size_of(data: bytes) -> tuple[str, int, int]:
    """Return the type, the width and the height.

    Raises:
        ValueError: The format is not known.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return "image/png", *struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif", *struct.unpack_from("<HH", data, 6)
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", *_jpeg_size(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp", *_webp_size(data)
    raise ValueError("no raster image")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.match(data, at)
        if marker is None:
            break
        at = marker.end()
        if marker[1][0] in _JPEG_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        at += struct.unpack_from(">H", data, at)[0]
    raise ValueError("no frame")


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L" and data[20] == 0x2F:  # noqa: PLR2004 - its signature
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no known kind of WebP")
