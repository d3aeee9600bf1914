"""The ping URLs of heartbeats: which heartbeat a token belongs to, and how often it may ping.

A token is the id of a ping URL, and a MAC of it with a secret that all nodes share. So it can be
shown again, a rotation replaces it, and one that TaskFlow did not issue is rejected without a look
into the store, in a time that does not depend on which heartbeats exist.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import uuid
from typing import Final

import trio

from taskflow.api.access.rate_limit import Rate, RateLimiter
from taskflow.api.inline_requests import PING_PATH
from taskflow.store.base.store import TaskStore

PINGS_PER_SECOND: Final = 1.0
PINGS_BURST: Final = 20
_SECRET_NAME: Final = "heartbeat pings"  # noqa: S105 - the name of a secret
_MAC_BYTES: Final = 16
_ID_BYTES: Final = 16


def ping_token(ping_id: uuid.UUID, secret: bytes) -> str:
    """Return the token of a ping URL: 43 characters, with a MAC of 128 bits."""
    data = ping_id.bytes + _mac_of(ping_id.bytes, secret)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ping_id_of(token: str, secret: bytes) -> uuid.UUID | None:
    """Return the id that a token has; ``None`` if it was not made with this secret."""
    try:
        data = base64.b64decode(f"{token}=".encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    ping_id, mac = data[:_ID_BYTES], data[_ID_BYTES:]
    if not hmac.compare_digest(mac, _mac_of(ping_id, secret)):
        return None
    return uuid.UUID(bytes=ping_id)


def _mac_of(ping_id: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, ping_id, hashlib.sha256)[:_MAC_BYTES]


class PingUrls:
    """Makes and reads the tokens of ping URLs.

    Args:
        store: Has the secret that all nodes share.
        public_url: ``TASKFLOW_PUBLIC_URL``, if it is set.
    """

    def __init__(self, store: TaskStore, public_url: str | None) -> None:
        self._store: Final = store
        self._public_url: Final = public_url
        self._secret: bytes | None = None
        self._limiter: Final = RateLimiter(Rate(PINGS_PER_SECOND, PINGS_BURST, "ping"))

    async def url_of(self, ping_id: uuid.UUID, own_url: str) -> str:
        """Return a ping URL, for callers who may change heartbeats.

        Args:
            ping_id: The id of the URL.
            own_url: The URL of the service as the client has reached it, if the service does not
                know its public URL.
        """
        base = (self._public_url or own_url).rstrip("/")
        return f"{base}{PING_PATH}{ping_token(ping_id, await self._shared_secret())}"

    async def ping_id_of(self, token: str) -> uuid.UUID | None:
        """Return the id that a token has; ``None`` if it is not valid."""
        return ping_id_of(token, await self._shared_secret())

    def limit(self, ping_id: uuid.UUID) -> None:
        """Count a ping towards the rate limit of its heartbeat.

        Raises:
            RateLimited: It is exceeded.
        """
        self._limiter.take(str(ping_id), trio.current_time())

    async def _shared_secret(self) -> bytes:
        if self._secret is None:
            self._secret = await self._store.shared_secret(_SECRET_NAME)
        return self._secret
