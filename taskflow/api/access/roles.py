"""Who may do what: roles by key, and nobody from afar without keys."""

from __future__ import annotations

import re
from typing import Final

from taskflow.api.access.head import Head
from taskflow.api.access.hosts import is_loopback
from taskflow.api.access.keys import Keyring, Role
from taskflow.model.errors import Forbidden, Unauthorized

# For those who watch over the service: load balancers have no key, and these say nothing.
OPEN_PATHS: Final = frozenset({"/livez", "/readyz"})
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER: Final = re.compile(r"bearer +(?P<key>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_HOW: Final = "send Authorization: Bearer and a key that this service knows"


class Access:
    """The rules, with the keys that they go by.

    Args:
        keys: Without any, who reaches the service on the loopback may do everything.
        allows_anonymous: Without keys, everybody else may, too.
    """

    def __init__(self, keys: Keyring, *, allows_anonymous: bool) -> None:
        self._keys: Final = keys
        self._allows_anonymous: Final = allows_anonymous

    def caller_of(self, head: Head) -> str | None:
        """The name that who asks goes by; ``None`` where there are no keys.

        Raises:
            Unauthorized: There is no key, or one that is not known.
            Forbidden: The key is not good for this, or without keys it comes from afar.
        """
        if not self._keys:
            self._check_is_near(head)
            return None
        key = self._keys.find(_key_in(head))
        if key is None:
            raise Unauthorized(f"this key is not known here; {_HOW}", error="invalid_token")
        needed = role_for(head.method)
        if key.role < needed:
            raise Forbidden(
                f"{head.method} needs a key with the role {needed}; this one has {key.role}",
                scope=str(needed),
            )
        return key.name

    def _check_is_near(self, head: Head) -> None:
        if self._allows_anonymous or head.server is None or is_loopback(head.server):
            return
        raise Forbidden(
            "without keys this service answers on the loopback address only; set "
            "TASKFLOW_API_KEYS or TASKFLOW_API_KEYS_FILE, or TASKFLOW_ALLOW_ANONYMOUS=1"
        )


def role_for(method: str) -> Role:
    """The least role that a method takes."""
    return Role.READ if method in _READING else Role.WRITE


def _key_in(head: Head) -> str:
    """The key that a request carries.

    Raises:
        Unauthorized: It carries none, or none that could be one.
    """
    credentials = head.fields.get("authorization")
    if credentials is None:
        # Without an error code, as RFC 6750 (section 3.1) has it for who did not try.
        raise Unauthorized(f"this needs a key; {_HOW}")
    found = _BEARER.fullmatch(credentials)
    if found is None:
        raise Unauthorized(f"Authorization cannot be read; {_HOW}", error="invalid_token")
    return found["key"]
