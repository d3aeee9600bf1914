"""Sessions of the dashboard: a signed cookie with the key that a user signed in with.

The cookie is signed and not stored: it is valid on every node as long as its key is, until the user
signs out. Signing out is recorded in the store, so that copies of the cookie become invalid, too.
The cookie gives access to the dashboard alone, because browsers send it with requests of any page
(see ``roles.py``).
"""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple, Protocol

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.http import parse_cookie

from taskflow.api.access.api_keys import ApiKeys, Key

COOKIE: Final = "taskflow_session"
PATH: Final = "/ui"
MAX_SESSION_SECONDS: Final = 43_200
_FINGERPRINT: Final = 32
_ID_BYTES: Final = 16


class EndedSessions(Protocol):
    """The part of the store that records ended sessions."""

    async def end_session(self, session_id: str, *, seconds: float) -> None:
        """End a session on all nodes."""

    async def is_session_ended(self, session_id: str) -> bool:
        """Return whether a session was ended."""


class Session(NamedTuple):
    """A session, which may have been ended since.

    Attributes:
        id: A random id, new for each sign-in.
        key: The key that the user signed in with.
    """

    id: str
    key: Key


class Sessions:
    """Creates and reads session cookies.

    Args:
        keys: The valid keys.
        secret: The secret of the signature, the same on all nodes.

    Attributes:
        secret: The same.
    """

    def __init__(self, keys: ApiKeys, secret: bytes) -> None:
        self._keys: Final = keys
        self.secret: Final = secret
        self._signer: Final[Any] = URLSafeTimedSerializer(secret, salt="taskflow session")

    def begin(self, presented: str) -> str | None:
        """Return the cookie of a new session; ``None`` if the key is invalid."""
        key = self._keys.find(presented)
        return (
            None
            if key is None
            else self._signer.dumps([key.name, _fingerprint(key), secrets.token_urlsafe(_ID_BYTES)])
        )

    def key_of(self, cookies: str) -> Key | None:
        """Return the key of the session in these cookies; ``None`` if there is no valid session."""
        session = self.session_of(cookies)
        return None if session is None else session.key

    def session_of(self, cookies: str) -> Session | None:
        """Return the session in these cookies; ``None`` if there is none, or it has expired."""
        try:
            value = parse_cookie(cookies).get(COOKIE, "")
            name, fingerprint, session_id = self._signer.loads(value, max_age=MAX_SESSION_SECONDS)
        except (BadData, ValueError):
            return None
        # Removing a key, or replacing it under the same name, ends its sessions.
        return next(
            (
                Session(session_id, key)
                for key in self._keys
                if (key.name, _fingerprint(key)) == (name, fingerprint)
            ),
            None,
        )


def _fingerprint(key: Key) -> str:
    return key.digest.hex()[:_FINGERPRINT]
