"""Periodic jobs (expiry, retention, count folding): the store interface."""

from __future__ import annotations

import abc
from typing import Final

EXPIRED: Final = "expired: it was still waiting at its expires_at"


class HousekeepingStore(abc.ABC):
    """Expires and deletes tasks; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def expire(self, *, limit: int) -> int:
        """Fail up to ``limit`` PENDING tasks that have expired, and return their number."""

    @abc.abstractmethod
    async def seconds_to_expiry(self) -> float | None:
        """Return the time until the next PENDING task expires; ``None`` if none will."""

    @abc.abstractmethod
    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        """Delete tasks that were kept long enough, with their attempts; return their number.

        Args:
            age_seconds: Minimum time since the end of tasks without a ``retention`` of their own;
                ``None`` keeps these for ever.
            limit: Maximum number of each kind. Fewer are deleted if they are large.
        """

    @abc.abstractmethod
    async def delete_expired_keys(self, *, limit: int) -> int:
        """Delete up to ``limit`` idempotency keys that have expired; return their number."""

    @abc.abstractmethod
    async def fold_counts(self, *, limit: int) -> int:
        """Add some recorded changes to the stored counts, and return the number of changes.

        The result of ``count`` does not depend on it, but its duration does.
        """
