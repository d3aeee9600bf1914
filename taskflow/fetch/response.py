"""Responses: header sections within limits, parsed headers, bodies, and ``Retry-After``. No I/O."""

from __future__ import annotations

import datetime as dt
import email.utils
import enum
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import h11
import msgspec

from taskflow.fetch.errors import BadResponse

MAX_HEADER_BYTES: Final = 65_536
"""Maximum size of all header sections of a response, interim responses included."""

MAX_HEADER_LINES: Final = 256
"""Maximum number of lines of all header sections of a response."""

FRAMINGS: Final = frozenset(("content-length", "transfer-encoding"))

_PROTOCOL: Final = b"HTTP/"
_HEADER_END: Final = re.compile(rb"\n\r?\n")  # as h11 finds it
_MAX_END_BYTES: Final = 3


class Body(msgspec.Struct, frozen=True):
    """The body of a response.

    Attributes:
        data: The body after its known content codings are decoded.
        content_encoding: The content codings that were not decoded, if any.
        dropped_bytes: Number of bytes after the end of the coded data; they are not in ``data``.
    """

    data: bytes = b""
    content_encoding: str | None = None
    dropped_bytes: int = 0


class Want(enum.Enum):
    """Which part of a body to read."""

    WHOLE = enum.auto()
    BEGINNING = enum.auto()
    NOTHING = enum.auto()


class Bounds(msgspec.Struct, frozen=True):
    """Maximum sizes of bodies.

    Attributes:
        max_body_bytes: Maximum decoded size of a body that is read as a whole.
        max_beginning_bytes: Maximum size of the beginning of a body.
    """

    max_body_bytes: int
    max_beginning_bytes: int = 0


class Head(msgspec.Struct, frozen=True):
    """The status line and the headers of a response; the fields are those of ``RawResponse``."""

    status: int
    reason: str
    headers: dict[str, str]
    locations: tuple[str, ...]


Plan: TypeAlias = Callable[[Head, bytearray], Want]
"""Decides which part of a body to read into the array."""


class RawResponse(msgspec.Struct, frozen=True):
    """A response as it was received.

    Attributes:
        status: The status code, 200 to 999.
        reason: The reason phrase that the target sent.
        headers: The headers by lower-case name; repeated headers are joined with a comma and a
            space, ``set-cookie`` with a line feed (RFC 9110 section 5.3).
        locations: The distinct values of ``Location`` that are not empty.
        body: The body; empty unless all of it was wanted.
        is_whole: True if the whole body arrived and every wanted byte of it was kept.
        is_reusable: True if the connection can serve another request.
    """

    status: int
    reason: str
    headers: dict[str, str]
    locations: tuple[str, ...]
    body: Body
    is_whole: bool
    is_reusable: bool


class HeaderSplitter:
    """Splits received bytes into header sections within limits, before they are parsed.

    h11 parses a complete header section in one go: 16,000 fields in 64 KiB take 30 ms, during
    which nothing else runs. So a section that is too long is rejected unparsed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._bytes_left = MAX_HEADER_BYTES
        self._lines_left = MAX_HEADER_LINES

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next_section(self) -> bytes | None:
        """Return the next header section with its blank line; ``None`` while it is incomplete.

        Raises:
            BadResponse: It is too long, has too many lines, or is not HTTP.
        """
        self._check_protocol()
        end = _HEADER_END.search(self._buffer, max(0, self._searched - _MAX_END_BYTES))
        length = end.end() if end else len(self._buffer)
        lines = self._buffer.count(b"\n", 0, length)
        self._check_bounds(length, lines)
        if end is None:
            self._searched = length
            return None
        self._bytes_left -= length
        self._lines_left -= lines
        self._searched = 0
        section = bytes(self._buffer[:length])
        del self._buffer[:length]
        return section

    def rest(self) -> bytes:
        """Return the bytes after the last header section."""
        return bytes(self._buffer)

    def _check_protocol(self) -> None:
        """Detect another protocol by its first bytes: it may never end a header section."""
        if not _PROTOCOL.startswith(self._buffer[: len(_PROTOCOL)]):
            raise BadResponse("the response is not HTTP")

    def _check_bounds(self, length: int, lines: int) -> None:
        if length > self._bytes_left:
            raise BadResponse(f"the response header is longer than {MAX_HEADER_BYTES} bytes")
        if lines > self._lines_left:
            raise BadResponse(f"the response header has more than {MAX_HEADER_LINES} lines")


def head_of(parsed: h11.Response) -> Head:
    """Return the status line and the headers that h11 parsed."""
    reason = parsed.reason.decode("latin-1")
    return Head(parsed.status_code, reason, _joined_headers(parsed), _locations_of(parsed))


def _joined_headers(parsed: h11.Response) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in parsed.headers:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {
        name: ("\n" if name == "set-cookie" else ", ").join(several)
        for name, several in values.items()
    }


def _locations_of(parsed: h11.Response) -> tuple[str, ...]:
    """Return the values of ``Location`` as UTF-8; other bytes become ``surrogateescape``s."""
    values = [value for name, value in parsed.headers if name == b"location" and value]
    return tuple(value.decode("utf-8", "surrogateescape") for value in dict.fromkeys(values))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the delay that ``Retry-After`` asks for (RFC 9110 section 10.2.3).

    A date is compared with the target's own ``Date``, so a wrong clock there does not matter.

    Args:
        headers: The response headers by lower-case name.

    Returns:
        The delay; ``None`` if the header is absent or invalid.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    until = _parse_date(text)
    if until is None:
        return None
    now = _parse_date(headers.get("date", "")) or dt.datetime.now(dt.UTC)
    return max(0.0, (until - now).total_seconds())


def _parse_date(text: str) -> dt.datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError, TypeError):
        return None
    # "-0000" and dates without a zone yield naive datetimes.
    return date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date
