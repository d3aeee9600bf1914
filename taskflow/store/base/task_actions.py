"""Actions of clients on tasks (cancel, retry, delete): the store interface."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Collection
from typing import Final

from taskflow.model.task import Task

# Tasks that one call of ``cancel_many``, ``retry_many`` or ``delete_many`` may name.
MAX_PER_ACTION: Final = 1000


class TaskActionStore(abc.ABC):
    """Cancels, retries and deletes tasks; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def cancel(self, task_id: uuid.UUID) -> Task | None:
        """Cancel a PENDING or RUNNING task; ``None`` if there is no such task.

        The node that runs it, in any process, is notified (see ``wait_for_cancellations``).

        Raises:
            IllegalMove: The task is finished.
        """

    @abc.abstractmethod
    async def retry(self, task_id: uuid.UUID) -> Task | None:
        """Run a FAILED or CANCELED task again from the start; ``None`` if there is no such task.

        Raises:
            IllegalMove: The task has another status.
        """

    @abc.abstractmethod
    async def delete(self, task_id: uuid.UUID) -> bool:
        """Delete a finished task with its attempts; false if there is no such task.

        Raises:
            IllegalMove: The task is not finished.
        """

    @abc.abstractmethod
    async def cancel_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Cancel up to ``MAX_PER_ACTION`` tasks; return the ones that were not finished."""

    @abc.abstractmethod
    async def retry_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Retry up to ``MAX_PER_ACTION`` tasks; return the ones that were FAILED or CANCELED."""

    @abc.abstractmethod
    async def delete_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Delete up to ``MAX_PER_ACTION`` tasks; return the ones that were finished."""
