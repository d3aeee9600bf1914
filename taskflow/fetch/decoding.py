"""Decodes content codings in small pieces, so that a decompression bomb is stopped early."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from taskflow.fetch.errors import BadResponse, TooLarge

PIECE_BYTES: Final = 65_536
"""Maximum output of one step, which takes about 100 us."""

MAX_CODINGS: Final = 4
"""Maximum number of codings that are decoded; a body with more is kept encoded."""

MAX_GZIP_MEMBERS: Final = 1_024
"""Maximum number of members of a gzip body: each costs more than its 20 bytes suggest."""

_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_WBITS: Final = zlib.MAX_WBITS
_RAW_WBITS: Final = -zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_NAMES: Final = frozenset(("gzip", "x-gzip"))
_KNOWN: Final = _GZIP_NAMES | {"deflate"}
_NO_CODINGS: Final = frozenset(
    ("none", "binary", "7bit", "8bit", "aws-chunked", "utf-8", "utf8", "us-ascii", "iso-8859-1")
)
"""Values that servers send although they are not codings; codings next to them are decoded."""


class Decoder(Protocol):
    """Decodes the content codings of one body.

    Attributes:
        dropped_bytes: Number of bytes after the end of the coded data, which are dropped.
    """

    @property
    def dropped_bytes(self) -> int:
        """See the attributes."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode a part of the body, and yield the result in pieces of limited size.

        Raises:
            BadResponse: The data is not valid in this coding.
        """

    def finish(self) -> None:
        """Finish the body.

        Raises:
            BadResponse: The body is incomplete.
        """


def decoder_for(content_encoding: str, max_bytes: int = 2**20) -> Decoder | None:
    """Return a decoder for a ``Content-Encoding``; ``None`` if nothing can be decoded.

    Args:
        content_encoding: The value of the header.
        max_bytes: Maximum size of intermediate results, if there are several codings.
    """
    if not content_encoding:
        return None
    _, last = _split(content_encoding)
    codings = [name for name in reversed(last) if name in _KNOWN]
    if len(codings) > 1:
        return LayeredDecoder(codings, max_bytes)
    return _decoder_of(codings[0]) if codings else None


def codings_left(content_encoding: str) -> str | None:
    """Return the codings in a ``Content-Encoding`` that ``decoder_for`` does not decode."""
    if not content_encoding:
        return None
    first, last = _split(content_encoding)
    return ", ".join(first + [name for name in last if name not in _KNOWN]) or None


def _split(content_encoding: str) -> tuple[list[str], list[str]]:
    """Split the names at the last unknown coding, which hides those before it."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    start = len(names)
    while start and names[start - 1] in _KNOWN | _NO_CODINGS:
        start -= 1
    if sum(name in _KNOWN for name in names[start:]) > MAX_CODINGS:
        start = len(names)
    return names[:start], names[start:]


def _decoder_of(coding: str) -> Decoder:
    return GzipDecoder() if coding in _GZIP_NAMES else DeflateDecoder()


class LayeredDecoder:
    """Several codings; the output of each layer is limited.

    Args:
        codings: The names of the codings, last applied first.
        max_bytes: Maximum output of each layer but the last.
    """

    def __init__(self, codings: Sequence[str], max_bytes: int) -> None:
        first, *others = codings
        self._layers = [_decoder_of(first)]
        self._layers += [
            MaybeGzipDecoder() if coding in _GZIP_NAMES else DeflateDecoder() for coding in others
        ]
        self._left_bytes = [max_bytes] * (len(codings) - 1)

    @property
    def dropped_bytes(self) -> int:
        """See ``Decoder``."""
        return sum(layer.dropped_bytes for layer in self._layers)

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        return self._decode(data, 0)

    def finish(self) -> None:
        """See ``Decoder``."""
        for layer in self._layers:
            layer.finish()

    def _decode(self, data: bytes, number: int) -> Iterator[bytes]:
        pieces = self._layers[number].decode(data)
        if number == len(self._left_bytes):
            yield from pieces
            return
        for piece in pieces:
            self._left_bytes[number] -= len(piece)
            if self._left_bytes[number] < 0:
                raise TooLarge("the body is too long after one of its codings has been undone")
            yield from self._decode(piece, number + 1)


class MaybeGzipDecoder:
    """Decodes gzip, or passes data through that does not begin like gzip.

    If a header names gzip twice, two servers may have named the coding that one of them applied.
    """

    def __init__(self) -> None:
        self._head = b""
        self._gzip: GzipDecoder | None = None
        self._is_plain = False

    @property
    def dropped_bytes(self) -> int:
        """See ``Decoder``."""
        return self._gzip.dropped_bytes if self._gzip else 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        if self._gzip is None and not self._is_plain:
            self._head = data = self._head + data
            if len(data) < len(_GZIP_MAGIC):
                return
            self._is_plain = not data.startswith(_GZIP_MAGIC)
            self._gzip = None if self._is_plain else GzipDecoder()
        if self._gzip is None:
            yield data
        else:
            yield from self._gzip.decode(data)

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._gzip is not None:
            self._gzip.finish()
        elif len(self._head) == 1:
            raise BadResponse("the gzip body is incomplete")


class GzipDecoder:
    """Decodes one or more gzip members (RFC 1952 section 2.2); later bytes are dropped."""

    def __init__(self) -> None:
        self.dropped_bytes = 0
        self._member: zlib._Decompress | None = None
        self._members = 0
        self._is_over = False
        self._head = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        while data:
            if self._is_over:
                self.dropped_bytes += len(data)
                return
            if self._member is None:
                data = self._begin_member(self._head + data)
                continue
            piece, data = _step(self._member, data, "gzip")
            if self._member.eof:
                data = self._member.unused_data
                self._member = None
            yield piece

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._member is not None:
            raise BadResponse("the gzip body is incomplete")
        self.dropped_bytes += len(self._head)

    def _begin_member(self, data: bytes) -> bytes:
        self._head = b""
        if self._members:
            data = data.lstrip(b"\0")
            if data == _GZIP_MAGIC[:1]:
                self._head = data
                return b""
            self._is_over = bool(data) and not data.startswith(_GZIP_MAGIC)
        if data and not self._is_over:
            self._members += 1
            if self._members > MAX_GZIP_MEMBERS:
                raise BadResponse(f"the gzip body has more than {MAX_GZIP_MEMBERS} members")
            self._member = zlib.decompressobj(_GZIP_WBITS)
        return data


class DeflateDecoder:
    """Decodes the zlib format (RFC 9110 section 8.4.1.2), or raw deflate, which some servers send.

    Bytes after its end are dropped.
    """

    def __init__(self) -> None:
        self.dropped_bytes = 0
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        if self._stream is None:
            data = self._head + data
            if len(data) < 2:  # noqa: PLR2004 - a zlib header is two bytes
                self._head = data
                return
            self._stream = zlib.decompressobj(_ZLIB_WBITS if _is_zlib(data) else _RAW_WBITS)
            self._head = b""
        while data:
            if self._stream.eof:
                self.dropped_bytes += len(data)
                return
            piece, data = _step(self._stream, data, "deflate")
            data = data or self._stream.unused_data
            yield piece

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._head or (self._stream is not None and not self._stream.eof):
            raise BadResponse("the deflate body is incomplete")


def _step(stream: zlib._Decompress, data: bytes, coding: str) -> tuple[bytes, bytes]:
    """Return one piece of limited size, and the remaining input."""
    try:
        piece = stream.decompress(data, PIECE_BYTES)
    except zlib.error as error:
        raise BadResponse(f"the {coding} body is invalid: {error}") from None
    return piece, stream.unconsumed_tail


def _is_zlib(head: bytes) -> bool:
    """Return whether the first two bytes are a zlib header (RFC 1950 section 2.2)."""
    return head[0] & 0x0F == zlib.DEFLATED and (head[0] << 8 | head[1]) % 31 == 0
