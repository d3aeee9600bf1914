"""Tasks that are claimed in the moment in which they are stored.

A node that has idle workers and found nothing to claim would claim a new task a moment later:
another statement, another commit, two more versions of the row, and two more milliseconds before
the task runs. So while it waits for work, ``add`` stores new tasks as claimed by it, as many as it
has room for. Whatever else waits goes first, for a node that has something to claim does not wait.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from taskflow.model.task import NewTask
from taskflow.store.base.tasks import IdleNode, Reservation

_NOBODY: Final = Reservation(uuid.UUID(int=0), uuid.UUID(int=0), 0, lambda _: None)


class DirectClaims:
    """Who takes new tasks at this moment, if anybody does. Belongs to the Trio thread."""

    def __init__(self) -> None:
        self._taker: IdleNode | None = None

    @contextlib.contextmanager
    def to(self, taker: IdleNode | None) -> Iterator[None]:
        """Hand new tasks over to this taker within the block."""
        self._taker = taker
        try:
            yield
        finally:
            self._taker = None

    @contextlib.contextmanager
    def reserved(self, tasks: Sequence[NewTask]) -> Iterator[tuple[Reservation, list[int]]]:
        """Have room for new tasks within the block: the room, and which of them are to have it.

        They are given by their places among the tasks, in the order in which they are to run.
        """
        due = [place for place, task in enumerate(tasks) if _is_due(task)]
        if self._taker is None or not due:
            yield _NOBODY, []
            return
        with self._taker.reserve(len(due)) as reservation:
            due.sort(key=lambda place: -tasks[place].priority)
            yield reservation, due[: reservation.count]


def _is_due(task: NewTask) -> bool:
    """Whether it may run at once. Where a point in time says so, the store's clock is to judge."""
    return task.delay_seconds <= 0 and task.run_at is None and task.expires_at is None
