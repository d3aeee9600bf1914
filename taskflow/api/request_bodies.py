"""Reads request bodies within their limits."""

from __future__ import annotations

from quart import request
from werkzeug.exceptions import RequestEntityTooLarge

from taskflow.model.errors import BodyTooLarge, UnsupportedEncoding
from taskflow.model.untrusted_text import BYTE_ORDER_MARK


def check_encoding() -> None:
    """Reject a compressed body.

    Raises:
        UnsupportedEncoding: It is compressed.
    """
    encodings = ",".join(request.headers.getlist("Content-Encoding")).lower().split(",")
    if any(encoding.strip() not in ("", "identity") for encoding in encodings):
        raise UnsupportedEncoding


async def read_json() -> bytes:
    """Return the body of a request as JSON text, without a byte order mark.

    What ``Content-Type`` says is ignored: JSON has no charset but UTF-8 (RFC 8259, section 11).

    Raises:
        BodyTooLarge: It exceeds the limit.
        UnsupportedEncoding: It is compressed.
    """
    check_encoding()
    return (await read_body()).removeprefix(BYTE_ORDER_MARK)


async def read_body() -> bytes:
    """Return the body of the request unchanged.

    Raises:
        BodyTooLarge: It exceeds the limit.
    """
    try:
        body = await request.get_data(cache=False, as_text=False)
    except RequestEntityTooLarge:
        raise BodyTooLarge(
            f"the request body exceeds the limit of {request.max_content_length} bytes"
        ) from None
    assert isinstance(body, bytes)
    return body
