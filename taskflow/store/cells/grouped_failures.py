"""Failures of the tasks of all cells."""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from taskflow.model.grouped_failures import (
    MAX_FAILURES,
    OPEN_FAILURES,
    Failure,
    FailureFilter,
    FailureState,
    matches_failure,
    merged_failures,
)
from taskflow.store.base.grouped_failures import FailureStore
from taskflow.store.cells.cell import Cells


class CellFailures(FailureStore):
    """Adds up the failures of all cells: the same cause has the same id in each.

    The numbers of an open failure are of the cells where it is open.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def first(self, limit: int, filter: FailureFilter = OPEN_FAILURES) -> list[Failure]:
        wanted, count = filter, limit
        if filter.state is FailureState.RESOLVED:  # in all cells, not in one of them
            wanted = msgspec.structs.replace(filter, state=FailureState.ALL)
            count = MAX_FAILURES
        found = await self._cells.read(lambda store: store.failures.first(count, wanted))
        merged = merged_failures(failure for one in found for failure in one.result)
        return [one for one in merged if matches_failure(one, filter)][:limit]

    async def get(self, failure_id: uuid.UUID) -> Failure | None:
        found = await self._cells.read(lambda store: store.failures.get(failure_id))
        merged = merged_failures(one.result for one in found if one.result is not None)
        return merged[0] if merged else None

    async def check_tasks(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.failures.check_tasks(limit=limit))

    async def delete_resolved(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.failures.delete_resolved(limit=limit))
