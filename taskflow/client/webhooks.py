"""Verifies that callbacks, deliveries and signed requests come from a TaskFlow service."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from taskflow.client import arguments
from taskflow.client.errors import InvalidArgument, InvalidSignature, UnexpectedResponse
from taskflow.model.signature import SECRET_SHAPE, SIGNATURE_FIELDS, secret_of

TOLERANCE_SECONDS: Final = 300.0
_TIMESTAMP: Final = re.compile("[0-9]{1,15}")
_VERSION: Final = "v1,"


def verify_webhook(
    secrets: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: dt.datetime | None = None,
) -> Any:
    """Verify a request as the Standard Webhooks specify, and return the JSON of its body.

    The body of a callback is the finished task.

    Args:
        secrets: The secret, ``whsec_...``; several while one is being replaced.
        headers: The headers of the request; upper and lower case are the same.
        body: The body as it arrived, before a parser changed it.
        tolerance_seconds: How old a request may be, and how far ahead its clock.
        now: The current time; by default of this machine.

    Returns:
        The value of the JSON; ``None`` for a request without a body.

    Raises:
        InvalidSignature: No signature is valid, or the request is too old.
        InvalidArgument: A secret or another argument is invalid.
        UnexpectedResponse: The request is verified, and its body is not JSON.
    """
    content = body.encode() if isinstance(body, str) else bytes(body)
    verify_signature(secrets, headers, content, tolerance_seconds=tolerance_seconds, now=now)
    if not content:
        return None
    try:
        return json.loads(content)  # of any numbers, unlike msgspec
    except (ValueError, RecursionError):
        raise UnexpectedResponse("the body of the verified request is not JSON") from None


def verify_signature(
    secrets: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: dt.datetime | None = None,
) -> None:
    """Verify a request like ``verify_webhook``, whose body need not be JSON.

    Raises:
        InvalidSignature: No signature is valid, or the request is too old.
        InvalidArgument: A secret or another argument is invalid.
    """
    tolerance = arguments.seconds("tolerance_seconds", tolerance_seconds)
    keys = _keys_of(secrets)
    given = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, signature = (given.get(name) for name in SIGNATURE_FIELDS)
    if not (message_id and timestamp and signature):
        raise InvalidSignature(f"a header is missing: {', '.join(SIGNATURE_FIELDS)}")
    seconds = time.time() if now is None else now.timestamp()
    is_time = _TIMESTAMP.fullmatch(timestamp) is not None
    if not is_time or abs(seconds - int(timestamp)) > tolerance:
        raise InvalidSignature("webhook-timestamp is too old, too far ahead, or no time")
    content = f"{message_id}.{timestamp}.".encode(errors="surrogatepass") + bytes(body)
    if not _is_signed(keys, signature, content):
        raise InvalidSignature("no signature is of one of the secrets")


def _keys_of(secrets: str | Iterable[str]) -> list[bytes]:
    texts = [secrets] if isinstance(secrets, str) else list(secrets)
    if not texts:
        raise InvalidArgument("secrets must have at least one secret")
    try:
        return [secret_of(text) for text in texts]
    except (ValueError, TypeError, AttributeError):
        raise InvalidArgument(f"a secret must be {SECRET_SHAPE}") from None


def _is_signed(keys: Iterable[bytes], signature: str, content: bytes) -> bool:
    """Compare in constant time; each signature with each secret."""
    signatures = [_bytes_of(one) for one in signature.split(" ")]
    is_valid = False
    for key in keys:
        digest = hmac.digest(key, content, hashlib.sha256)
        for one in signatures:
            is_valid |= one is not None and hmac.compare_digest(one, digest)
    return is_valid


def _bytes_of(signature: str) -> bytes | None:
    """Return a signature of the known version; ``None`` for any other text."""
    if not signature.startswith(_VERSION):
        return None
    try:
        return base64.b64decode(signature.removeprefix(_VERSION), validate=True)
    except (binascii.Error, ValueError):
        return None
