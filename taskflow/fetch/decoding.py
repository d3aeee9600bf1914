"""Undoing a content coding in small pieces, so that a bomb is noticed while it goes off."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from taskflow.fetch.errors import BadAnswer

PIECE_BYTES: Final = 65_536
"""How much comes out in one step; it takes about 100 us."""

MAX_GZIP_MEMBERS: Final = 1_024
"""How many members a gzip body may have; beginning one takes longer than its 20 bytes say."""

_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_WBITS: Final = zlib.MAX_WBITS
_RAW_WBITS: Final = -zlib.MAX_WBITS
_GZIP_NAMES: Final = ("gzip", "x-gzip")


class Decoder(Protocol):
    """Undoes one content coding of one body."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Take some of the coded body, and give what it decodes to in bounded pieces.

        Raises:
            BadAnswer: It is not coded like that.
        """

    def finish(self) -> None:
        """Say that the coded body has ended.

        Raises:
            BadAnswer: There should be more of it.
        """


def decoder_for(content_encoding: str) -> Decoder | None:
    """What undoes the codings of a ``Content-Encoding`` field; nothing if there are none.

    Raises:
        BadAnswer: More than one, or one that is not known here.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1:
        raise BadAnswer("the body has more than one content coding, which is not taken")
    if codings[0] in _GZIP_NAMES:
        return GzipDecoder()
    if codings[0] == "deflate":
        return DeflateDecoder()
    raise BadAnswer(f"the content coding {codings[0][:40]!r} is neither gzip nor deflate")


class GzipDecoder:
    """One or more members of gzip (RFC 1952 section 2.2), zero padding allowed."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._members = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        while data:
            if self._member is None:
                data = self._begin_member(data)
                continue
            piece, data = _step(self._member, data, "gzip")
            if self._member.eof:
                data = self._member.unused_data
                self._member = None
            yield piece

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._member is not None:
            raise BadAnswer("the gzip body is cut short")

    def _begin_member(self, data: bytes) -> bytes:
        if self._members:
            data = data.lstrip(b"\0")
        if data:
            self._members += 1
            if self._members > MAX_GZIP_MEMBERS:
                raise BadAnswer(f"the gzip body has more than {MAX_GZIP_MEMBERS} members")
            self._member = zlib.decompressobj(_GZIP_WBITS)
        return data


class DeflateDecoder:
    """zlib's format, as RFC 9110 section 8.4.1.2 says, or bare deflate, as some servers send."""

    def __init__(self) -> None:
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
                raise BadAnswer("the deflate body goes on after its end")
            piece, data = _step(self._stream, data, "deflate")
            data = data or self._stream.unused_data
            yield piece

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._head or (self._stream is not None and not self._stream.eof):
            raise BadAnswer("the deflate body is cut short")


def _step(stream: zlib._Decompress, data: bytes, coding: str) -> tuple[bytes, bytes]:
    """One bounded piece, and the input that is left for the next."""
    try:
        piece = stream.decompress(data, PIECE_BYTES)
    except zlib.error as error:
        raise BadAnswer(f"the {coding} body is damaged: {error}") from None
    return piece, stream.unconsumed_tail


def _is_zlib(head: bytes) -> bool:
    """Whether the first two bytes are a zlib header (RFC 1950 section 2.2)."""
    return head[0] & 0x0F == zlib.DEFLATED and (head[0] << 8 | head[1]) % 31 == 0
