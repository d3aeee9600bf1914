"""The archive of tasks that have been finished for long: the store interface."""

from __future__ import annotations

import abc
from typing import NamedTuple


class ArchiveStep(NamedTuple):
    """What a call of ``archive`` did.

    Attributes:
        moved: Number of tasks that were moved.
        has_more: True if the next call has more to do; otherwise all tasks have been checked.
        obstacle: Why no tasks can be moved; empty if they can.
    """

    moved: int
    has_more: bool
    obstacle: str = ""


class ArchiveStore(abc.ABC):
    """Moves finished tasks to the archive; a part of ``TaskStore``.

    All other verbs treat archived tasks like other finished tasks.
    """

    @abc.abstractmethod
    async def archive(self, *, age_seconds: float, limit: int) -> ArchiveStep:
        """Move tasks to the archive; several calls check all tasks, and begin again.

        Args:
            age_seconds: Minimum time since their end.
            limit: Maximum number. Fewer are moved if they are large.
        """
