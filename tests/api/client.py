"""A client that sends any bytes, well-formed or not, over a socket of its own."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from taskflow.model.problem_types import PROBLEM_TYPES

PATIENCE_SECONDS = 120.0
PROBLEM = "application/problem+json"


class NoAnswer(Exception):
    """The connection ended without one."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The one field of this name, if there is one; there must not be two."""
        values = [value for known, value in self.fields if known == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:  # numbers of very many digits, or no JSON
            return json.loads(self.body, parse_int=read_int)


class Connection:
    """A connection to the server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port), PATIENCE_SECONDS)
        self._reader: BinaryIO = self.socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes; that the server has closed already is seen when reading."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and read its answer."""
        self.send(request_bytes(method, target, body, {"host": self.host, **(headers or {})}))
        return self.read(is_head=method == "HEAD")

    def read(self, *, is_head: bool = False) -> Answer:
        """Return the next final response; 1xx responses are skipped."""
        while True:
            status, fields = self._read_head()
            if status >= 200:
                return Answer(status, fields, b"" if is_head else self._read_body(status, fields))

    def read_raw_head(self) -> tuple[int, list[tuple[str, str]]]:
        """The next answer's head, of whatever kind."""
        return self._read_head()

    def is_closed(self) -> bool:
        """Whether the server ends the connection, with nothing more to be read."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def read_to_end(self, seconds: float) -> int:
        """Read until the server ends the connection, or says nothing until the timeout."""
        self.socket.settimeout(seconds)
        size = 0
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := self.socket.recv(65_536):
                size += len(data)
        return size

    def _read_head(self) -> tuple[int, list[tuple[str, str]]]:
        line = self._read_line()
        version, status, *_ = line.split(" ", 2)
        assert version == "HTTP/1.1", line
        fields = []
        while line := self._read_line():
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
        return int(status), fields

    def _read_line(self) -> str:
        try:
            line = self._reader.readline()
        except ConnectionResetError as error:
            raise NoAnswer(str(error)) from None
        if not line.endswith(b"\r\n"):
            raise NoAnswer(f"it ended with {line!r}")
        return line[:-2].decode("latin-1")

    def _read_body(self, status: int, fields: list[tuple[str, str]]) -> bytes:
        known = dict(fields)
        if known.get("transfer-encoding") == "chunked":
            return b"".join(self._chunks())
        if "content-length" in known:
            return self._read_exactly(int(known["content-length"]))
        assert status in (204, 304), "a body of unknown length"
        return b""

    def read_chunk(self) -> bytes:
        """The next chunk of a body in the chunked coding; empty at its end."""
        chunk = self._read_exactly(int(self._read_line(), 16))
        self._read_line()
        return chunk

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self.read_chunk():
            yield chunk

    def _read_exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) != size:
            raise NoAnswer(f"{len(data)} of {size} bytes of the body came")
        return data


def read_int(text: str) -> int | str:
    """Python reads 4,300 digits at most; the tests send more, and compare the text."""
    return int(text) if len(text) < 4300 else text


def request_bytes(
    method: str, target: str, body: bytes | None, headers: Mapping[str, str]
) -> bytes:
    """A request as it goes over the wire."""
    fields = dict(headers)
    if body is not None and "transfer-encoding" not in fields:
        fields.setdefault("content-length", str(len(body)))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def in_chunks(body: bytes, size: int) -> bytes:
    """A body in the chunked coding."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def ask(
    url: str,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    with Connection(url) as connection:
        return connection.ask(method, target, body, headers)


def check_problem(answer: Answer, status: int, *words: str) -> dict[str, Any]:
    """The answer is a problem of this status whose detail has these words."""
    assert answer.status == status, answer
    assert answer.header("content-type") == PROBLEM
    problem = answer.json
    assert list(problem)[:4] == ["type", "title", "status", "detail"]
    assert list(problem)[4:] in ([], ["errors"])
    kind = PROBLEM_TYPES[problem["type"].removeprefix("/problems/")]
    assert (problem["type"], problem["title"]) == (kind.type, kind.title)
    assert problem["status"] == status
    assert problem["title"]
    for word in words:
        assert word in problem["detail"], problem
    assert problem["detail"]
    return problem
