"""What a reader returns."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Names in lower case, and values without surrounding whitespace."""


class Signal(enum.Enum):
    """An event without data."""

    NEED_DATA = enum.auto()
    """Nothing more until more data is fed."""
    END = enum.auto()
    """The end of a message."""
    PAUSED = enum.auto()
    """Data of the next message has arrived; ``start_next`` must be called first."""


class RequestHead(msgspec.Struct, frozen=True):
    """The head of a request.

    Attributes:
        method: The method, in upper case.
        target: The request target.
        version: ``1.0`` or ``1.1``.
        headers: The headers.
        keeps_alive: True if the client may send another request on the connection.
        expects_continue: True if the client waits for a 100 response before it sends the body.
    """

    method: str
    target: bytes
    version: str
    headers: Headers
    keeps_alive: bool
    expects_continue: bool


class ResponseHead(msgspec.Struct, frozen=True):
    """The head of a response.

    Attributes:
        status: The status code, 100 to 999.
        reason: The reason phrase.
        headers: The headers.
        keeps_alive: True if the connection may serve another request.
    """

    status: int
    reason: bytes
    headers: Headers
    keeps_alive: bool


Event: TypeAlias = RequestHead | ResponseHead | bytes | Signal
"""``bytes`` are data of the body."""
