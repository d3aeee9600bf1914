"""Actions on tasks (cancel, retry, delete), by clients or by time: the store interface."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Collection
from typing import Final

from taskflow.model.audit import Actor, NewEntry
from taskflow.model.task import Task

# Tasks that one call of ``cancel_many``, ``retry_many`` or ``delete_many`` may name.
MAX_PER_ACTION: Final = 1000
EXPIRED: Final = "expired: it was still waiting at its expires_at"


class TaskActionStore(abc.ABC):
    """Cancels, retries, expires and deletes tasks; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing. Actions on many tasks take the
    entry itself; several calls with the same batch share one entry.
    """

    @abc.abstractmethod
    async def cancel(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        """Cancel a PENDING or RUNNING task; ``None`` if there is no such task.

        So is a FAILED task that holds its order key, which frees the key. The node that runs it, in
        any process, is notified (see ``wait_for_cancellations``).

        Raises:
            IllegalMove: The task is finished.
        """

    @abc.abstractmethod
    async def retry(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        """Run a FAILED or CANCELED task again from the start; ``None`` if there is no such task.

        Raises:
            IllegalMove: The task has another status.
            NotUnique: Another task has its unique key.
            KeyIsBusy: That is not known, because a transaction is still open.
        """

    @abc.abstractmethod
    async def skip(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        """Let a FAILED task no longer hold its order key; ``None`` if there is no such task.

        Its ``on_failure`` is ``continue`` from then on, and the next task of the key starts.

        Raises:
            IllegalMove: The task does not hold its order key.
        """

    @abc.abstractmethod
    async def delete(self, task_id: uuid.UUID, *, by: Actor | None = None) -> bool:
        """Delete a finished task with its attempts; false if there is no such task.

        Raises:
            IllegalMove: The task is not finished.
        """

    @abc.abstractmethod
    async def cancel_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        """Cancel up to ``MAX_PER_ACTION`` tasks; return the ones that were not finished."""

    @abc.abstractmethod
    async def retry_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        """Retry up to ``MAX_PER_ACTION`` tasks; return the ones that were FAILED or CANCELED.

        A task whose unique key another one has is skipped.
        """

    @abc.abstractmethod
    async def delete_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        """Delete up to ``MAX_PER_ACTION`` tasks; return the ones that were finished."""

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
