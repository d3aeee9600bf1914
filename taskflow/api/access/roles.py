"""Roles of callers, by key or session; without keys, local access only."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from taskflow.api.access.api_keys import ApiKeys, Key, Role
from taskflow.api.access.browser import is_own
from taskflow.api.access.request_head import RequestHead, is_loopback
from taskflow.api.access.sessions import PATH, Session, Sessions
from taskflow.model.errors import Forbidden, Unauthorized
from taskflow.model.queue_scope import QueueScope

CALLER: Final = "taskflow.caller"
"""The key of the ``Caller`` in the scope of a request."""
REJECTED: Final = "taskflow.rejected"
"""The key of the error in the scope of a request that the dashboard rejects with a page."""

# Needed to sign in, with the assets of the page.
SIGN_IN_PATH: Final = f"{PATH}/sign-in"
SIGN_OUT_PATH: Final = f"{PATH}/sign-out"
ASSETS_PATH: Final = f"{PATH}/assets/"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER: Final = re.compile(r"bearer +(?P<key>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_HOW: Final = "send Authorization: Bearer with a key of this service"


class AccessPolicy(enum.Enum):
    """Who may call a route."""

    KEY = enum.auto()
    """Callers with a key that has the role of the route."""

    ADMIN_KEY = enum.auto()
    """Callers with a key that has the role ``admin``."""

    KEY_OR_SIGN_IN = enum.auto()
    """The same; without a key the caller is anonymous, and the route leads to the sign-in."""

    NO_KEY = enum.auto()
    """Everybody may read it; hosts and origins are checked."""

    URL_TOKEN = enum.auto()
    """Everybody may ``POST``, from anywhere: the path has a token, which the handler checks. Hosts
    and origins are checked, and the rate limit applies."""

    PING_URL = enum.auto()
    """Everybody may ``GET``, ``HEAD`` and ``POST``, from anywhere: the path has a token, which the
    handler checks and limits. Hosts and origins are checked."""

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
    """The client that sent a request.

    Attributes:
        name: The name of its key; ``None`` if none is required.
        role: The role of its key; ``None`` for an anonymous caller.
        session: The id of its session, if it signed in to the dashboard.
        key: Its key.
    """

    name: str | None
    role: Role | None
    session: str | None = None
    key: Key | None = None

    @property
    def scope(self) -> QueueScope | None:
        """The queues that it may use; ``None`` for all."""
        return None if self.key is None else self.key.scope


class Access:
    """Authenticates callers and checks their roles.

    Args:
        keys: The valid keys. Without any, local callers have all roles.
        policies: The access policies of the routes.
        sessions: The sessions of the dashboard.
        allows_anonymous: Whether remote callers have all roles, too, if there are no keys.
    """

    def __init__(
        self,
        keys: ApiKeys,
        policies: PathPolicies,
        sessions: Sessions | None = None,
        *,
        allows_anonymous: bool,
    ) -> None:
        self._keys: Final = keys
        self._policies: Final = policies
        self._sessions: Final = sessions
        self._allows_anonymous: Final = allows_anonymous

    def caller_of(self, head: RequestHead) -> Caller:
        """Return the caller.

        Raises:
            Unauthorized: The request has no key, or an invalid one.
            Forbidden: The role of the key is insufficient; or a remote caller needs a key.
        """
        if self._has_token_in_url(head):
            return Caller(None, None)
        if not self._keys:
            self._check_is_local(head)
            return Caller(None, Role.ADMIN)
        if is_open_page(head.path) or self._needs_no_key(head):
            return Caller(None, None)
        session = self._session_of(head)
        key = session.key if session else self._key_of_bearer(head)
        needed = self._role_for(head)
        if key.role < needed:
            raise Forbidden(
                f"{head.method} needs a key with the role {needed}; this one has {key.role}",
                scope=str(needed),
            )
        return Caller(key.name, key.role, session.id if session else None, key)

    def _role_for(self, head: RequestHead) -> Role:
        if head.path == SIGN_OUT_PATH:  # not a write: every role may do it
            return Role.READ
        return role_for(head.method, self._policies.policy_of(head.path))

    def _has_token_in_url(self, head: RequestHead) -> bool:
        match self._policies.policy_of(head.path):
            case AccessPolicy.URL_TOKEN:
                return head.method == "POST"
            case AccessPolicy.PING_URL:
                return head.method == "POST" or head.method in _READING
        return False

    def _needs_no_key(self, head: RequestHead) -> bool:
        match self._policies.policy_of(head.path):
            case AccessPolicy.NO_KEY:
                return head.method in _READING
            case AccessPolicy.KEY_OR_SIGN_IN:
                return "authorization" not in head.headers
        return False

    def _session_of(self, head: RequestHead) -> Session | None:
        """Return the session of a request to the dashboard.

        Raises:
            Forbidden: It is a write, and may come from a page of another origin.
        """
        if self._sessions is None or not is_page(head.path) or "authorization" in head.headers:
            return None
        session = self._sessions.session_of(head.headers.get("cookie", ""))
        # Browsers send the origin of every write (Fetch standard, section 3.2).
        is_foreign = not is_own(head.headers.get("origin", ""), head)
        if session and head.method not in _READING and is_foreign:
            raise Forbidden("a session is valid for pages of this service only")
        return session

    def _key_of_bearer(self, head: RequestHead) -> Key:
        """Return the key of a request.

        Raises:
            Unauthorized: It has no key, or an invalid one.
        """
        key = self._keys.find(_key_in(head))
        if key is None:
            raise Unauthorized(f"this key is unknown; {_HOW}", error="invalid_token")
        return key

    def _check_is_local(self, head: RequestHead) -> None:
        if self._allows_anonymous or head.server is None or is_loopback(head.server):
            return
        raise Forbidden(
            "without keys the service answers on the loopback address only; set "
            "TASKFLOW_API_KEYS or TASKFLOW_API_KEYS_FILE, or TASKFLOW_ALLOW_ANONYMOUS=1"
        )


def is_page(path: str) -> bool:
    """Return whether a path belongs to the dashboard."""
    return path == PATH or path.startswith(f"{PATH}/")


def is_open_page(path: str) -> bool:
    """Return whether a path of the dashboard is available before the sign-in."""
    return path == SIGN_IN_PATH or path.startswith(ASSETS_PATH)


def role_for(method: str, policy: AccessPolicy = AccessPolicy.KEY) -> Role:
    """Return the role that a method requires under the policy of its path."""
    if policy is AccessPolicy.ADMIN_KEY:
        return Role.ADMIN
    return Role.READ if method in _READING else Role.WRITE


def _key_in(head: RequestHead) -> str:
    """Return the key that a request presents.

    Raises:
        Unauthorized: It presents none, or something that cannot be a key.
    """
    credentials = head.headers.get("authorization")
    if credentials is None:
        # Without an error code if no key was sent (RFC 6750, section 3.1).
        raise Unauthorized(f"an API key is required; {_HOW}")
    found = _BEARER.fullmatch(credentials)
    if found is None:
        raise Unauthorized(f"Authorization is invalid; {_HOW}", error="invalid_token")
    return found["key"]
