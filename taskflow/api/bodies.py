"""Reading what clients send, within the bounds."""

from __future__ import annotations

from quart import request
from werkzeug.exceptions import RequestEntityTooLarge

from taskflow.model.errors import BodyTooLarge, UnsupportedEncoding


def check_encoding() -> None:
    """See that the body of the request is as it is.

    Raises:
        UnsupportedEncoding: It is compressed.
    """
    encodings = ",".join(request.headers.getlist("Content-Encoding")).lower().split(",")
    if any(encoding.strip() not in ("", "identity") for encoding in encodings):
        raise UnsupportedEncoding


async def read_body() -> bytes:
    """The body of the request, as it came.

    Raises:
        BodyTooLarge: It is larger than is taken.
    """
    try:
        body = await request.get_data(cache=False, as_text=False)
    except RequestEntityTooLarge:
        raise BodyTooLarge(
            f"the body is larger than the {request.max_content_length} bytes that are taken here"
        ) from None
    assert isinstance(body, bytes)
    return body
