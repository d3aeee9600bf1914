"""Cuts the heads off an answer, within bounds, before anybody parses them.

A parser takes a head apart when it is whole, in one go: 16,000 fields in 64 KiB take it 30 ms,
during which nothing else runs. So what is too long, or too many, is refused unparsed.
"""

from __future__ import annotations

import re
from typing import Final

from taskflow.fetch.errors import BadAnswer

MAX_HEAD_BYTES: Final = 65_536
"""How long the heads of an answer may be together, interim ones included."""

MAX_HEAD_LINES: Final = 256
"""How many lines they may have."""

_BEGINNING: Final = b"HTTP/"
_END: Final = re.compile(rb"\n\r?\n")  # as h11 looks for it
_LONGEST_END: Final = 3


class HeadCutter:
    """Takes the bytes of an answer as they come, and gives its heads one by one."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._bytes_left = MAX_HEAD_BYTES
        self._lines_left = MAX_HEAD_LINES

    def feed(self, data: bytes) -> None:
        """Take what has come in."""
        self._buffer += data

    def next_head(self) -> bytes | None:
        """The next head, its blank line included; nothing while it is not whole.

        Raises:
            BadAnswer: It is too long, has too many lines, or is no head.
        """
        self._check_beginning()
        end = _END.search(self._buffer, max(0, self._searched - _LONGEST_END))
        length = end.end() if end else len(self._buffer)
        lines = self._buffer.count(b"\n", 0, length)
        self._check_bounds(length, lines)
        if end is None:
            self._searched = length
            return None
        self._bytes_left -= length
        self._lines_left -= lines
        self._searched = 0
        head = bytes(self._buffer[:length])
        del self._buffer[:length]
        return head

    def rest(self) -> bytes:
        """What came behind the last head."""
        return bytes(self._buffer)

    def _check_beginning(self) -> None:
        """See at the first bytes that this is another protocol, which may never end a head."""
        beginning = self._buffer[: len(_BEGINNING)]
        if not _BEGINNING.startswith(beginning):
            raise BadAnswer("what came back is not HTTP")

    def _check_bounds(self, length: int, lines: int) -> None:
        if length > self._bytes_left:
            raise BadAnswer(f"the head of the answer is longer than {MAX_HEAD_BYTES} bytes")
        if lines > self._lines_left:
            raise BadAnswer(f"the head of the answer has more than {MAX_HEAD_LINES} lines")
