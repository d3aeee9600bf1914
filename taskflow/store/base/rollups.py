"""Roll-ups of finished tasks and of the backlog: the store interface."""

from __future__ import annotations

import abc

from taskflow.model.queue_scope import QueueScope
from taskflow.model.rollups import RecordedSeries, Span


class RollupStore(abc.ABC):
    """Keeps roll-ups by minute and by hour, at a cost that does not depend on the number of tasks.

    ``fold_counts`` adds finished tasks to the roll-ups, some seconds after they finished. A period
    has roll-ups of all tasks, of ``MAX_QUEUES`` queues and of ``MAX_HOSTS`` hosts: those whose
    tasks finished first in it, and among the tasks of one call the busiest ones.
    """

    @abc.abstractmethod
    async def read(
        self,
        span: Span,
        *,
        queue: str | None = None,
        host: str | None = None,
        scope: QueueScope | None = None,
    ) -> RecordedSeries:
        """Return the roll-ups of a span, added up to the points of its series.

        Args:
            span: The span, up to now.
            queue: Only tasks of this queue.
            host: Only tasks for this host, with its port unless it is the default. Not with a
                queue or a scope: the store has no roll-ups by both.
            scope: Only tasks of these queues; of those with roll-ups of their own.
        """

    @abc.abstractmethod
    async def sample_backlog(self) -> bool:
        """Record how many tasks are due, once a minute for all nodes; return whether it did."""

    @abc.abstractmethod
    async def delete_old(self, *, limit: int) -> int:
        """Delete some roll-ups that are older than ``KEPT_SECONDS``, and return their number."""
