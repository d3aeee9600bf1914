"""Promotion of the children of finished tasks in PostgreSQL (migration 0028)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taskflow.store.postgres.archive import FINAL, restore
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.promoter import Batch, Promoter
from taskflow.store.postgres.rows import Row

MAX_CHILDREN_AT_ONCE: Final = 1000
"""Maximum number of children of finished tasks that one transaction changes."""

# Size of the children that one transaction copies into their callbacks, because they end.
COPIED_BUDGET_BYTES: Final = 8 * 2**20
_NO_STEPS: Final = Batch(None, [], has_more=False)


class GraphPromoter(Promoter):
    """Starts, cancels or fails the tasks whose parents have finished."""

    first_steps = "first_graph_steps"
    give_up_step = "give_up_graph_step"

    async def _take(self, since: int, limit: int) -> Batch:
        def work(connection: Connection) -> Batch:
            with connection.transaction():
                return self._promote(connection, since, limit)

        return await self._statements.database.run(work)

    def _promote(self, connection: Connection, since: int, limit: int) -> Batch:
        execute = self._statements.on(connection)
        steps = execute("take_graph_steps", {"since": since, "limit": limit})
        if not steps:
            return _NO_STEPS
        ended = {parent: status for _, parent, status, _ in sorted(steps) if parent is not None}
        joined = {child for *_, child in steps if child is not None}
        postponed, due = set(), []
        if joined:
            rows = execute("archived_parents", {"children": list(joined)})
            restore(execute, [parent for (parent,) in rows], FINAL)
            rows = execute("link_parents", {"children": list(joined)} | self._notified())
            postponed = {child for child, *_ in rows if child is not None}
            due = [row[1:] for row in rows if row[1] is not None]
        parameters = {
            "parents": list(ended),
            "statuses": list(ended.values()),
            "children": list(joined - postponed),
            "postponed": list(postponed),
            "limit": MAX_CHILDREN_AT_ONCE,
            "budget_bytes": COPIED_BUDGET_BYTES,
        }
        rows = execute("promote_children", parameters | self._notified())
        batch = _batch_of(steps, rows, limit, is_delayed=bool(postponed))
        return batch._replace(passed_over=due)


def _batch_of(steps: Sequence[Row], rows: Sequence[Row], limit: int, *, is_delayed: bool) -> Batch:
    is_cut, has_skipped, *_ = rows[0]
    moved = [row[2:] for row in rows if row[2] is not None]
    has_ended_parents = any(
        outcome in FINAL and has_children for *_, outcome, has_children in moved
    )
    return Batch(
        max(step for step, *_ in steps),
        [row[:3] for row in moved if row[3] == "started"],
        has_more=is_cut or has_ended_parents or len(steps) == limit,
        is_delayed=is_delayed or has_skipped,
    )
