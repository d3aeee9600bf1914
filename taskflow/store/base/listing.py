"""Reading of tasks and their counts, of nodes, hosts and throughput: the store interface."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from taskflow.model.filter import NO_FILTER, PageOrder, TaskFilter
from taskflow.model.monitoring import LISTED_TASKS, HostDetail, HostRecord, Minute, NodeRecord
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import TaskStatistics
from taskflow.model.task import AttemptRecord, Task
from taskflow.model.task_states import MAX_COUNTED, StateCounts

# Attempts of a task whose responses are read: together these are at most 10 MiB.
MAX_RESPONSES: Final = 100
# Size of the documents of a page. A page has at least one task, if there is one.
PAGE_BUDGET_BYTES: Final = 16 * 2**20
# Approximate number of tasks that are scanned for a page: a filter that matches hardly any task
# would take minutes otherwise.
MAX_SCANNED: Final = 50_000
# Fields of a task that can be large and that a page can leave out.
LARGE_FIELDS: Final = frozenset(("payload", "result"))
# Running tasks that are counted by host; nodes hold fewer than that.
MAX_RUNNING_SCANNED: Final = 10_000


class Page(msgspec.Struct, frozen=True):
    """Some tasks in the order of the page, and the id that the next page continues from.

    ``next_before`` is ``None`` at the end. A page ends when ``MAX_SCANNED`` tasks were scanned, so
    it may have fewer tasks than requested, even none, and still have a next page.
    """

    tasks: list[Task]
    next_before: uuid.UUID | None


class ParentResult(msgspec.Struct, frozen=True):
    """The result of a parent of a task.

    Attributes:
        task_id: The parent.
        result: Its result, as it is stored; ``None`` if it has none, or if it is too large.
        is_too_large: Whether it is too large.
    """

    task_id: uuid.UUID
    result: bytes | None
    is_too_large: bool = False


class ListingStore(abc.ABC):
    """Reads tasks; a part of ``TaskStore``.

    Tasks are returned with their credentials masked (``model/masking.py``).
    """

    @abc.abstractmethod
    async def get(self, task_id: uuid.UUID) -> Task | None:
        """Return the task, or ``None`` if there is none with this id."""

    @abc.abstractmethod
    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        """Return the task with its credentials, to make another task of it.

        This result must never be shown.
        """

    @abc.abstractmethod
    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        """Return the tasks with these ids that exist, in any order."""

    @abc.abstractmethod
    async def queues_of(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        """Return the queue of each of these tasks that exists."""

    @abc.abstractmethod
    async def status_codes(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, int]:
        """Return the HTTP status of the last response of each finished task that got one."""

    @abc.abstractmethod
    async def parent_result(
        self, task_id: uuid.UUID, parent: str, *, max_bytes: int
    ) -> ParentResult | None:
        """Return the result of a parent of a task; ``None`` if there is no such parent any more.

        Args:
            task_id: The task.
            parent: The name or the id of the parent, as the task gives it.
            max_bytes: Maximum size of the result, as JSON.
        """

    @abc.abstractmethod
    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        """Return the attempts at a task in order; ``None`` if there is no such task.

        A running attempt is included, as are attempts that did not count (interrupted by a
        shutdown, or lost with their node). The last ``MAX_RESPONSES`` have their responses.
        """

    @abc.abstractmethod
    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
        order: PageOrder = PageOrder.NEWEST,
    ) -> Page:
        """Return a page of tasks, at a cost that does not depend on their number.

        Args:
            limit: Maximum number of tasks. A page is shorter if its documents are large, or if
                few of the scanned tasks match.
            before: Only tasks older than this id (which need not exist any more); with the oldest
                task first, only newer ones.
            filter: Only tasks that match.
            without: Large fields to leave out: their content is undefined, and they do not count
                as size of the page.
            order: The order of the tasks.
        """

    @abc.abstractmethod
    async def count_pending(self, *, limit: int) -> int:
        """Count the PENDING tasks, due or not, up to ``limit``."""

    @abc.abstractmethod
    async def count(
        self,
        *,
        limit: int,
        queue: str | None = None,
        is_after_write: bool = False,
        scope: QueueScope | None = None,
    ) -> TaskStatistics:
        """Return statistics by queue, at a cost that does not depend on the number of tasks.

        Args:
            limit: Maximum number of queues.
            queue: Only list this queue, even if it is empty. The total covers all queues.
            is_after_write: True if it is part of the response to a write: it does not wait for
                searches.
            scope: Only these queues, also in the total.
        """

    @abc.abstractmethod
    async def fold_counts(self, *, limit: int) -> int:
        """Add some recorded changes to the stored counts, and return the number of changes.

        The result of ``count`` does not depend on it, but its duration does.
        """


class MonitoringStore(abc.ABC):
    """What operators read, at a cost that does not depend on the number of tasks."""

    @abc.abstractmethod
    async def states(
        self,
        *,
        limit: int = MAX_COUNTED,
        queue: str | None = None,
        is_after_write: bool = False,
        scope: QueueScope | None = None,
    ) -> StateCounts:
        """Count the tasks in each state.

        Args:
            limit: Maximum number of tasks of a state that are counted: if there are more, the
                count is a lower bound.
            queue: Only this queue.
            is_after_write: True if it is part of the response to a write: it does not wait for
                searches.
            scope: Only these queues.
        """

    @abc.abstractmethod
    async def nodes(self, limit: int, *, tasks: int = LISTED_TASKS) -> list[NodeRecord]:
        """Return the first nodes by name, including nodes that died within the last minute.

        Args:
            limit: Maximum number of nodes.
            tasks: Maximum number of running tasks that are listed for each.
        """

    @abc.abstractmethod
    async def hosts(self, limit: int) -> list[HostRecord]:
        """Return the first hosts: those with an open circuit, then the slowest."""

    @abc.abstractmethod
    async def host(self, host: str) -> HostDetail:
        """Return what is known about a host, with its port unless it is the default."""

    @abc.abstractmethod
    async def history(
        self, queue: str | None = None, scope: QueueScope | None = None
    ) -> list[Minute]:
        """Return the tasks finished in each minute of the last hour.

        Args:
            queue: Only this queue.
            scope: Only these queues.
        """
