"""Sessions of people in browsers: a cookie that says by which key they signed in.

The cookie is signed and not stored: it is valid on every node, as long as its key is, until its
session is signed out of. That is recorded in the store, so that a copy of the cookie ends with it.
It opens the dashboard and nothing else, for it is sent by whatever page has a browser ask (see
``roles.py``).
"""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple, Protocol

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.http import parse_cookie

from taskflow.api.access.api_keys import Key, Keyring

COOKIE: Final = "taskflow_session"
PATH: Final = "/ui"
LONGEST_SECONDS: Final = 43_200
_FINGERPRINT: Final = 32
_ID_BYTES: Final = 16


class EndedSessions(Protocol):
    """The store, as far as sessions are its business."""

    async def end_session(self, session_id: str, *, seconds: float) -> None:
        """End a session on all nodes."""

    async def is_session_ended(self, session_id: str) -> bool:
        """Return whether it was ended."""


class Session(NamedTuple):
    """A session that was begun, and may have been signed out of since.

    Attributes:
        id: Random; another one for each sign-in.
        key: The key that was signed in with.
    """

    id: str
    key: Key


class Sessions:
    """Makes and reads the cookies of this service.

    Args:
        keys: Those that one can sign in with.
        secret: What they are signed with; the same on all nodes.
    """

    def __init__(self, keys: Keyring, secret: bytes) -> None:
        self._keys: Final = keys
        self._signer: Final[Any] = URLSafeTimedSerializer(secret, salt="taskflow session")

    def begin(self, presented: str) -> str | None:
        """The value of the cookie for who has this key; ``None`` if it is not known."""
        key = self._keys.find(presented)
        return (
            None
            if key is None
            else self._signer.dumps([key.name, _fingerprint(key), secrets.token_urlsafe(_ID_BYTES)])
        )

    def key_of(self, cookies: str) -> Key | None:
        """By which key who sends these cookies signed in; ``None`` if by none, or not any more."""
        session = self.session_of(cookies)
        return None if session is None else session.key

    def session_of(self, cookies: str) -> Session | None:
        """Return the session of these cookies; ``None`` if there is none, or it is over."""
        try:
            value = parse_cookie(cookies).get(COOKIE, "")
            name, fingerprint, session_id = self._signer.loads(value, max_age=LONGEST_SECONDS)
        except (BadData, ValueError):
            return None
        # A key that was taken out, or replaced under the same name, ends its sessions.
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
