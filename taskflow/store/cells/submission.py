"""Submission of tasks to cells: each request is stored in one cell."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence

import trio

from taskflow.model.cell_map import refuse_two_cells
from taskflow.model.graphs import parent_ids
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.store.base.submission import AddedOnce, NotStored, SubmissionStore
from taskflow.store.cells.cell import Cell, Cells, outcomes


class CellSubmission(SubmissionStore):
    """Stores each request in one cell, which is chosen by what is in it.

    - A task that joins a group, or has parents in other requests, goes to their cell.
    - Otherwise a task goes to the cell of its queue, and the first task of an array decides for the
      array: the first one with an order key, a unique key or a debounce key, if there is one.
    - Tasks of spread queues without such keys go to each active cell in turn, or to the cell of
      their idempotency key.

    A task of an array may be stored in another cell than its queue, unless it has one of
    these keys or its queue has limits: only the cell of the queue keeps their promises.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        if not tasks:
            await trio.lowlevel.checkpoint()
            return []
        cell = await self._cell_for(tasks)
        return await cell.run(lambda store: store.add(tasks))

    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        by_cell: dict[Cell, list[int]] = {}
        for index, task in enumerate(tasks):
            by_cell.setdefault(await self._cell_for([task]), []).append(index)
        added: dict[int, Task | NotStored] = {}

        async def add(cell: Cell, indexes: list[int]) -> None:
            chosen = [tasks[index] for index in indexes]
            stored = await cell.run(lambda store: store.add_each(chosen))
            added.update(zip(indexes, stored, strict=True))

        for cell, indexes in by_cell.items():
            await add(cell, indexes)
        return [added[index] for index in range(len(tasks))]

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        cell = await self._cell_for(tasks, key)
        for name in {*(task.queue for task in tasks), key.text}:
            for number in self._cells.map.former_of(name, time.time()):
                former = self._cells[number]
                known = await former.run(lambda store: store.find_added(key))
                if former is not cell and known is not None:
                    return known
        return await cell.run(lambda store: store.add_once(tasks, key))

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        found = await outcomes(self._cells, lambda store: store.find_added(key))
        for one in found.values():
            if isinstance(one, AddedOnce):
                return one
        for one in found.values():
            if isinstance(one, Exception):
                raise one
        return None

    async def delete_expired_keys(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.delete_expired_keys(limit=limit))

    async def _cell_for(self, tasks: Sequence[NewTask], key: IdempotencyKey | None = None) -> Cell:
        """Return the cell for the tasks of a request.

        Raises:
            Unprocessable: They belong to different cells.
            CellUnavailable: The cell of a group or a parent is unknown, because it is unavailable.
        """
        for task in tasks:
            self._cells.check_map(task.queue)
        groups = {task.group for task in tasks if task.group is not None}
        parents = parent_ids(tasks) if any(task.after for task in tasks) else []
        cell = await self._cell_with(groups, parents) if groups or parents else None
        if cell is None:
            cell = self._own_cell_for(tasks, key)
        await check_foreign(self._cells, cell, tasks)
        return cell

    def _own_cell_for(self, tasks: Sequence[NewTask], key: IdempotencyKey | None) -> Cell:
        """Return the cell of the queue that decides."""
        keyed = next((task for task in tasks if has_key(task)), None)
        if keyed is not None:
            return self._cells.home_of(keyed.queue)
        for task in tasks:
            if not self._cells.map.is_spread(task.queue):
                return self._cells.home_of(task.queue)
        if key is None:
            return self._cells.next_active()
        self._cells.check_map(key.text)
        return self._cells.of_name("key", key.text)

    async def _cell_with(
        self, groups: Collection[uuid.UUID], parents: Collection[uuid.UUID]
    ) -> Cell | None:
        """Return the cell that has these groups and tasks; ``None`` if no cell has any of them."""
        having = {
            *await self._cells.cells_with(groups, lambda store, ids: store.groups.queues_of(ids)),
            *await self._cells.cells_with(parents, lambda store, ids: store.queues_of(ids)),
        }
        if len(having) > 1:
            names = " and ".join(sorted(cell.name for cell in having))
            raise refuse_two_cells(f"the parents and groups of the request are in cells {names}")
        return next(iter(having), None)


def has_key(task: NewTask) -> bool:
    """Return whether a task has a key that only the cell of its queue can keep."""
    return task.order_key is not None or task.is_keyed


async def check_foreign(cells: Cells, cell: Cell, tasks: Sequence[NewTask]) -> None:
    """Check that tasks may be stored in a cell, of which some queues may be in others.

    Raises:
        Unprocessable: One may not.
    """
    queues = set()
    for task in tasks:
        home = cells.home_of(task.queue)
        if home is cell:
            continue
        if has_key(task):
            raise refuse_two_cells(
                f"the queue {task.queue} is in cell {home.name}, and the request in {cell.name}: "
                "a task with an order key, a unique key or a debounce key must be in the cell of "
                "its queue"
            )
        queues.add(task.queue)
    for queue in queues:
        await check_foreign_queue(cells, cell, queue)


async def check_foreign_queue(cells: Cells, cell: Cell, queue: str) -> None:
    """Check that tasks of a queue may be stored in a cell.

    Raises:
        Unprocessable: The queue is in another cell, and has limits.
    """
    home = cells.home_of(queue)
    if home is cell:
        return
    settings = await cell.run(lambda store: store.queues.get(queue))
    if settings is not None and settings.has_limits:
        raise refuse_two_cells(
            f"the queue {queue} has limits and is in cell {home.name}, not in {cell.name}"
        )
