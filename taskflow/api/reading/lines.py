"""A body that is a line for each task, cut as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taskflow.model.untrusted_text import BYTE_ORDER_MARK

TOO_LONG: Final = None
"""Stands for a line that is longer than is taken; it was passed over to its end."""


class Lines:
    """Cuts what comes into lines, and keeps no more of it than one.

    Args:
        longest: How many bytes a line may have.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Take what came, and give the lines that are complete; blank ones are passed over.

        A byte order mark before a line is ignored: files that have one may have been concatenated.
        """
        *complete, begun = data.split(b"\n")
        for piece in complete:
            self._append(piece)
            yield from self.finish()
        self._append(begun)

    def finish(self) -> Iterator[bytes | None]:
        """The line that has been begun, which is over."""
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
