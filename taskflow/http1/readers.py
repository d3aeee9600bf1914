"""The readers of requests and of responses: received bytes to events, in pull style."""

from __future__ import annotations

import abc
from http import HTTPStatus
from typing import Final

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Event, RequestHead, ResponseHead, Signal
from taskflow.http1.framing import Body
from taskflow.http1.heads import parse_request_head, parse_response_head
from taskflow.http1.inbox import Inbox

MAX_REQUEST_HEAD_BYTES: Final = 32 * 2**10
MAX_RESPONSE_HEAD_BYTES: Final = 64 * 2**10
"""Maximum size of all heads of a response, interim responses included."""

MAX_HEAD_LINES: Final = 256
"""Maximum number of lines of a head, or of all heads of a response."""

MAX_INTERIM_RESPONSES: Final = 16
"""Maximum number of 1xx responses before the final one."""

_PROTOCOL: Final = b"HTTP/"
_FIRST_BYTE_OF_TEXT: Final = 0x21
_MIN_FINAL_STATUS: Final = 200


class Reader(abc.ABC):
    """Reads messages from received bytes.

    ``feed`` takes the bytes. ``next_event`` returns the head, the data and the end of a message,
    then ``PAUSED`` if more bytes are there. One event takes less than a millisecond.
    """

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._body: Body | None = None
        self._has_ended = False

    @property
    def has_data(self) -> bool:
        """True if bytes are left that no event contained."""
        return bool(len(self._inbox))

    @property
    def is_over(self) -> bool:
        """True if the peer sends no more."""
        return self._inbox.is_over

    @property
    def has_ended(self) -> bool:
        """True if the message has ended."""
        return self._has_ended

    @property
    def is_complete(self) -> bool:
        """True if the next event is the end of the message."""
        return self._body is not None and self._body.is_complete and not self._has_ended

    @property
    def chunks(self) -> int:
        """Number of chunks of the body so far."""
        return self._body.chunks if self._body else 0

    def feed(self, data: bytes) -> None:
        """Add received bytes; empty at the end of the stream."""
        self._inbox.feed(data)

    def next_event(self) -> Event:
        """Return the next event.

        Raises:
            ProtocolError: The peer sent something invalid; the reader cannot be used any more.
        """
        if self._has_ended:
            return Signal.PAUSED if self._inbox else Signal.NEED_DATA
        if self._body is None:
            return self._next_head()
        event = self._body.next_event(self._inbox)
        self._has_ended = event is Signal.END
        return event

    @abc.abstractmethod
    def _next_head(self) -> Event:
        """Return the head, or ``NEED_DATA``."""


class RequestReader(Reader):
    """Reads the requests of a connection; ``start_next`` begins the next one.

    Data after the last request of a connection is ignored.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_last = False

    def feed(self, data: bytes) -> None:
        """See ``Reader``."""
        if not (self._is_last and self._has_ended):
            super().feed(data)

    def next_event(self) -> Event:
        """See ``Reader``."""
        event = super().next_event()
        if event is Signal.END and self._is_last:
            self._inbox.take(len(self._inbox))
        return event

    def start_next(self) -> None:
        """Begin the next request: the last one, and the response to it, have ended."""
        self._body = None
        self._has_ended = False

    def _next_head(self) -> RequestHead | Signal:
        length = self._inbox.head_length()
        self._check_bounds(length)
        if length is None:
            if self._inbox and self._inbox.is_over:
                raise ProtocolError("the connection closed before the request was complete")
            return Signal.NEED_DATA
        head, self._body = parse_request_head(self._inbox.take(length))
        self._is_last = not head.keeps_alive
        return head

    def _check_bounds(self, length: int | None) -> None:
        inbox = self._inbox
        size = len(inbox) if length is None else length
        if size > MAX_REQUEST_HEAD_BYTES or inbox.count_lines(size) > MAX_HEAD_LINES:
            raise ProtocolError(
                "the request line and headers are too long",
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            )
        if inbox and inbox.data[inbox.at] < _FIRST_BYTE_OF_TEXT:
            raise ProtocolError("illegal request line")


class ResponseReader(Reader):
    """Reads the response to one request; interim responses are skipped.

    Args:
        method: The method of the request.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self._method = method
        self._keeps_alive = False
        self._bytes_left = MAX_RESPONSE_HEAD_BYTES
        self._lines_left = MAX_HEAD_LINES

    @property
    def is_reusable(self) -> bool:
        """True if the connection can serve another request, as far as the response goes."""
        return self._keeps_alive and self._has_ended and not self._inbox and not self.is_over

    def _next_head(self) -> ResponseHead | Signal:
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            section = self._next_section()
            if section is None:
                return Signal.NEED_DATA
            head, body = parse_response_head(section, self._method)
            if head.status >= _MIN_FINAL_STATUS:
                self._body, self._keeps_alive = body, head.keeps_alive
                return head
            if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise ProtocolError("the server switched protocols, which was not requested")
        raise ProtocolError(f"more than {MAX_INTERIM_RESPONSES} interim responses (1xx)")

    def _next_section(self) -> bytes | None:
        inbox = self._inbox
        if not inbox and not inbox.is_over:
            return None
        if not inbox.begins_like(_PROTOCOL):
            raise ProtocolError("the response is not HTTP")
        length = inbox.head_length()
        size = len(inbox) if length is None else length
        if size > self._bytes_left:
            raise ProtocolError(
                f"the response header is longer than {MAX_RESPONSE_HEAD_BYTES} bytes"
            )
        lines = inbox.count_lines(size)
        if lines > self._lines_left:
            raise ProtocolError(f"the response header has more than {MAX_HEAD_LINES} lines")
        if length is None:
            if inbox.is_over:
                raise ProtocolError("the connection closed before the response was complete")
            return None
        self._bytes_left -= length
        self._lines_left -= lines
        return inbox.take(length)
