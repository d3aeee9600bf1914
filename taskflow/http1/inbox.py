"""Received bytes that are not parsed yet."""

from __future__ import annotations


class Inbox:
    """Received bytes, consumed from the front.

    Attributes:
        data: Received bytes; those before ``at`` are consumed.
        at: Position of the first byte that is not consumed.
        is_over: True if the peer sends no more.
    """

    def __init__(self) -> None:
        self.data = b""
        self.at = 0
        self.is_over = False
        self._searched = 0

    def __len__(self) -> int:
        """Return the number of bytes that are not consumed."""
        return len(self.data) - self.at

    def feed(self, data: bytes) -> None:
        """Add received bytes; empty at the end of the stream."""
        if not data:
            self.is_over = True
        elif self.at == len(self.data):
            self.data, self.at = data, 0
        else:
            self.data, self.at = self.data[self.at :] + data, 0

    def take(self, max_bytes: int) -> bytes:
        """Consume and return up to this number of bytes."""
        end = self.at + max_bytes
        if not self.at and end >= len(self.data):
            piece, self.data = self.data, b""
            return piece
        piece = self.data[self.at : end]
        self.at += len(piece)
        return piece

    def head_length(self) -> int | None:
        """Return the length up to and including the first blank line; ``None`` if there is none.

        Lines end with a line feed, with or without a carriage return before it.
        """
        start = self.at + self._searched
        after_return = self.data.find(b"\n\r\n", start)
        end = after_return + 3 if after_return >= 0 else len(self.data)
        bare = self.data.find(b"\n\n", start, end)
        if bare >= 0:
            end = bare + 2
        elif after_return < 0:
            self._searched = max(0, len(self) - 2)
            return None
        self._searched = 0
        return end - self.at

    def count_lines(self, length: int) -> int:
        """Return the number of line feeds in the next bytes."""
        return self.data.count(b"\n", self.at, self.at + length)

    def begins_like(self, text: bytes) -> bool:
        """Return whether this text begins the bytes, or may do so once more have arrived."""
        return self.data.startswith(text[: len(self)], self.at)
