"""Rate limits of clients for submissions and for reads: token buckets.

The headers follow draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Final

import msgspec

from taskflow.api.access.request_head import address_of
from taskflow.model.errors import RateLimited
from taskflow.settings import Settings

POST_POLICY: Final = "post"
READ_POLICY: Final = "read"
# The least recently used bucket is dropped first: it is the most likely to be full again.
MAX_BUCKETS: Final = 10_000
# A client of IPv6 has at least a network with a prefix of this length.
_CLIENT_PREFIX: Final = 64
# A token counts as whole if only a rounding error is missing.
_ROUNDING: Final = 1e-6


class Rate(msgspec.Struct, frozen=True):
    """The rate and the burst of a limit, and the name of its policy."""

    per_second: float
    burst: int
    name: str = POST_POLICY

    @property
    def policy(self) -> str:
        """The value of ``RateLimit-Policy``: the burst, and the time that an empty bucket needs."""
        window_seconds = max(1, math.ceil(self.burst / self.per_second))
        return f'"{self.name}";q={self.burst};w={window_seconds}'


class TokenBucket:
    """The tokens of one client. It has no clock: each call passes the time.

    Args:
        rate: The rate at which it fills.
        now: The time in seconds, at which it is full.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate: Final = rate
        self._tokens = float(rate.burst)
        self._filled_at = now

    def __repr__(self) -> str:
        return f"TokenBucket({self._tokens:.1f} of {self._rate.burst})"

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one."""
        self._fill(now)
        if self.remaining == 0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def remaining(self) -> int:
        """The number of whole tokens after the last call of ``take``."""
        return max(0, math.floor(self._tokens + _ROUNDING))

    @property
    def seconds_to_next(self) -> int:
        """The whole seconds from then until there is one more."""
        missing = self.remaining + 1 - self._tokens
        return max(1, math.ceil((missing - _ROUNDING) / self._rate.per_second))

    def _fill(self, now: float) -> None:
        filled = self._tokens + max(0.0, now - self._filled_at) * self._rate.per_second
        self._tokens = min(float(self._rate.burst), filled)
        self._filled_at = now


class RateLimiter:
    """The buckets of all clients."""

    def __init__(self, rate: Rate, *, max_buckets: int = MAX_BUCKETS) -> None:
        self.rate: Final = rate
        self._max_buckets: Final = max_buckets
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str, now: float) -> str:
        """Take a token of a client, and return the value of ``RateLimit``.

        Raises:
            RateLimited: There is none.
        """
        bucket = self._bucket_of(client, now)
        is_taken = bucket.take(now)
        limit = f'"{self.rate.name}";r={bucket.remaining};t={bucket.seconds_to_next}'
        if not is_taken:
            raise RateLimited(
                f"rate limit exceeded: {self.rate.per_second:g} per second per client; "
                f"try again in {bucket.seconds_to_next} s",
                policy=self.rate.policy,
                limit=limit,
                retry_seconds=bucket.seconds_to_next,
            )
        return limit

    def _bucket_of(self, client: str, now: float) -> TokenBucket:
        bucket = self._buckets.pop(client, None) or TokenBucket(self.rate, now)
        self._buckets[client] = bucket
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return bucket


def rate_limiter(settings: Settings) -> RateLimiter | None:
    """Return the rate limiter for ``POST`` requests, if one is set."""
    return _limiter(settings.rate_limit, settings.rate_burst, POST_POLICY)


def read_rate_limiter(settings: Settings) -> RateLimiter | None:
    """Return the rate limiter for reads, if one is set."""
    return _limiter(settings.read_rate_limit, settings.read_rate_burst, READ_POLICY)


def _limiter(per_second: float | None, burst: int | None, name: str) -> RateLimiter | None:
    if per_second is None:
        return None
    return RateLimiter(Rate(per_second, burst or math.ceil(per_second), name))


def client_name(key_name: str | None, address: str | None) -> str:
    """Return the name of the bucket of a client.

    Args:
        key_name: The name of its key; ``None`` if the service has no keys.
        address: Its address; ``None`` for a Unix socket, whose clients share a bucket.
    """
    if key_name is not None:
        return f"key {key_name}"
    network = network_of(address)
    return f"{'network' if '/' in (network or '') else 'address'} {network}"


def network_of(address: str | None) -> str | None:
    """Return the address of a client, or its network if it is an IPv6 address."""
    parsed = address_of(address or "")
    if parsed is None:
        return address
    if parsed.version == 4:  # noqa: PLR2004 - of IP
        return str(parsed)
    return str(ipaddress.ip_network((int(parsed), _CLIENT_PREFIX), strict=False))
