"""Heads parsed by llhttp, and the framing of the body that follows from their headers."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final, TypeAlias

import httptools

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Headers, RequestHead, ResponseHead
from taskflow.http1.framing import Body, ChunkedBody, LengthBody, UntilCloseBody
from taskflow.http1.odd_heads import split_headers, tidied_response, without_folds

_REQUEST_LINE: Final = re.compile(
    rb"([-!#$%&'*+.^_`|~0-9a-zA-Z]++) ([!-~]++) HTTP/([0-9]\.[0-9])\r?\n"
)
_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_VERSIONS: Final = frozenset((b"1.0", b"1.1"))
_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,20}")
_BODILESS: Final = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))
_MIN_STATUS: Final = 100
_MIN_FINAL_STATUS: Final = 200

_Parser: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser


class _Found:
    """What llhttp found in a head."""

    __slots__ = ("headers", "is_complete", "reason")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.reason = b""
        self.is_complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


class _Fields:
    """Headers by name."""

    __slots__ = ("_by_name", "_headers")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._by_name = dict(headers)

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name

    def values(self, name: bytes) -> list[bytes]:
        if name not in self._by_name:
            return []
        if len(self._by_name) == len(self._headers):  # no header is repeated
            return [self._by_name[name]]
        return [value for found, value in self._headers if found == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the members of a list, in lower case."""
        values = self.values(name)
        return [token.strip() for token in b",".join(values).lower().split(b",")] if values else []


def parse_request_head(section: bytes) -> tuple[RequestHead, Body]:
    """Parse the head of a request, with its blank line.

    Raises:
        ProtocolError: It is invalid.
    """
    line = _REQUEST_LINE.match(section)
    if line is None:
        raise ProtocolError("illegal request line")
    method, target, version = line.groups()
    if version not in _VERSIONS:
        raise ProtocolError("unsupported version", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if method not in _METHODS:  # llhttp has its own list, and reads what CONNECT asks for otherwise
        section = b"GET" + section[len(method) :]
    headers = _request_headers(section, version)
    fields = _Fields(headers)
    _check_host(fields, version)
    is_current = version == b"1.1"
    head = RequestHead(
        method=method.decode("ascii").upper(),
        target=target,
        version=version.decode("ascii"),
        headers=headers,
        keeps_alive=is_current and b"close" not in fields.tokens(b"connection"),
        expects_continue=is_current and b"100-continue" in fields.tokens(b"expect"),
    )
    return head, _body_of_request(fields, version)


def parse_response_head(section: bytes, method: str) -> tuple[ResponseHead, Body]:
    """Parse the head of a response, with its blank line.

    Args:
        section: The head.
        method: The method of the request.

    Raises:
        ProtocolError: It is invalid.
    """
    found = _Found()
    parser = httptools.HttpResponseParser(found)
    headers = found.headers
    if _complaint(parser, found, section):
        section, headers = tidied_response(section)
        found = _Found()
        parser = httptools.HttpResponseParser(found)
        if complaint := _complaint(parser, found, section):
            raise ProtocolError(complaint)
    status = parser.get_status_code()
    if status < _MIN_STATUS or b"\0" in found.reason:
        raise ProtocolError("illegal status line")
    fields = _Fields(headers)
    body = _body_of_response(fields, status, method)
    keeps_alive = (
        parser.get_http_version() == "1.1"
        and b"close" not in fields.tokens(b"connection")
        and not isinstance(body, UntilCloseBody)
        # An intermediary may have read the other framing (RFC 9112 section 6.3).
        and not (b"content-length" in fields and b"transfer-encoding" in fields)
    )
    return ResponseHead(status, found.reason, headers, keeps_alive), body


def _request_headers(section: bytes, version: bytes) -> Headers:
    """Return the headers of a request.

    Raises:
        ProtocolError: They are invalid, also without folds.
    """
    found = _Found()
    if not _complaint(httptools.HttpRequestParser(found), found, section):
        return found.headers
    section = without_folds(section)
    found = _Found()
    if complaint := _complaint(httptools.HttpRequestParser(found), found, section):
        _body_of_request(_Fields(split_headers(section)), version)  # it may have a better one
        raise ProtocolError(complaint)
    return found.headers


def _complaint(parser: _Parser, found: _Found, section: bytes) -> str:
    """Let llhttp parse a head, and return what it complains of; it quotes no bytes of the head.

    A complaint after the last header is about the framing of the body, which is checked here.
    """
    try:
        parser.feed_data(section)
    except httptools.HttpParserUpgrade:
        pass  # no upgrade is offered or granted
    except httptools.HttpParserError as error:
        return "" if found.is_complete else str(error)
    return "" if found.is_complete else "the head is incomplete"


def _check_host(fields: _Fields, version: bytes) -> None:
    hosts = len(fields.values(b"host"))
    if hosts > 1 or (not hosts and version == b"1.1"):
        raise ProtocolError("there must be one Host header")


def _body_of_request(fields: _Fields, version: bytes) -> Body:
    if b"transfer-encoding" not in fields:
        return LengthBody(_length(fields) or 0)
    if b"content-length" in fields:
        raise ProtocolError("send Content-Length or Transfer-Encoding, not both")
    if version == b"1.0":
        raise ProtocolError("HTTP/1.0 has no Transfer-Encoding; send Content-Length")
    _check_chunked(fields)
    return ChunkedBody()


def _body_of_response(fields: _Fields, status: int, method: str) -> Body:
    is_chunked = b"transfer-encoding" in fields
    if is_chunked:
        _check_chunked(fields)
    length = _length(fields)
    if status < _MIN_FINAL_STATUS or status in _BODILESS or method == "HEAD":
        return LengthBody(0)
    if is_chunked:
        return ChunkedBody()
    return UntilCloseBody() if length is None else LengthBody(length)


def _check_chunked(fields: _Fields) -> None:
    codings = fields.values(b"transfer-encoding")
    if len(codings) > 1:
        raise ProtocolError("multiple Transfer-Encoding headers", HTTPStatus.NOT_IMPLEMENTED)
    if codings[0].lower() != b"chunked":
        raise ProtocolError(
            "Only Transfer-Encoding: chunked is supported", HTTPStatus.NOT_IMPLEMENTED
        )


def _length(fields: _Fields) -> int | None:
    lengths = fields.values(b"content-length")
    if not lengths:
        return None
    if len(lengths) > 1 or not _CONTENT_LENGTH.fullmatch(lengths[0]):
        raise ProtocolError("bad Content-Length")
    return int(lengths[0])
