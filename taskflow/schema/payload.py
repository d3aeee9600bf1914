"""The rules of a payload: where it leads to, and what is wrong with a whole request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from taskflow.model.masking import MASK, MASKING
from taskflow.model.request import (
    HEADERS_MADE_HERE,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    BodyError,
    HeaderName,
    HeaderValue,
    RequestPayload,
    content_of,
)
from taskflow.model.signature import SIGNATURE_FIELDS, SIGNED_HEADER
from taskflow.model.url import NOWHERE, Place, place_in
from taskflow.schema.reader import Reader
from taskflow.schema.tasks import TaskRequest
from taskflow.schema.validation_errors import ValidationErrors, token

MASK_BYTES: Final = MASK.encode()
WAS_MASKED: Final = (
    f"has {MASK} in place of a credential that was masked when it was shown; send the real value"
)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)


def place_of_payload(payload: bytes, errors: ValidationErrors) -> Place:
    """Return where a payload leads to; adds what is wrong with it if it is a whole request."""
    if payload.startswith(b'"'):
        return place_in(_TEXT.decode(payload))
    if payload.startswith(b"{"):
        return place_in(_check_request(payload, errors))
    return NOWHERE


def reject_masked(payload: bytes, callback_url: str | None, errors: ValidationErrors) -> None:
    """Add an error for each mask: a task that was shown has masks in place of its credentials."""
    if callback_url is not None and MASKING.is_masked(callback_url):
        errors.add("/callback_url", f"callback_url {WAS_MASKED}")
    where = "/payload"
    url: Any = None
    headers: Any = None
    if payload.startswith(b'"'):
        url = _TEXT.decode(payload)
    elif payload.startswith(b"{"):
        fields = msgspec.json.decode(payload, type=dict[str, Any])
        where, url, headers = "/payload/url", fields.get("url"), fields.get("headers")
    if isinstance(url, str) and MASKING.is_masked(url):
        errors.add(where, f"the URL {WAS_MASKED}")
    for name in MASKING.masked_headers(headers) if isinstance(headers, dict) else ():
        errors.add(f"/payload/headers{token(name)}", f"the header {name} {WAS_MASKED}")


def reject_signature_fields(payload: bytes, errors: ValidationErrors) -> None:
    """Add an error for each header that TaskFlow sets itself because the request is signed."""
    for name in _header_names(payload):
        if name.lower() in SIGNATURE_FIELDS:
            errors.add(f"/payload/headers{token(name)}", SIGNED_HEADER.format(name))


def reject_header(payload: bytes, rejected: str, errors: ValidationErrors) -> None:
    """Add an error if a request has a header that TaskFlow sets itself."""
    for name in _header_names(payload):
        if name.lower() == rejected.lower():
            what = f"the header {name} is set by TaskFlow; leave it out"
            errors.add(f"/payload/headers{token(name)}", what)


def _header_names(payload: bytes) -> Iterable[str]:
    if not payload.startswith(b"{"):
        return ()
    headers = msgspec.json.decode(payload, type=dict[str, Any]).get("headers")
    return headers if isinstance(headers, dict) else ()


def _check_request(payload: bytes, errors: ValidationErrors) -> str:
    """Return the URL of a whole request."""
    fields = _FIELDS.decode(payload)
    if bytes(fields.get("url", b"null")) == b"null":
        errors.add("/payload/url", "payload.url is missing: where should the request be sent?")
    return PAYLOAD_READER.read(fields, errors, under="/payload").get("url") or ""


def _check_body(text: bytes, errors: ValidationErrors) -> None:
    try:
        content_of(text)
    except BodyError as error:
        errors.add("/payload/body/base64", f"payload.{error}")


def _check_headers(text: bytes, errors: ValidationErrors) -> None:
    if text == b"null":
        return
    try:
        headers = _FIELDS.decode(text)
    except msgspec.ValidationError:
        errors.add("/payload/headers", "payload.headers must be an object of names with text")
        return
    if len(headers) > MAX_HEADERS:
        errors.add("/payload/headers", f"payload.headers must be {MAX_HEADERS} at most")
        return
    for name, value in headers.items():
        if complaint := _complaint_about_header(name, value):
            errors.add(f"/payload/headers{token(name)}", complaint)


def _complaint_about_header(name: str, value: msgspec.Raw) -> str:
    if name.lower() in HEADERS_MADE_HERE:
        return f"the header {name} is set by TaskFlow; leave it out"
    if not _is_valid(msgspec.json.encode(name), HeaderName):
        return f"{name!r} is not the name of a header"
    if not _is_valid(bytes(value), HeaderValue):
        return (
            f"the header {name} must be printable ASCII without spaces around it, up to "
            f"{MAX_HEADER_BYTES} bytes"
        )
    return ""


def _is_valid(text: bytes, kind: Any) -> bool:
    try:
        msgspec.json.decode(text, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return False
    return True


PAYLOAD_READER: Final = Reader(
    RequestPayload,
    elsewhere=[(TaskRequest.__struct_fields__, "{} goes beside payload, not inside it")],
    custom={"headers": _check_headers, "body": _check_body},
)
