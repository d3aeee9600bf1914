"""Who may do what: roles by key, and nobody from afar without keys."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from taskflow.api.access.api_keys import Key, Keyring, Role
from taskflow.api.access.browser import is_own
from taskflow.api.access.hosts import is_loopback
from taskflow.api.access.request_head import Head
from taskflow.api.access.sessions import PATH, Session, Sessions
from taskflow.model.errors import Forbidden, Unauthorized

CALLER: Final = "taskflow.caller"
"""Where routes find in the scope of a request who asks: a ``Caller``."""
REJECTED: Final = "taskflow.rejected"
"""Where the dashboard finds why it must only show that a request is rejected."""

# Needed to sign in, with the assets of the page.
SIGN_IN_PATH: Final = f"{PATH}/sign-in"
SIGN_OUT_PATH: Final = f"{PATH}/sign-out"
ASSETS_PATH: Final = f"{PATH}/assets/"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER: Final = re.compile(r"bearer +(?P<key>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_HOW: Final = "send Authorization: Bearer and a key that this service knows"


class AccessPolicy(enum.Enum):
    """Who may call a route."""

    KEY = enum.auto()
    """Callers with a key that has the role of the route."""

    KEY_OR_SIGN_IN = enum.auto()
    """The same; without a key the caller is anonymous, and the route leads to the sign-in."""

    NO_KEY = enum.auto()
    """Everybody may read it; hosts and origins are checked."""

    OPEN = enum.auto()
    """Everybody: for load balancers, which have no key. No access rule applies."""


class PathPolicies:
    """The access policies of paths: ``KEY``, unless a route declares another one.

    Args:
        declared: The path of each route, with parameters in braces, and its policy.
    """

    def __init__(self, declared: Iterable[tuple[str, AccessPolicy]] = ()) -> None:
        others = {path: policy for path, policy in declared if policy is not AccessPolicy.KEY}
        self._exact: Final = {path: policy for path, policy in others.items() if "{" not in path}
        self._prefixes: Final = tuple(
            (path.partition("{")[0], policy) for path, policy in others.items() if "{" in path
        )

    def policy_of(self, path: str) -> AccessPolicy:
        """Return the policy of a path. It includes paths that no route has."""
        if (policy := self._exact.get(path)) is not None:
            return policy
        for prefix, policy in self._prefixes:
            if path.startswith(prefix):
                return policy
        return AccessPolicy.KEY


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        name: That of the key; ``None`` where there are no keys, or none is asked for.
        role: What may be done; ``None`` if no more than is open to all.
        session: The id of the session, of a person who signed in to the dashboard.
    """

    name: str | None
    role: Role | None
    session: str | None = None


class Access:
    """The rules, with the keys that they go by.

    Args:
        keys: Without any, who reaches the service on the loopback may do everything.
        policies: The access policies of the routes.
        sessions: How people in browsers are known.
        allows_anonymous: Without keys, everybody else may, too.
    """

    def __init__(
        self,
        keys: Keyring,
        policies: PathPolicies,
        sessions: Sessions | None = None,
        *,
        allows_anonymous: bool,
    ) -> None:
        self._keys: Final = keys
        self._policies: Final = policies
        self._sessions: Final = sessions
        self._allows_anonymous: Final = allows_anonymous

    def caller_of(self, head: Head) -> Caller:
        """Who asks, and what for they are good.

        Raises:
            Unauthorized: There is no key, or one that is not known.
            Forbidden: The key is not good for this, or without keys it comes from afar.
        """
        if not self._keys:
            self._check_is_near(head)
            return Caller(None, Role.ADMIN)
        if is_open_page(head.path) or self._needs_no_key(head):
            return Caller(None, None)
        session = self._session_of(head)
        key = session.key if session else self._key_of_bearer(head)
        # Signing out is not a write: it is for everyone who signed in.
        needed = Role.READ if head.path == SIGN_OUT_PATH else role_for(head.method)
        if key.role < needed:
            raise Forbidden(
                f"{head.method} needs a key with the role {needed}; this one has {key.role}",
                scope=str(needed),
            )
        return Caller(key.name, key.role, session.id if session else None)

    def _needs_no_key(self, head: Head) -> bool:
        match self._policies.policy_of(head.path):
            case AccessPolicy.NO_KEY:
                return head.method in _READING
            case AccessPolicy.KEY_OR_SIGN_IN:
                return "authorization" not in head.fields
        return False

    def _session_of(self, head: Head) -> Session | None:
        """The session of a person who asks for a page, or does something there.

        Raises:
            Forbidden: Something is to be done, and it is not certain that a page of ours asks.
        """
        if self._sessions is None or not is_page(head.path) or "authorization" in head.fields:
            return None
        session = self._sessions.session_of(head.fields.get("cookie", ""))
        # Browsers name the origin of whatever is no mere reading (Fetch standard, section 3.2).
        is_foreign = not is_own(head.fields.get("origin", ""), head)
        if session and head.method not in _READING and is_foreign:
            raise Forbidden("a session is for this service's own pages only")
        return session

    def _key_of_bearer(self, head: Head) -> Key:
        """The key that is known.

        Raises:
            Unauthorized: There is none.
        """
        key = self._keys.find(_key_in(head))
        if key is None:
            raise Unauthorized(f"this key is not known here; {_HOW}", error="invalid_token")
        return key

    def _check_is_near(self, head: Head) -> None:
        if self._allows_anonymous or head.server is None or is_loopback(head.server):
            return
        raise Forbidden(
            "without keys this service answers on the loopback address only; set "
            "TASKFLOW_API_KEYS or TASKFLOW_API_KEYS_FILE, or TASKFLOW_ALLOW_ANONYMOUS=1"
        )


def is_page(path: str) -> bool:
    """Whether it is of the dashboard."""
    return path == PATH or path.startswith(f"{PATH}/")


def is_open_page(path: str) -> bool:
    """Whether it is one that those need who have not signed in yet."""
    return path == SIGN_IN_PATH or path.startswith(ASSETS_PATH)


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
