"""Compresses responses for clients that accept gzip.

Not compressed: small responses; event streams, whose events are small and which would need a
compressor each; what is compressed already; and the pages of the dashboard, which have text from
links beside secrets (BREACH). docs/security.md has more.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import trio

from taskflow.api.access.request_head import Message, Receive, Send
from taskflow.api.access.roles import ASSETS_PATH, is_page

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

MIN_BYTES: Final = 1024
# Higher levels take twice the time and more for a tenth less.
LEVEL: Final = 3
# Compressed between two checkpoints: about half a millisecond.
PIECE_BYTES: Final = 64 * 2**10

_GZIP: Final = zlib.MAX_WBITS | 16
_COMPRESSIBLE: Final = re.compile(
    rb"text/(?!event-stream)|application/(json|javascript|xml|x-ndjson|problem\+json)\b"
    rb"|(application|image)/[^;]+\+(json|xml)\b",
    re.IGNORECASE,
)
_NO_BODY: Final = frozenset(
    {HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED}
)
_WEIGHT: Final = re.compile(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", re.IGNORECASE)


class Compressing:
    """An ASGI app around another one.

    Args:
        app: The app whose responses are compressed.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request; pass on other events. Costs nothing if a client accepts no encoding."""
        if scope["type"] == "http" and (accepted := _accepted_encodings(scope)) is not None:
            send = _Response(scope, send, accepts_gzip=accepts_gzip(accepted)).send
        await self._app(scope, receive, send)


@functools.lru_cache(maxsize=256)
def accepts_gzip(value: str) -> bool:
    """Return whether ``Accept-Encoding`` (RFC 9110, section 12.5.3) prefers gzip to identity."""
    weights = {
        coding.strip().lower(): _weight_of(weight)
        for coding, _, weight in (part.partition(";") for part in value.split(","))
    }
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _weight_of(parameter: str) -> float:
    if not parameter.strip():
        return 1.0
    match = _WEIGHT.fullmatch(parameter)
    return min(1.0, float(match[1])) if match else 0.0


def _accepted_encodings(scope: Message) -> str | None:
    values = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    return b",".join(values).decode("latin-1") if values else None


class _Response:
    """The messages of one response."""

    def __init__(self, scope: Message, send: Send, *, accepts_gzip: bool) -> None:
        self._send_on = send
        self._accepts_gzip = accepts_gzip
        self._is_head = scope["method"] == "HEAD"
        self._path: str = scope["path"]
        self._compressor: Any = None
        # The start of a response of known length, until its compressed length is known.
        self._start: Message | None = None
        self._held: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send_start(message)
        elif self._compressor is None or message["type"] != "http.response.body":
            await self._send_on(message)
        elif self._start is None:
            await self._send_part(message)
        else:
            await self._send_whole(message)

    async def _send_start(self, message: Message) -> None:
        head = dict(message["headers"])
        length = head.get(b"content-length")
        if b"etag" not in head and length is not None and int(length) < MIN_BYTES:
            await self._send_on(message)
            return
        headers: RawHeaders = list(message["headers"])
        has_tag = b"etag" in head and self._may_compress()
        is_eligible = self._is_eligible(message["status"], head, length)
        if has_tag and self._accepts_gzip:
            # Weak, since two encodings have the same tag; also for a 304, which stands for both.
            headers = _replaced(headers, b"etag", b"W/" + head[b"etag"].removeprefix(b"W/"))
        if has_tag or is_eligible:
            headers.append((b"vary", b"Accept-Encoding"))
        if not (is_eligible and self._accepts_gzip):
            await self._send_on({**message, "headers": headers})
            return
        headers = _replaced(headers, b"content-length", None)
        start = {**message, "headers": [*headers, (b"content-encoding", b"gzip")]}
        if not self._is_head:
            self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
            if length is not None:
                self._start = start
                return
        await self._send_on(start)

    def _may_compress(self) -> bool:
        return not is_page(self._path) or self._path.startswith(ASSETS_PATH)

    def _is_eligible(self, status: int, head: dict[bytes, bytes], length: bytes | None) -> bool:
        return (
            self._may_compress()
            and status not in _NO_BODY
            and b"content-encoding" not in head
            and (length is None or int(length) >= MIN_BYTES)
            and _COMPRESSIBLE.match(head.get(b"content-type", b"")) is not None
        )

    async def _send_part(self, message: Message) -> None:
        """Send a part of a stream, flushed so that the client can decompress it at once."""
        has_more = message.get("more_body", False)
        parts = await self._compressed([message.get("body", b"")])
        parts.append(self._compressor.flush(zlib.Z_SYNC_FLUSH if has_more else zlib.Z_FINISH))
        await self._send_on({**message, "body": b"".join(parts)})

    async def _send_whole(self, message: Message) -> None:
        """Send a response of known length, once it is complete."""
        self._held.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        assert self._start is not None
        parts = [*await self._compressed(self._held), self._compressor.flush()]
        body = b"".join(parts)
        length = (b"content-length", b"%d" % len(body))
        await self._send_on({**self._start, "headers": [*self._start["headers"], length]})
        await self._send_on({**message, "body": body, "more_body": True})
        await self._send_on({**message, "body": b"", "more_body": False})

    async def _compressed(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Compress piece by piece, so that other requests proceed."""
        parts = []
        for body in bodies:
            for begin in range(0, len(body), PIECE_BYTES):
                if begin:
                    await trio.lowlevel.checkpoint()
                parts.append(self._compressor.compress(body[begin : begin + PIECE_BYTES]))
        return parts


def _replaced(headers: RawHeaders, name: bytes, value: bytes | None) -> RawHeaders:
    """Return the headers with another value of one; ``None`` removes it."""
    others = [header for header in headers if header[0] != name]
    return others if value is None else [*others, (name, value)]
