"""All access rules, in the order in which they apply to a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from taskflow.api.access.api_keys import ApiKeys
from taskflow.api.access.browser import CrossOrigin, RawHeader
from taskflow.api.access.rate_limit import RateLimiter, client_name, rate_limiter, read_rate_limiter
from taskflow.api.access.rejected_keys import RejectedKeys
from taskflow.api.access.request_head import RequestHead, allowed_hosts
from taskflow.api.access.roles import ASSETS_PATH, Access, AccessPolicy, Caller, PathPolicies
from taskflow.api.access.sessions import EndedSessions, Sessions
from taskflow.model.audit import Action
from taskflow.settings import Settings

_ANONYMOUS: Final = Caller(None, None)


class Admission(NamedTuple):
    """The result for a request that is allowed.

    Attributes:
        caller: Who sent it.
        headers: Further headers for the response.
    """

    caller: Caller = _ANONYMOUS
    headers: Sequence[RawHeader] = ()


class Gate:
    """Applies the access rules to requests."""

    def __init__(
        self,
        settings: Settings,
        keys: ApiKeys,
        policies: PathPolicies,
        sessions: Sessions | None = None,
        ended_sessions: EndedSessions | None = None,
        rejected_keys: RejectedKeys | None = None,
    ) -> None:
        self.ended_sessions: Final = ended_sessions
        self._rejected_keys: Final = rejected_keys
        self._hosts: Final = allowed_hosts(
            settings.allowed_hosts, bind=settings.bind, has_keys=bool(keys)
        )
        self._keys: Final = keys
        self._policies: Final = policies
        self.cross_origin: Final = CrossOrigin(settings.cors_origins)
        self._access: Final = Access(
            keys, policies, sessions, allows_anonymous=settings.allow_anonymous
        )
        reads = read_rate_limiter(settings)
        # The limiter of each method that is limited.
        self._limiters: Final[Mapping[str, RateLimiter | None]] = {
            "POST": rate_limiter(settings),
            "GET": reads,
            "HEAD": reads,
        }

    def is_admitted(self, caller: Caller) -> bool:
        """Return whether the key of a caller that was admitted is still valid."""
        return caller.key is None or self._keys.is_current(caller.key)

    def count_rejected_key(self, head: RequestHead) -> None:
        """Count a request with an invalid key, for the audit log."""
        if self._rejected_keys is not None:
            self._rejected_keys.count(Action.KEY_REJECTED, head.client)

    def admit(self, head: RequestHead, now: float) -> Admission:
        """Return who sent a request, and the rate limit headers for its response.

        Args:
            head: The head of the request.
            now: The time of a monotonic clock, in seconds.

        Raises:
            RequestError: A rule rejects it.
        """
        if self._policies.policy_of(head.path) is AccessPolicy.OPEN:
            return Admission()
        self._hosts.check(head.headers.get("host", ""))
        self.cross_origin.check(head)
        # Browsers send preflight requests without the key.
        if self.cross_origin.is_preflight(head):
            return Admission()
        caller = self._access.caller_of(head)
        limiter = self._limiters.get(head.method)
        is_ping = self._policies.policy_of(head.path) is AccessPolicy.PING_URL
        if limiter is None or is_ping or _is_unlimited(head, caller):
            return Admission(caller)
        limit = limiter.take(client_name(caller.name, head.client), now)
        headers = [
            (b"ratelimit", limit.encode()),
            (b"ratelimit-policy", limiter.rate.policy.encode()),
        ]
        return Admission(caller, headers)


def _is_unlimited(head: RequestHead, caller: Caller) -> bool:
    """Return whether the rate limits do not apply: reads without a key, and reads of assets."""
    is_read = head.method != "POST"
    return is_read and (caller.role is None or head.path.startswith(ASSETS_PATH))
