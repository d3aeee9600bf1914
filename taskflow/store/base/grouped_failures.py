"""Failures, which group FAILED tasks by their cause: the store interface."""

from __future__ import annotations

import abc
import uuid

from taskflow.model.grouped_failures import OPEN_FAILURES, Failure, FailureFilter


class FailureStore(abc.ABC):
    """Keeps failures, at a cost that does not depend on the number of tasks.

    ``fold_counts`` adds tasks to the failures, and removes tasks that are not FAILED any more. The
    verbs here do that first, as far as one call of it does; if another node is doing so at this
    moment, they return what was there before.
    """

    @abc.abstractmethod
    async def first(self, limit: int, filter: FailureFilter = OPEN_FAILURES) -> list[Failure]:
        """Return the failures that match, the last occurrence first."""

    @abc.abstractmethod
    async def get(self, failure_id: uuid.UUID) -> Failure | None:
        """Return a failure, resolved or not; ``None`` if there is none with this id."""

    @abc.abstractmethod
    async def check_tasks(self, *, limit: int) -> int:
        """Remove tasks that are not FAILED any more from their failures; return their number.

        Each call checks the next ``limit`` tasks. That is only needed where changes were lost:
        nodes of earlier versions fold changes without failures, and whole partitions of the
        archive are deleted.
        """

    @abc.abstractmethod
    async def delete_resolved(self, *, limit: int) -> int:
        """Delete failures that have been resolved for long, and return their number."""
