"""Nodes and their leases in PostgreSQL, and the rescue of tasks whose node died.

All of this uses the connection for heartbeats, which must get through while everything else is
busy.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping

import msgspec

from taskflow.model.errors import LeaseLost
from taskflow.store.base.leases import LeaseStore, Rescued
from taskflow.store.postgres.statements import StorePart


class PostgresLeases(StorePart, LeaseStore):
    """Registers nodes, and takes tasks from dead nodes."""

    async def register(  # noqa: PLR0913 - all that a node reports of itself
        self,
        name: str,
        lease_seconds: float,
        *,
        version: str = "",
        workers: int = 1,
        tz_version: str | None = None,
        encrypts_payloads: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> uuid.UUID:
        node_id = uuid.uuid4()
        await self._heartbeats.run(
            "register",
            id=node_id,
            name=name,
            lease_seconds=lease_seconds,
            version=version,
            workers=workers,
            tz_version=tz_version,
            encrypts_payloads=encrypts_payloads,
            settings=None if settings is None else msgspec.json.encode(settings).decode(),
        )
        self._announcements.nodes.add(node_id)
        self._context.cancellations.register(node_id)
        return node_id

    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        rows = await self._heartbeats.run("renew_if_alive", id=node_id)
        if not rows:
            raise LeaseLost
        [(renewed_at,)] = rows
        assert isinstance(renewed_at, dt.datetime)
        return renewed_at

    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        rows = await self._heartbeats.run(
            "release_if_unknown",
            id=node_id,
            tokens=list(tokens),
            before=before,
            sender=self._announcements.sender,
        )
        self._announcements.announce(rows)
        return len(rows)

    async def retire(self, node_id: uuid.UUID) -> None:
        sender = self._announcements.sender
        self._announcements.announce(
            await self._heartbeats.run("retire", id=node_id, sender=sender)
        )
        self._announcements.nodes.discard(node_id)
        self._context.cancellations.unregister(node_id)

    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        rows = await self._heartbeats.run(
            "rescue_if_dead",
            limit=limit,
            max_rescues=max_rescues,
            budget_bytes=self.copied_budget_bytes,
        )
        await self._heartbeats.run("delete_dead_nodes")
        pending = [row for row in rows if not row[3]]
        self._announcements.announce(pending)
        for *_, frees in rows:
            self._announcements.note_freed(frees)
        return Rescued(
            pending=[row[0] for row in pending], poisoned=[row[0] for row in rows if row[3]]
        )

    async def has_nodes(self) -> bool:
        [(has_nodes,)] = await self._statements.run("has_nodes")
        return bool(has_nodes)
