"""Groups in cells: each is in the cell of its queue, with its members."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.cell_map import refuse_two_cells
from taskflow.model.graphs import parent_ids
from taskflow.model.groups import ALL_GROUPS, Group, GroupFilter, NewGroup
from taskflow.model.task import IdempotencyKey, NewTask
from taskflow.store.base.groups import AddedGroup, GroupPage, GroupStore
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.listing import merged_page
from taskflow.store.cells.submission import check_foreign


class CellGroups(GroupStore):
    """Stores groups, each in one cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        self._cells.check_map(new.queue)
        cell = self._cells.home_of(new.queue)
        completion = () if new.completion is None else (new.completion,)
        await check_foreign(self._cells, cell, [*tasks, *completion])
        await self._check_parents(cell, tasks)
        return await cell.run(lambda store: store.groups.add(new, tasks, key=key))

    async def _check_parents(self, cell: Cell, tasks: Sequence[NewTask]) -> None:
        """Check that the parents that are given by their ids are in the cell, if they exist.

        Raises:
            Unprocessable: One is in another cell.
        """
        parents = parent_ids(tasks)
        if not parents:
            return
        here = await cell.run(lambda store: store.queues_of(parents))
        elsewhere = [one for one in parents if one not in here]
        for other in self._cells:
            if elsewhere and other is not cell:
                found = await other.run(lambda store: store.queues_of(elsewhere))
                if found:
                    raise refuse_two_cells(
                        f"the task {next(iter(found))} is in cell {other.name}, and the group in "
                        f"{cell.name}"
                    )

    async def get(self, group_id: uuid.UUID) -> Group | None:
        return await self._cells.find(group_id, lambda store: store.groups.get(group_id))

    async def queues_of(self, group_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        parts = await self._cells.by_ids(
            group_ids, lambda store, ids: store.groups.queues_of(ids), lambda queues: queues.keys()
        )
        return {group_id: queue for part in parts for group_id, queue in part.items()}

    async def page(
        self, *, limit: int, before: uuid.UUID | None = None, filter: GroupFilter = ALL_GROUPS
    ) -> GroupPage:
        found = await self._cells.read(
            lambda store: store.groups.page(limit=limit, before=before, filter=filter)
        )
        groups, next_before = merged_page(
            [(one.result.groups, one.result.next_before) for one in found], limit
        )
        return GroupPage(groups, next_before)

    async def close(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return await self._cells.find(group_id, lambda store: store.groups.close(group_id, by=by))

    async def cancel(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return await self._cells.find(group_id, lambda store: store.groups.cancel(group_id, by=by))

    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return await self._cells.find(group_id, lambda store: store.groups.retry(group_id, by=by))

    async def cancel_rest(self) -> int:
        return await self._cells.total(lambda store: store.groups.cancel_rest())

    async def fold_counts(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.groups.fold_counts(limit=limit))

    async def delete_finished(self, *, age_seconds: float, limit: int) -> int:
        return await self._cells.total(
            lambda store: store.groups.delete_finished(age_seconds=age_seconds, limit=limit)
        )
