"""What is let through to the routes: every rule of access, in the order in which it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from taskflow.api.access.api_keys import Keyring
from taskflow.api.access.browser import CrossOrigin, RawField
from taskflow.api.access.hosts import allowed_hosts
from taskflow.api.access.rate_limit import (
    RateLimiter,
    client_name,
    rate_limiter,
    read_rate_limiter,
)
from taskflow.api.access.request_head import Head
from taskflow.api.access.roles import ASSETS_PATH, Access, AccessPolicy, Caller, PathPolicies
from taskflow.api.access.sessions import EndedSessions, Sessions
from taskflow.settings import Settings

_NOBODY: Final = Caller(None, None)


class Admission(NamedTuple):
    """A request that may pass.

    Attributes:
        caller: Who asks.
        fields: What its answer is to have in its head.
    """

    caller: Caller = _NOBODY
    fields: Sequence[RawField] = ()


class Gate:
    """All rules, by the settings, the keys, and the sessions of those who signed in with one."""

    def __init__(
        self,
        settings: Settings,
        keys: Keyring,
        policies: PathPolicies,
        sessions: Sessions | None = None,
        ended_sessions: EndedSessions | None = None,
    ) -> None:
        self.ended_sessions: Final = ended_sessions
        self._hosts: Final = allowed_hosts(
            settings.allowed_hosts, bind=settings.bind, has_keys=bool(keys)
        )
        self._policies: Final = policies
        self.cross_origin: Final = CrossOrigin(settings.cors_origins)
        self._access: Final = Access(
            keys, policies, sessions, allows_anonymous=settings.allow_anonymous
        )
        reads = read_rate_limiter(settings)
        # By the methods that take a token.
        self._limiters: Final[Mapping[str, RateLimiter | None]] = {
            "POST": rate_limiter(settings),
            "GET": reads,
            "HEAD": reads,
        }

    def admit(self, head: Head, now: float) -> Admission:
        """Let a request pass, and say who it is of and what its answer is to say of limits.

        Args:
            head: Of the request.
            now: In seconds, by a clock that only goes forward.

        Raises:
            RequestError: A rule does not.
        """
        if self._policies.policy_of(head.path) is AccessPolicy.OPEN:
            return Admission()
        self._hosts.check(head.fields.get("host", ""))
        self.cross_origin.check(head)
        # A browser asks without the key that the page's own request will have.
        if self.cross_origin.is_preflight(head):
            return Admission()
        caller = self._access.caller_of(head)
        limiter = self._limiters.get(head.method)
        if limiter is None or _is_free(head, caller):
            return Admission(caller)
        limit = limiter.take(client_name(caller.name, head.client), now)
        fields = [
            (b"ratelimit", limit.encode()),
            (b"ratelimit-policy", limiter.rate.policy.encode()),
        ]
        return Admission(caller, fields)


def _is_free(head: Head, caller: Caller) -> bool:
    """Whether it is a read of what is open to all, or of the files that pages are made of."""
    is_read = head.method != "POST"
    return is_read and (caller.role is None or head.path.startswith(ASSETS_PATH))
