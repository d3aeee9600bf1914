"""Answers as most routes give them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import msgspec
from quart import Response, request

EVENTS: Final = "text/event-stream"

_ENCODER: Final = msgspec.json.Encoder()
AS_IT_COMES: Final = {"X-Accel-Buffering": "no"}
"""Of answers that are streams: proxies that know the field (nginx does) hold nothing back."""


def as_json(
    document: object,
    *,
    status: int = HTTPStatus.OK,
    link: str | None = None,
    location: str | None = None,
) -> Response:
    """A document, with these fields in its head where they are given."""
    response = Response(_ENCODER.encode(document), status=status, content_type="application/json")
    for name, value in (("Link", link), ("Location", location)):
        if value is not None:
            response.headers[name] = value
    return response


def as_events(events: AsyncIterator[bytes]) -> Response:
    """Server-sent events, as they come; to who asks for the head only, that and an end."""
    if request.method == "HEAD":
        response = Response(b"", content_type=EVENTS, headers=AS_IT_COMES)
        del response.headers["Content-Length"]
        return response
    response = Response(events, content_type=EVENTS, headers=AS_IT_COMES)
    response.timeout = None  # who does not read is dropped in its own way
    return response


def no_content() -> Response:
    """204, which has no fields about a body (RFC 9110, section 8.6).

    The body is empty and not none, which Quart would send by asyncio's means.
    """
    response = Response(b"", status=HTTPStatus.NO_CONTENT)
    del response.headers["Content-Type"], response.headers["Content-Length"]
    return response
