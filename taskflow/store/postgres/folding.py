"""Folding of recorded changes into counts, roll-ups and failures."""

from __future__ import annotations

from typing import Final

from taskflow.model.masking import Masking
from taskflow.model.queues import KEPT_SECONDS
from taskflow.store.postgres.failure_rows import FailureUpdates
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rollup_rows import add_rollups, rollups_of
from taskflow.store.postgres.statements import Statements

MAX_TASKS: Final = 5_000
"""Number of tasks in folded changes from which on a transaction takes no more of them."""


class Folding:
    """Folds changes. Of all nodes, one does so at a time.

    Args:
        statements: The statements.
        masking: What is masked in errors.
    """

    def __init__(self, statements: Statements, masking: Masking) -> None:
        self._statements: Final = statements
        self.failures: Final = FailureUpdates(masking)

    async def fold(self, *, limit: int) -> int:
        """Fold up to ``limit`` changes, and return their number."""
        folded, has_more = 0, True
        while has_more and folded < limit:
            count, has_more = await self._step(limit - folded)
            folded += count
        return folded

    async def _step(self, limit: int) -> tuple[int, bool]:
        """Fold some changes in one transaction, unless another one is doing so.

        Returns the number of changes, and whether there are more because these have enough tasks.
        """

        def work(connection: Connection) -> tuple[int, bool]:
            execute = self._statements.on(connection)
            bounds = {"limit": limit, "max_tasks": MAX_TASKS, "kept_seconds": KEPT_SECONDS}
            with connection.transaction():
                if not execute("hold_rollups", {})[0][0]:
                    return 0, False
                [row] = execute("fold_changes", bounds)
                folded, has_more, queues, statuses, finished, measured, failed, left = row
                add_rollups(execute, rollups_of(finished, measured))
                self.failures.update(execute, failed, left)
            empty = {"queues": queues, "statuses": statuses, "kept_seconds": KEPT_SECONDS}
            execute("delete_empty_counts", empty)
            return int(folded), bool(has_more)

        return await self._statements.database.run(work)
