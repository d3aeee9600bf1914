"""Signatures by which a target verifies that a request or a callback comes from this service.

Symmetric signatures of version ``v1`` of the Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks, "Verifying webhook authenticity"): the
HMAC-SHA256 of ``id.timestamp.body``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of a secret
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
NEW_SECRET_BYTES: Final = 32
ID_FIELD: Final = "webhook-id"
TIMESTAMP_FIELD: Final = "webhook-timestamp"
SIGNATURE_FIELD: Final = "webhook-signature"
SIGNATURE_FIELDS: Final = (ID_FIELD, TIMESTAMP_FIELD, SIGNATURE_FIELD)
NO_SECRETS: Final = (
    "{} cannot be used: there is no secret to sign with; set TASKFLOW_WEBHOOK_SECRETS to what "
    "`taskflow secret new` prints"
)
SIGNED_HEADER: Final = (
    "the header {} is set by TaskFlow if the request is signed; leave it out, or set sign to false"
)
SECRET_SHAPE: Final = (
    f"{SECRET_PREFIX} followed by {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64, as "
    "created by `taskflow secret new`"
)


class Signer:
    """Signs requests with every secret: targets that know one of them can verify.

    To rotate a secret, add the new one, let targets switch to it, and remove the old one.

    Args:
        secrets: The secrets as bytes; without any, nothing can be signed.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._secrets: Final = tuple(secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"<Signer: {len(self)} secrets>"

    def headers(
        self, message_id: str, body: bytes, *, timestamp: int
    ) -> tuple[tuple[str, str], ...]:
        """Return the headers that sign a message.

        Args:
            message_id: The id of the message; the same in each attempt, so that targets can
                detect duplicates.
            body: The exact body.
            timestamp: The current time in seconds since 1970; targets reject old messages.
        """
        content = f"{message_id}.{timestamp}.".encode() + body
        signatures = (
            base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
            for secret in self._secrets
        )
        return (
            (ID_FIELD, message_id),
            (TIMESTAMP_FIELD, str(timestamp)),
            (SIGNATURE_FIELD, " ".join(f"v1,{signature}" for signature in signatures)),
        )


NO_SIGNER: Final = Signer()


def secret_of(text: str) -> bytes:
    """Parse a secret.

    Raises:
        ValueError: It is invalid. The message states the format and does not quote the text.
    """
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    is_long_enough = MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES
    # Decoders differ in what they accept, and the receiver uses another one.
    if not is_long_enough or text != secret_text(secret):
        raise ValueError(f"must be {SECRET_SHAPE}")
    return secret


def new_secret() -> str:
    """Return a new random secret as text."""
    return secret_text(secrets.token_bytes(NEW_SECRET_BYTES))


def secret_text(secret: bytes) -> str:
    """Return a secret as text."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()
