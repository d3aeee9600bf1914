"""The store of stores: the verbs of ``TaskStore`` over several cells."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.errors import CellUnavailable
from taskflow.store.base.configuration import ConfigurationWork, Result
from taskflow.store.base.store import StoreStatistics, TaskStore
from taskflow.store.cells.alerts import CellAlerts
from taskflow.store.cells.archive import CellArchive
from taskflow.store.cells.audit import CellAudit
from taskflow.store.cells.cell import Call, Cells
from taskflow.store.cells.claims import CellClaims
from taskflow.store.cells.configuration import CellConfiguration
from taskflow.store.cells.credentials import CellCredentials
from taskflow.store.cells.events import CellEvents
from taskflow.store.cells.grouped_failures import CellFailures
from taskflow.store.cells.groups import CellGroups
from taskflow.store.cells.heartbeat_monitors import CellHeartbeatMonitors
from taskflow.store.cells.leases import CellLeases
from taskflow.store.cells.listing import CellListing, CellMonitoring
from taskflow.store.cells.node_ids import NodeIds
from taskflow.store.cells.parking import CellParking
from taskflow.store.cells.queues import CellQueues
from taskflow.store.cells.rollups import CellRollups
from taskflow.store.cells.schedules import CellSchedules
from taskflow.store.cells.signing_keys import CellSigningKeys
from taskflow.store.cells.submission import CellSubmission
from taskflow.store.cells.task_actions import CellTaskActions
from taskflow.store.cells.topics import CellTopics
from taskflow.store.cells.views import CellViews


class CellStore(
    CellSubmission,
    CellListing,
    CellClaims,
    CellLeases,
    CellTaskActions,
    CellEvents,
    CellArchive,
    TaskStore,
):
    """Tasks in several stores, as one store.

    Attributes:
        cells: The cells.
        node_ids: The ids of nodes that are registered in all cells.
    """

    def __init__(self, cells: Cells) -> None:
        self.node_ids = nodes = NodeIds()
        CellSubmission.__init__(self, cells)
        CellListing.__init__(self, cells)
        CellClaims.__init__(self, cells, nodes)
        CellLeases.__init__(self, cells, nodes)
        CellTaskActions.__init__(self, cells)
        CellEvents.__init__(self, cells)
        CellArchive.__init__(self, cells)
        self.cells: Final = cells
        self.queues = CellQueues(cells)
        self.schedules = CellSchedules(cells)
        self.credentials = CellCredentials(cells)
        self.signing_keys = CellSigningKeys(cells)
        self.heartbeat_monitors = CellHeartbeatMonitors(cells)
        self._configuration = CellConfiguration(cells)
        self.groups = CellGroups(cells)
        self.topics = CellTopics(cells)
        self.parking = CellParking(cells)
        self.monitoring = CellMonitoring(cells)
        self.rollups = CellRollups(cells)
        self.failures = CellFailures(cells)
        self.views = CellViews(cells)
        self.audit = CellAudit(cells)
        self.alerts = CellAlerts(cells)

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        return await self._configuration.configure(work)

    async def shared_secret(self, name: str) -> bytes:
        return hmac.digest(self.cells.map.secret, name.encode(), hashlib.sha256)

    async def end_session(
        self, session_id: str, *, seconds: float, by: Actor | None = None
    ) -> None:
        """End a session in all cells that answer; the first of them has the entry of the audit log.

        Raises:
            CellUnavailable: None answers.
        """

        def ending(entry: Actor | None) -> Call[None]:
            return lambda store: store.end_session(session_id, seconds=seconds, by=entry)

        errors: list[CellUnavailable] = []
        cells = list(self.cells)
        for cell in cells:
            is_first = len(errors) == cells.index(cell)
            try:
                await cell.run(ending(by if is_first else None))
            except CellUnavailable as error:
                errors.append(error)
        if len(errors) == len(cells):
            raise errors[0]

    async def is_session_ended(self, session_id: str) -> bool:
        """Return whether a cell that answers knows that the session was ended."""
        found = await self.cells.read(lambda store: store.is_session_ended(session_id))
        return any(one.result for one in found)

    async def promote(self) -> int:
        return sum(one.result for one in await self.cells.each(lambda store: store.promote()))

    async def check(self) -> None:
        await self.cells.read(lambda store: store.check())
        # the cells need not have one state

    async def parts_without_nodes(self) -> Sequence[str]:
        found = await self.cells.read(lambda store: store.has_nodes())
        return sorted(one.cell.name for one in found if not one.result)

    def statistics(self) -> StoreStatistics:
        parts = [cell.store.statistics() for cell in self.cells if cell.store]
        listening = [one.is_listening for one in parts if one.is_listening is not None]
        return StoreStatistics(
            kind=parts[0].kind if parts else "",
            place=", ".join(one.place for one in parts),
            version=", ".join(dict.fromkeys(one.version for one in parts)),
            pools=tuple(pool for one in parts for pool in one.pools),
            is_listening=all(listening) if listening else None,
            parts=tuple(cell.name for cell in self.cells),
        )
