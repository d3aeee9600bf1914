"""Reads request bodies within their limits: as a whole, or line by line as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quart import request
from werkzeug.exceptions import RequestEntityTooLarge

from taskflow.model.errors import BodyTooLarge, UnsupportedEncoding
from taskflow.model.untrusted_text import BYTE_ORDER_MARK

TOO_LONG: Final = None
"""Stands for a line that exceeds the limit and was skipped."""


def check_encoding() -> None:
    """Reject a compressed body.

    Raises:
        UnsupportedEncoding: It is compressed.
    """
    encodings = ",".join(request.headers.getlist("Content-Encoding")).lower().split(",")
    if any(encoding.strip() not in ("", "identity") for encoding in encodings):
        raise UnsupportedEncoding


async def read_json() -> bytes:
    """Return the body of a request as JSON text, without a byte order mark.

    What ``Content-Type`` says is ignored: JSON has no charset but UTF-8 (RFC 8259, section 11).

    Raises:
        BodyTooLarge: It exceeds the limit.
        UnsupportedEncoding: It is compressed.
    """
    check_encoding()
    return (await read_body()).removeprefix(BYTE_ORDER_MARK)


async def read_body() -> bytes:
    """Return the body of the request unchanged.

    Raises:
        BodyTooLarge: It exceeds the limit.
    """
    try:
        body = await request.get_data(cache=False, as_text=False)
    except RequestEntityTooLarge:
        raise BodyTooLarge(
            f"the request body exceeds the limit of {request.max_content_length} bytes"
        ) from None
    assert isinstance(body, bytes)
    return body


class Lines:
    """Splits data into lines; buffers at most one line.

    Args:
        longest: Maximum number of bytes per line.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Add data, and yield the complete lines; blank lines are skipped.

        A byte order mark before a line is ignored: files with one may have been concatenated.
        """
        *complete, begun = data.split(b"\n")
        for piece in complete:
            self._append(piece)
            yield from self.finish()
        self._append(begun)

    def finish(self) -> Iterator[bytes | None]:
        """Yield the last line, which has no line end."""
        line = bytes(self._begun).removeprefix(BYTE_ORDER_MARK).strip(b" \t\r")
        is_too_long, self._is_too_long = self._is_too_long, False
        self._begun.clear()
        if is_too_long:
            yield TOO_LONG
        elif line:
            yield line

    def _append(self, piece: bytes) -> None:
        if len(self._begun) + len(piece) > self._longest:
            self._is_too_long = True
        if self._is_too_long:
            self._begun.clear()
        else:
            self._begun += piece
