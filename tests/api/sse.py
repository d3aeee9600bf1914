"""A reader of server-sent events by the rules of the WHATWG, as browsers have it."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.api.client import Connection, NoAnswer


@dataclass(frozen=True)
class Message:
    """What a browser would dispatch."""

    event: str
    data: str
    last_event_id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Parser:
    """Section 9.2.6 of the HTML standard, with the comments kept aside."""

    def __init__(self, last_event_id: str = "") -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._data: list[str] = []
        self._event = ""
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.comments: list[str] = []

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with these bytes."""
        self._text += self._decoder.decode(data)
        while match := re.search(r"\r\n|\n|\r(?!$)", self._text):
            line, self._text = self._text[: match.start()], self._text[match.end() :]
            if line:
                self._take(line)
            elif message := self._dispatch():
                yield message

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments.append(value)
        elif field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self.last_event_id = value
        elif field == "retry" and value.isdigit() and value.isascii():
            self.retry = int(value)

    def _dispatch(self) -> Message | None:
        data, event = "\n".join(self._data), self._event or "message"
        has_any = bool(self._data)
        self._data, self._event = [], ""
        return Message(event, data, self.last_event_id) if has_any else None


class EventStream:
    """A stream that is being read; ``open_stream`` opens one."""

    def __init__(self, connection: Connection, last_event_id: str) -> None:
        self._connection = connection
        self.parser = Parser(last_event_id)
        self._waiting: list[Message] = []

    @property
    def last_event_id(self) -> str:
        return self.parser.last_event_id

    def next(self) -> Message | None:
        """The next message; ``None`` when the stream is over."""
        while not self._waiting:
            if not self.read():
                return None
        return self._waiting.pop(0)

    def read(self) -> bool:
        """Read one more piece; false if there is none."""
        with contextlib.suppress(NoAnswer):
            if chunk := self._connection.read_chunk():
                self._waiting += self.parser.feed(chunk)
                return True
        return False

    def begin(self) -> None:
        """Read until it tells its place: what happens from now on comes."""
        while not self.last_event_id:
            assert self.read()

    def __iter__(self) -> Iterator[Message]:
        """All that comes."""
        while message := self.next():
            yield message

    def end(self) -> None:
        """End the connection, also for a thread that reads it."""
        with contextlib.suppress(OSError):  # the server has ended it already
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def take(self, count: int) -> list[Message]:
        """Return the next ``count`` events."""
        messages = [self.next() for _ in range(count)]
        assert None not in messages
        return [message for message in messages if message]


@contextlib.contextmanager
def open_stream(
    url: str, target: str, *, after: str = "", headers: Mapping[str, str] | None = None
) -> Iterator[EventStream]:
    """Ask for events, as a browser does."""
    fields = {"accept": "text/event-stream", "cache-control": "no-cache", **(headers or {})}
    if after:
        fields["last-event-id"] = after
    with Connection(url) as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection.send(f"GET {target} HTTP/1.1\r\nhost: {connection.host}\r\n{lines}\r\n".encode())
        status, found = connection.read_raw_head()
        assert status == 200, (status, found)
        head = dict(found)
        assert head["content-type"] == "text/event-stream"
        assert head["cache-control"] == "no-store"
        assert head["transfer-encoding"] == "chunked"
        yield EventStream(connection, after)
