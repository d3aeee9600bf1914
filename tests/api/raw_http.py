"""The heaviest bytes that a client may send: heads, chunks, and requests one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.api.client import in_chunks
from tests.api.worst import TASK

GET: Final = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
POST: Final = b"POST /tasks HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED: Final = POST + b"transfer-encoding: chunked\r\n\r\n"
MANY_HEADERS: Final = b"".join(b"x%d: %b\r\n" % (n, b"y" * 120) for n in range(95))
LONG_TEXT: Final = b'{"payload": "%b"}' % (b"x" * 300_000)

RAW: Final[Mapping[str, Callable[[], bytes]]] = {
    "pipelined requests": lambda: (GET + b"\r\n") * 60_000,
    "pipelined long heads": lambda: (GET + MANY_HEADERS + b"\r\n") * 300,
    "pipelined tasks": lambda: (POST + b"content-length: %d\r\n\r\n%b" % (len(TASK), TASK)) * 2_000,
    "pipelined chunks": lambda: (CHUNKED + in_chunks(TASK, 1)) * 1_000,
    "tiny chunks": lambda: CHUNKED + in_chunks(LONG_TEXT, 1),
    "small chunks": lambda: CHUNKED + in_chunks(LONG_TEXT, 60),
    "extended chunks": lambda: CHUNKED + (b"1;" + b"x" * 4_000 + b"\r\ny\r\n") * 500,
    "headers": lambda: GET + b"a:\r\n" * 250 + b"\r\n",
    "a head that is too long": lambda: GET + b"a:\r\n" * 500_000,
    "a header that is too long": lambda: GET + b"x: " + b"y" * 2**21,
    "folds": lambda: GET + b"x: y\r\n" + b" z\r\n" * 250 + b"\r\n",
    "bare line feeds": lambda: GET.replace(b"\r", b"") + b"a:b\n" * 90 + b"\n",
    "blanks": lambda: GET + b"x:" + b" \t" * 15_000 + b"\0\r\n\r\n",
    "trailers": lambda: CHUNKED + b"0\r\n" + b"a:\r\n" * 120 + b"\r\n",
    "trailers that are too long": lambda: CHUNKED + b"0\r\n" + b"a:\r\n" * 500_000,
    "no HTTP": lambda: bytes(range(256)) * 8_000,
}
"""Made when they are sent. Some are answered, and some rejected."""
