"""Heads that deviate from the standard in ways that are unambiguous, rewritten for llhttp.

llhttp without lenient flags rejects some of what servers and clients send. These functions get a
head that it rejected, and return one that means the same, or say what is wrong. ``docs/http.md``
has the reason for each.
"""

from __future__ import annotations

import re
from typing import Final

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Headers

_LINE_END: Final = re.compile(rb"\r?\n")
_HEADER_LINE: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]++:[^\0\x0b\x0c\r\n]*+")
_STATUS_LINE: Final = re.compile(rb"HTTP/([0-9]\.[0-9])( [0-9]{3}(?: [^\0\r\n]*+)?)")
_VERSIONS: Final = (b"0.9", b"1.0", b"1.1", b"2.0")
_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {0x09})
_BLANKED: Final = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))
_LENGTH: Final = b"content-length"


def without_folds(section: bytes) -> bytes:
    """Return a head with one line per header, each with a carriage return.

    Raises:
        ProtocolError: A line is not a header.
    """
    return _joined(_header_lines(section))


def split_headers(section: bytes) -> Headers:
    """Return the headers of a head, of which nothing but the form of its lines was checked."""
    return _split(_header_lines(section)[1:])


def tidied_response(section: bytes) -> tuple[bytes, Headers]:
    """Return the head of a response for llhttp, and its headers as they were sent.

    Raises:
        ProtocolError: It is not a head.
    """
    first, *lines = _header_lines(section)
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise ProtocolError("illegal status line")
    version = status_line[1] if status_line[1] in _VERSIONS else b"1.0"
    headers = _with_one_length(_split(lines))
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    lines = [
        b"%b: %b" % (name, value.translate(_BLANKED))
        for name, value in headers
        if name != _LENGTH or not is_chunked
    ]
    return _joined([b"HTTP/" + version + status_line[2], *lines]), headers


def _header_lines(section: bytes) -> list[bytes]:
    """Return the first line and the headers; folds become a space (RFC 9112 section 5.2)."""
    first, *rest = _LINE_END.split(section)[:-2]
    lines: list[bytes] = []
    for line in rest:
        if line.startswith((b" ", b"\t")) and lines:
            lines[-1] += b" " + line.lstrip(b" \t")
        else:
            lines.append(line)
    if not all(_HEADER_LINE.fullmatch(line) for line in lines):
        raise ProtocolError("illegal header line")
    return [first, *lines]


def _split(lines: list[bytes]) -> Headers:
    pairs = (line.partition(b":") for line in lines)
    return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]


def _with_one_length(headers: Headers) -> Headers:
    """Return headers with one of several equal ``Content-Length``."""
    lengths = {
        length.strip(b" \t")
        for name, value in headers
        if name == _LENGTH
        for length in value.split(b",")
    }
    if len(lengths) > 1:
        raise ProtocolError("conflicting Content-Length headers")
    kept: Headers = []
    for name, value in headers:
        if name != _LENGTH:
            kept.append((name, value))
        elif lengths:
            kept.append((name, lengths.pop()))
    return kept


def _joined(lines: list[bytes]) -> bytes:
    return b"\r\n".join([*lines, b"", b""])
