"""Heads and bodies to bytes. What would break the framing cannot be written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from taskflow.http1.errors import UnsendableError
from taskflow.http1.events import Headers

_LINE: Final = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]++ [!-~]++ HTTP/1\.1\r\n"
_LINES: Final = rb"(?:[-!#$%&'*+.^_`|~0-9a-zA-Z]++: [\t -~\x80-\xff]*+\r\n)*+"
_REQUEST_LINE: Final = re.compile(_LINE)
_REQUEST_HEAD: Final = re.compile(_LINE + _LINES + rb"\r\n")
_HEADERS: Final = re.compile(_LINES)
_BODILESS: Final = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))
_OF_THE_CONNECTION: Final = frozenset((b"connection", b"transfer-encoding"))

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def request_head(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the head of a request.

    Raises:
        UnsendableError: The method, the target or a header is not valid HTTP.
    """
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = "".join([f"{method} {target} HTTP/1.1\r\n", *lines, "\r\n"])
    try:
        head = text.encode("ascii")
    except UnicodeError:
        raise UnsendableError("the method or a header is not ASCII text") from None
    # All is checked at once: each header must be one line, and there may be no other line.
    if head.count(b"\n") != len(lines) + 2 or not _REQUEST_HEAD.fullmatch(head):
        is_line_valid = _REQUEST_LINE.match(head)
        part = "a header" if is_line_valid else "the method or the target"
        raise UnsendableError(f"{part} is not valid HTTP")
    return head


def _header_section(headers: Headers) -> bytes:
    """Return headers with the blank line that ends them.

    All of them are checked at once: each must be one line, and there may be no other line.
    """
    section = b"".join([b"%b: %b\r\n" % header for header in headers])
    if section.count(b"\n") != len(headers) or not _HEADERS.fullmatch(section):
        raise UnsendableError("a header is not valid HTTP")
    return section + b"\r\n"


class ResponseWriter:
    """Writes one response.

    Its framing follows from its headers and the request: a ``Content-Length``, else chunks, else
    the end of the connection.

    Args:
        method: The method of the request.
        version: The version of the request, ``1.0`` or ``1.1``.
        keeps_alive: True if the client may send another request on the connection.

    Attributes:
        keeps_alive: The same, unless the response closes the connection.
        has_started: True if the head was written.
        has_ended: True if the response is complete.
        is_bodiless: True if the response has no body, whatever its headers say.
    """

    def __init__(self, method: str, version: str, *, keeps_alive: bool) -> None:
        self.keeps_alive = keeps_alive
        self.has_started = False
        self.has_ended = False
        self.is_bodiless = False
        self._method = method
        self._may_chunk = version != "1.0"
        self._is_chunked = False
        self._left: int | None = None

    def head(self, status: int, headers: Headers) -> bytes:
        """Return the head.

        Raises:
            UnsendableError: A header is not valid HTTP, or a head was written before.
        """
        if self.has_started:
            raise UnsendableError("the response has two heads")
        lengths = self._lengths_of(headers)
        is_empty = status in _BODILESS
        self.is_bodiless = is_empty or self._method == "HEAD"
        self._is_chunked = self._may_chunk and not lengths and not is_empty
        self._left = 0 if self.is_bodiless else _length(lengths)
        self.keeps_alive = self.keeps_alive and (self._left is not None or self._is_chunked)
        added = [(b"Transfer-Encoding", b"chunked")] if self._is_chunked else []
        added += [] if self.keeps_alive else [(b"Connection", b"close")]
        sent = [pair for pair in headers if pair[0].lower() not in _OF_THE_CONNECTION]
        line = b"HTTP/1.1 %d \r\n" % status + _header_section(sent + added)
        self.has_started = True
        return line

    def data(self, data: bytes) -> bytes:
        """Return the bytes for data of the body.

        Raises:
            UnsendableError: The body is longer than announced.
        """
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise UnsendableError("the body is longer than announced")
            return data
        return b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked and data else data

    def end(self) -> bytes:
        """Return the bytes for the end of the body.

        Raises:
            UnsendableError: The body is shorter than announced.
        """
        if self._left:
            raise UnsendableError("the body is shorter than announced")
        self.has_ended = True
        return b"0\r\n\r\n" if self._left is None and self._is_chunked else b""

    def _lengths_of(self, headers: Headers) -> list[bytes]:
        lengths = []
        for name, value in headers:
            key = name.lower()
            if key == b"content-length":
                lengths.append(value)
            elif key == b"connection" and value.lower() == b"close":
                self.keeps_alive = False
        return lengths


def _length(lengths: list[bytes]) -> int | None:
    if not lengths:
        return None
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise UnsendableError("the Content-Length is not valid")
    return int(lengths[0])
