"""What a process knows of changes in the store: how long a copy in memory may be used."""

from __future__ import annotations

from typing import NamedTuple

import trio


class Reading(NamedTuple):
    """The moment of a query.

    Attributes:
        changes: The number of changes that were known then.
        at: The time, on Trio's clock.
    """

    changes: int
    at: float


class Changes:
    """Counts the changes that this process knows of; a base of parts of ``TaskStore``.

    A copy is fresh until the next known change, and for a limited time in any case: notifications
    of changes by other processes can be lost.
    """

    def __init__(self) -> None:
        self._changes = 0

    def note_change(self) -> None:
        """Record that something was changed or deleted, here or by another process."""
        self._changes += 1

    def reading(self) -> Reading:
        """Return this moment; must be called before the query, so that no change is missed."""
        return Reading(self._changes, trio.current_time())

    def is_fresh(self, reading: Reading | None, *, max_age_seconds: float) -> bool:
        """Return whether what was read then may still be used; ``None`` is never."""
        return (
            reading is not None
            and reading.changes == self._changes
            and trio.current_time() - reading.at < max_age_seconds
        )
