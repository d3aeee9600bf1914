"""Server-sent events, by the rules of the HTML standard (section 9.2.6)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

import msgspec

_LINE_END: Final = re.compile(r"\r\n|\n|\r(?!$)")
_ID: Final = re.compile(r"[0-9]{1,18}")


class Message(msgspec.Struct, frozen=True):
    """One event.

    Attributes:
        name: Its kind; ``message`` if it does not say.
        data: What it says.
    """

    name: str
    data: str


class Parser:
    """Reads a stream as it comes; a new one for each connection.

    Attributes:
        position: The id that the client has got to, of this or an earlier connection.
        retry_seconds: How long to wait before connecting again, if the stream says so.
    """

    def __init__(self, position: int | None) -> None:
        self.position = position
        self.retry_seconds: float | None = None
        self._id = position
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Message]:
        """The events that are complete with these bytes."""
        *lines, self._text = _LINE_END.split(self._text + self._decoder.decode(data))
        for line in lines:
            if line:
                self._take(line)
                continue
            self.position = self._id
            if self._data:
                yield Message(self._name or "message", "\n".join(self._data))
            self._name, self._data = "", []

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and _ID.fullmatch(value):
            self._id = int(value)
        elif field == "retry" and value.isdecimal():
            self.retry_seconds = int(value) / 1000
