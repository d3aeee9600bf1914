"""Settings of queues, and circuit breakers of hosts, in cells.

The settings of a queue are decided in the cell of the queue, and copied to all cells: tasks of the
queue may be there, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.errors import FieldError, Unprocessable
from taskflow.model.queue_limits import HostHold, QueueChange, QueueSettings
from taskflow.model.queue_scope import QueueScope
from taskflow.store.base.queues import Changed, QueueStore
from taskflow.store.cells.cell import Cells


class CellQueues(QueueStore):
    """Stores settings of queues in all cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def change(self, name: str, change: QueueChange, *, by: Actor | None = None) -> Changed:
        def checked(before: QueueSettings) -> QueueSettings:
            after = change(before)
            if after.has_limits and self._cells.map.is_spread(name):
                raise _refuse_limits(name)
            return after

        self._cells.check_map(name)
        home = self._cells.home_of(name)
        changed = await home.run(lambda store: store.queues.change(name, checked, by=by))
        await self.copy(name)
        return changed

    async def copy(self, name: str) -> None:
        """Copy the settings of a queue to all cells.

        They may be changed again meanwhile, and copied by the other process before this one does:
        so it ends when what was copied is what is there.
        """
        copied, settings = None, await self.get(name)
        while settings is not None and settings != copied:
            await self._put_elsewhere(name, settings)
            copied, settings = settings, await self.get(name)

    async def _put_elsewhere(self, name: str, settings: QueueSettings) -> None:
        home = self._cells.home_of(name)
        for cell in self._cells:
            if cell is not home:
                await cell.run(lambda store: store.queues.put(name, settings))

    async def get(self, name: str) -> QueueSettings | None:
        return await self._cells.home_of(name).run(lambda store: store.queues.get(name))

    async def first(
        self, limit: int, scope: QueueScope | None = None
    ) -> Mapping[str, QueueSettings]:
        found = await self._cells.read(lambda store: store.queues.first(limit, scope))
        merged: dict[str, QueueSettings] = {}
        for one in found:
            for name, settings in one.result.items():
                if self._cells.map.home_of(name) == one.cell.number or name not in merged:
                    merged[name] = settings
        return dict(sorted(merged.items())[:limit])

    async def open_circuit(
        self, host: str, *, reason: str, retry_after_seconds: float | None
    ) -> None:
        await self._cells.each(
            lambda store: store.queues.open_circuit(
                host, reason=reason, retry_after_seconds=retry_after_seconds
            )
        )

    async def close_circuit(self, host: str) -> None:
        await self._cells.each(lambda store: store.queues.close_circuit(host))

    async def open_circuits(self, limit: int) -> Mapping[str, HostHold]:
        found = await self._cells.read(lambda store: store.queues.open_circuits(limit))
        merged = {host: hold for one in found for host, hold in one.result.items()}
        return dict(sorted(merged.items())[:limit])

    async def delete_stale(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.queues.delete_stale(limit=limit))


def _refuse_limits(name: str) -> Unprocessable:
    detail = (
        f"the tasks of the queue {name} are spread over cells, so it has no limits: see "
        "`taskflow cells gather`"
    )
    return Unprocessable(detail, errors=[FieldError("#", detail)])
