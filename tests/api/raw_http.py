"""The heaviest bytes that a client may send: heads, chunks, and requests one behind the other."""

from __future__ import annotations

from typing import Final

from tests.api.client import in_chunks
from tests.api.worst import TASK

GET: Final = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
POST: Final = b"POST /tasks HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED: Final = POST + b"transfer-encoding: chunked\r\n\r\n"
MANY_HEADERS: Final = b"".join(b"x%d: %b\r\n" % (n, b"y" * 120) for n in range(95))
LONG_TEXT: Final = b'{"payload": "%b"}' % (b"x" * 300_000)

RAW: Final = {
    "pipelined requests": (GET + b"\r\n") * 60_000,
    "pipelined long heads": (GET + MANY_HEADERS + b"\r\n") * 300,
    "pipelined tasks": (POST + b"content-length: %d\r\n\r\n%b" % (len(TASK), TASK)) * 2_000,
    "pipelined chunks": (CHUNKED + in_chunks(TASK, 1)) * 1_000,
    "tiny chunks": CHUNKED + in_chunks(LONG_TEXT, 1),
    "small chunks": CHUNKED + in_chunks(LONG_TEXT, 60),
    "extended chunks": CHUNKED + (b"1;" + b"x" * 4_000 + b"\r\ny\r\n") * 500,
    "headers": GET + b"a:\r\n" * 250 + b"\r\n",
    "a head that is too long": GET + b"a:\r\n" * 500_000,
    "a header that is too long": GET + b"x: " + b"y" * 2**21,
    "folds": GET + b"x: y\r\n" + b" z\r\n" * 250 + b"\r\n",
    "bare line feeds": GET.replace(b"\r", b"") + b"a:b\n" * 90 + b"\n",
    "blanks": GET + b"x:" + b" \t" * 15_000 + b"\0\r\n\r\n",
    "trailers": CHUNKED + b"0\r\n" + b"a:\r\n" * 120 + b"\r\n",
    "trailers that are too long": CHUNKED + b"0\r\n" + b"a:\r\n" * 500_000,
    "no HTTP": bytes(range(256)) * 8_000,
}
"""Some are answered, and some refused."""
