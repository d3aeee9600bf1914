"""Responses that several routes return."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import msgspec
from quart import Response, request

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_ENCODER: Final = msgspec.json.Encoder()
UNBUFFERED: Final = {"X-Accel-Buffering": "no"}
"""Headers of streams: they tell proxies such as nginx not to buffer the response."""


def as_json(
    document: object,
    *,
    status: int = HTTPStatus.OK,
    link: str | None = None,
    location: str | None = None,
) -> Response:
    """Return a document as JSON, with ``Link`` and ``Location`` if they are given."""
    response = Response(_ENCODER.encode(document), status=status, content_type=JSON)
    for name, value in (("Link", link), ("Location", location)):
        if value is not None:
            response.headers[name] = value
    return response


def as_events(events: AsyncIterator[bytes]) -> Response:
    """Return a stream of server-sent events; for ``HEAD``, its headers only."""
    if request.method == "HEAD":
        response = Response(b"", content_type=EVENTS, headers=UNBUFFERED)
        del response.headers["Content-Length"]
        return response
    response = Response(events, content_type=EVENTS, headers=UNBUFFERED)
    response.timeout = None  # a client that does not read is dropped by the stream
    return response


def no_content() -> Response:
    """Return 204, without headers about a body (RFC 9110, section 8.6)."""
    # Not None as a body: Quart would send that with asyncio.
    response = Response(b"", status=HTTPStatus.NO_CONTENT)
    del response.headers["Content-Type"], response.headers["Content-Length"]
    return response
