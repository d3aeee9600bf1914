"""Signatures of callbacks, by which their receivers tell them from anybody else's requests.

Symmetric signatures of version ``v1`` as the Standard Webhooks have them
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

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what one begins with
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
NEW_SECRET_BYTES: Final = 32
SECRET_SHAPE: Final = (
    f"{SECRET_PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64, as "
    "`taskflow secret new` makes it"
)


class Signer:
    """Signs with every secret there is: receivers that know any of them can verify.

    Two at once are for rotation: add the new one, let receivers change to it, take the old one
    away.

    Args:
        secrets: As bytes; without any, nothing is signed.
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
        """The header fields of a message.

        Args:
            message_id: The same whenever the message is sent again, so that receivers can tell.
            body: As it is sent, to the byte.
            timestamp: When it is sent, in seconds since 1970; receivers refuse old ones.
        """
        content = f"{message_id}.{timestamp}.".encode() + body
        signatures = (
            base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
            for secret in self._secrets
        )
        return (
            ("webhook-id", message_id),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", " ".join(f"v1,{signature}" for signature in signatures)),
        )


NO_SIGNER: Final = Signer()


def secret_of(text: str) -> bytes:
    """Read a secret.

    Raises:
        ValueError: It cannot be one; says what one is, and nothing of what it was.
    """
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    is_long_enough = MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES
    # Decoders differ in what they let pass; the receiver's is another one.
    if not is_long_enough or text != _written(secret):
        raise ValueError(f"must be {SECRET_SHAPE}")
    return secret


def new_secret() -> str:
    """A new secret, as it is written."""
    return _written(secrets.token_bytes(NEW_SECRET_BYTES))


def _written(secret: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(secret).decode()
