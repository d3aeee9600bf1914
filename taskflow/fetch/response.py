"""What comes back: the head of a response, what is wanted of its body, and all of it together."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, TypeAlias

import h11
import msgspec

FRAMINGS: Final = frozenset(("content-length", "transfer-encoding"))


class Body(msgspec.Struct, frozen=True):
    """The body of a response.

    Attributes:
        data: With its content codings undone, as far as they are known.
        content_encoding: The names in ``Content-Encoding`` that were not undone, if any.
        dropped_bytes: Number of bytes after the end of the coded data; they are not in ``data``.
    """

    data: bytes = b""
    content_encoding: str | None = None
    dropped_bytes: int = 0


class Want(enum.Enum):
    """What is wanted of a body."""

    WHOLE = enum.auto()
    BEGINNING = enum.auto()
    NOTHING = enum.auto()


class Bounds(msgspec.Struct, frozen=True):
    """How long bodies may be.

    Attributes:
        max_body_bytes: Of one that is wanted whole, decoded.
        max_beginning_bytes: How much there is of one of which the beginning is wanted.
    """

    max_body_bytes: int
    max_beginning_bytes: int = 0


class Head(msgspec.Struct, frozen=True):
    """What comes before the body, as in ``Answer``."""

    status: int
    reason: str
    headers: dict[str, str]
    locations: tuple[str, ...]


Plan: TypeAlias = Callable[[Head, bytearray], Want]
"""Says what is wanted of a body, which is then put into the array."""


class Answer(msgspec.Struct, frozen=True):
    """What came back.

    Attributes:
        status: The code, 200 to 999.
        reason: The server's own phrase.
        headers: By lower-case name; repeated fields are joined with a comma and a space,
            ``set-cookie`` with a line feed (RFC 9110 section 5.3).
        locations: The values of its ``Location`` fields, each once, without empty ones.
        body: Empty if it was not wanted whole.
        is_whole: Whether the whole body came, and all of it that was wanted is there.
        is_reusable: Whether the connection may serve another request.
    """

    status: int
    reason: str
    headers: dict[str, str]
    locations: tuple[str, ...]
    body: Body
    is_whole: bool
    is_reusable: bool


def head_of(head: h11.Response) -> Head:
    """The head of a response, of what h11 parsed."""
    return Head(head.status_code, head.reason.decode("latin-1"), _joined(head), _locations_of(head))


def _joined(head: h11.Response) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in head.headers:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {
        name: ("\n" if name == "set-cookie" else ", ").join(several)
        for name, several in values.items()
    }


def _locations_of(head: h11.Response) -> tuple[str, ...]:
    """The values of ``Location``; in UTF-8, other bytes as ``surrogateescape`` decodes them."""
    values = [value for name, value in head.headers if name == b"location" and value]
    return tuple(value.decode("utf-8", "surrogateescape") for value in dict.fromkeys(values))
