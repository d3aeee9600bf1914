"""The framing of bodies: by length, in chunks, or up to the end of the connection."""

from __future__ import annotations

import re
from typing import Final, Protocol

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Signal
from taskflow.http1.inbox import Inbox

MAX_CHUNK_LINE_BYTES: Final = 8_192
"""Maximum size of a chunk size with its extensions."""

MAX_TRAILER_BYTES: Final = 8_192
MAX_TRAILER_LINES: Final = 128

MAX_CHUNKS_PER_EVENT: Final = 256
"""Maximum number of chunks whose data is joined in one event, which takes a fraction of a ms."""

# Servers pad sizes with blanks (RFC 9112 section 7.1 allows none). The padding or the extensions
# are the rest of the line; both are bounded, also in a line that arrives in one piece.
_LINE: Final = rb"([0-9A-Fa-f]{1,20})(?:[ \t]{0,%(most)d}+|;[\t -~\x80-\xff]{0,%(most)d}+)\r\n" % {
    b"most": MAX_CHUNK_LINE_BYTES
}
_FIRST_LINE: Final = re.compile(_LINE)
_NEXT_LINE: Final = re.compile(rb"\r\n" + _LINE)
_TRAILERS: Final = re.compile(rb"(?:[-!#$%&'*+.^_`|~0-9a-zA-Z]++:[\t -~\x80-\xff]*+\r\n)*+\r\n")
_CRLF: Final = b"\r\n"


class Body(Protocol):
    """Finds the body of one message in received bytes.

    Attributes:
        chunks: Number of chunks so far.
        is_complete: True if ``END`` follows without more data.
    """

    @property
    def chunks(self) -> int:
        """See the attributes."""

    @property
    def is_complete(self) -> bool:
        """See the attributes."""

    def next_event(self, inbox: Inbox) -> bytes | Signal:
        """Return data of the body, ``END``, or ``NEED_DATA``.

        Raises:
            ProtocolError: The framing is invalid, or the stream ended before the body.
        """


class LengthBody:
    """A body of known length."""

    chunks = 0

    def __init__(self, length: int) -> None:
        self._length = length
        self._left = length

    @property
    def is_complete(self) -> bool:
        """See ``Body``."""
        return not self._left

    def next_event(self, inbox: Inbox) -> bytes | Signal:
        """See ``Body``."""
        if not self._left:
            return Signal.END
        data = inbox.take(self._left)
        if data:
            self._left -= len(data)
            return data
        if inbox.is_over:
            raise ProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {self._length - self._left} bytes, expected {self._length})"
            )
        return Signal.NEED_DATA


class UntilCloseBody:
    """A body that ends with the connection."""

    chunks = 0
    is_complete = False

    def next_event(self, inbox: Inbox) -> bytes | Signal:
        """See ``Body``."""
        if data := inbox.take(len(inbox)):
            return data
        return Signal.END if inbox.is_over else Signal.NEED_DATA


class ChunkedBody:
    """A body in chunks; their extensions and the trailers are discarded."""

    is_complete = False

    def __init__(self) -> None:
        self.chunks = 0
        self._line = _FIRST_LINE
        self._left = 0
        self._is_last = False

    def next_event(self, inbox: Inbox) -> bytes | Signal:
        """See ``Body``; the data of several chunks is joined."""
        if data := self._joined_chunks(inbox):
            return data
        if not self._is_last:
            self._check_line(inbox)
        elif self._skip_trailers(inbox):
            return Signal.END
        if inbox.is_over:
            raise ProtocolError(
                "peer closed connection without sending complete message body "
                "(incomplete chunked read)"
            )
        return Signal.NEED_DATA

    def _joined_chunks(self, inbox: Inbox) -> bytes:
        """Return the data of the chunks that have arrived, up to the last one or an invalid one."""
        pieces: list[bytes] = []
        most = self.chunks + MAX_CHUNKS_PER_EVENT
        while self.chunks < most and (self._left or self._begins_chunk(inbox)):
            if piece := inbox.take(self._left):
                pieces.append(piece)
                self._left -= len(piece)
            if self._left:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begins_chunk(self, inbox: Inbox) -> bool:
        """Consume the line that begins a chunk; return whether data of a chunk follows."""
        match = None if self._is_last else self._line.match(inbox.data, inbox.at)
        if match is None:
            return False
        inbox.at = match.end()
        self._left = int(match[1], 16)
        self._is_last = not self._left
        self.chunks += not self._is_last
        self._line = _NEXT_LINE
        return not self._is_last

    def _check_line(self, inbox: Inbox) -> None:
        """Reject an incomplete line that begins a chunk if no more bytes can make it valid."""
        prefix = _CRLF if self._line is _NEXT_LINE else b""
        if not inbox.data.startswith(prefix[: len(inbox)], inbox.at):
            raise ProtocolError("malformed chunk footer")
        start = inbox.at + len(prefix)
        end = inbox.data.find(b"\n", start, start + MAX_CHUNK_LINE_BYTES)
        if end >= 0 or len(inbox) > MAX_CHUNK_LINE_BYTES:
            raise ProtocolError("illegal chunk header")

    def _skip_trailers(self, inbox: Inbox) -> bool:
        """Consume the trailers; return whether all of them have arrived."""
        if inbox.data.startswith(_CRLF, inbox.at):
            inbox.at += len(_CRLF)
            return True
        end = inbox.data.find(b"\r\n\r\n", inbox.at)
        length = (end + 4 if end >= 0 else len(inbox.data)) - inbox.at
        lines = inbox.data.count(b"\n", inbox.at, inbox.at + length)
        if length > MAX_TRAILER_BYTES or lines > MAX_TRAILER_LINES:
            raise ProtocolError("the trailers are too long")
        if end < 0:
            return False
        if _TRAILERS.fullmatch(inbox.data, inbox.at, inbox.at + length) is None:
            raise ProtocolError("illegal trailer line")
        inbox.at += length
        return True
