"""Responses: heads as text, bodies, and ``Retry-After``. No I/O."""

from __future__ import annotations

import datetime as dt
import email.utils
import enum
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from taskflow.http1.events import Headers, ResponseHead

FRAMINGS: Final = frozenset(("content-length", "transfer-encoding"))


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
    """The status line and the headers of a response; with the same fields as ``RawResponse``."""

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


def head_of(parsed: ResponseHead) -> Head:
    """Return the status line and the headers of a response as text."""
    return Head(
        parsed.status,
        parsed.reason.decode("latin-1"),
        _joined_headers(parsed.headers),
        _locations_of(parsed.headers),
    )


def _joined_headers(headers: Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in joined:
            value = ("\n" if name == "set-cookie" else ", ").join((joined[name], value))
        joined[name] = value
    return joined


def _locations_of(headers: Headers) -> tuple[str, ...]:
    """Return the values of ``Location`` as UTF-8; other bytes become ``surrogateescape``s."""
    values = [value for name, value in headers if name == b"location" and value]
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
