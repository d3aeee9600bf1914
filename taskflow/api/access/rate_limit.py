"""How often a client may submit, and read: buckets of tokens, which fill up again by the clock.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Final

import msgspec

from taskflow.api.access.hosts import address_of
from taskflow.model.errors import RateLimited
from taskflow.settings import Settings

POST_POLICY: Final = "post"
READ_POLICY: Final = "read"
# Of so many clients the buckets are kept; the one that has not asked for the longest goes first,
# and is the likeliest to be full again.
MOST_BUCKETS: Final = 10_000
# Of IPv6 a client has at least so many addresses as fit under a prefix of this length.
_CLIENT_PREFIX: Final = 64
# A token is whole when rounding is all that it lacks.
_ROUNDING: Final = 1e-6


class Rate(msgspec.Struct, frozen=True):
    """So many tokens a second, and how many may be saved up; ``name`` is that of the policy."""

    per_second: float
    burst: int
    name: str = POST_POLICY

    @property
    def policy(self) -> str:
        """As ``RateLimit-Policy`` says it: so many in the time that an empty bucket takes."""
        window_seconds = max(1, math.ceil(self.burst / self.per_second))
        return f'"{self.name}";q={self.burst};w={window_seconds}'


class TokenBucket:
    """Tokens of one client. It knows no clock: each call says what time it is.

    Args:
        rate: How it fills.
        now: In seconds; it is full then.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate: Final = rate
        self._tokens = float(rate.burst)
        self._filled_at = now

    def __repr__(self) -> str:
        return f"TokenBucket({self._tokens:.1f} of {self._rate.burst})"

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        self._fill(now)
        if self.remaining == 0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def remaining(self) -> int:
        """How many whole tokens there were at the last look."""
        return max(0, math.floor(self._tokens + _ROUNDING))

    @property
    def seconds_to_next(self) -> int:
        """In how many whole seconds, from then, there is one more at the latest."""
        missing = self.remaining + 1 - self._tokens
        return max(1, math.ceil((missing - _ROUNDING) / self._rate.per_second))

    def _fill(self, now: float) -> None:
        filled = self._tokens + max(0.0, now - self._filled_at) * self._rate.per_second
        self._tokens = min(float(self._rate.burst), filled)
        self._filled_at = now


class RateLimiter:
    """The buckets of all clients.

    Args:
        rate: That of each.
        most: Of how many clients they are kept.
    """

    def __init__(self, rate: Rate, *, most: int = MOST_BUCKETS) -> None:
        self.rate: Final = rate
        self._most: Final = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str, now: float) -> str:
        """Take a token of a client's, and return what is left as ``RateLimit`` says it.

        Raises:
            RateLimited: There is none.
        """
        bucket = self._bucket_of(client, now)
        is_taken = bucket.take(now)
        limit = f'"{self.rate.name}";r={bucket.remaining};t={bucket.seconds_to_next}'
        if not is_taken:
            raise RateLimited(
                f"more than {self.rate.per_second:g} a second are not taken from one client; "
                f"try again in {bucket.seconds_to_next} s",
                policy=self.rate.policy,
                limit=limit,
                retry_seconds=bucket.seconds_to_next,
            )
        return limit

    def _bucket_of(self, client: str, now: float) -> TokenBucket:
        bucket = self._buckets.pop(client, None) or TokenBucket(self.rate, now)
        self._buckets[client] = bucket
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return bucket


def rate_limiter(settings: Settings) -> RateLimiter | None:
    """The limiter of submissions that is set, if one is."""
    return _limiter(settings.rate_limit, settings.rate_burst, POST_POLICY)


def read_rate_limiter(settings: Settings) -> RateLimiter | None:
    """The limiter of reads that is set, if one is."""
    return _limiter(settings.read_rate_limit, settings.read_rate_burst, READ_POLICY)


def _limiter(per_second: float | None, burst: int | None, name: str) -> RateLimiter | None:
    if per_second is None:
        return None
    return RateLimiter(Rate(per_second, burst or math.ceil(per_second), name))


def client_name(key_name: str | None, address: str | None) -> str:
    """Whose bucket it is: that of a key's name, or else of an address.

    Args:
        key_name: ``None`` where there are no keys.
        address: ``None`` for a socket in the file system, whose clients share one.
    """
    if key_name is not None:
        return f"key {key_name}"
    parsed = address_of(address or "")
    if parsed is None:
        return f"address {address}"
    if parsed.version == 4:  # noqa: PLR2004 - of IP
        return f"address {parsed}"
    return f"network {ipaddress.ip_network((int(parsed), _CLIENT_PREFIX), strict=False)}"
