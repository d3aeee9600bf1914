"""Sessions of people in browsers: a cookie that says by which key they signed in.

The cookie is signed and not kept: it is good on every node, and as long as its key is. It opens the
dashboard and nothing else, for it is sent by whatever page has a browser ask (see ``roles.py``).
"""

from __future__ import annotations

from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.http import parse_cookie

from taskflow.api.access.keys import Key, Keyring

COOKIE: Final = "taskflow_session"
PATH: Final = "/ui"
LONGEST_SECONDS: Final = 43_200
_FINGERPRINT: Final = 32


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
        return None if key is None else self._signer.dumps([key.name, _fingerprint(key)])

    def key_of(self, cookies: str) -> Key | None:
        """By which key who sends these cookies signed in; ``None`` if by none, or not any more."""
        try:
            value = parse_cookie(cookies).get(COOKIE, "")
            name, fingerprint = self._signer.loads(value, max_age=LONGEST_SECONDS)
        except (BadData, ValueError):
            return None
        # A key that was taken out, or replaced under the same name, ends its sessions.
        return next(
            (key for key in self._keys if (key.name, _fingerprint(key)) == (name, fingerprint)),
            None,
        )


def _fingerprint(key: Key) -> str:
    return key.digest.hex()[:_FINGERPRINT]
