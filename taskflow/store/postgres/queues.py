"""Settings of queues, and circuit breakers of hosts, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from taskflow.model.audit import Actor
from taskflow.model.audit_entries import queue_entry
from taskflow.model.queue_limits import HostHold, QueueChange, QueueSettings
from taskflow.model.queue_scope import QueueScope
from taskflow.store.base.queues import MAX_OPEN_SECONDS, MIN_OPEN_SECONDS, Changed, QueueStore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.claim_position import Announcements
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import settings_of
from taskflow.store.postgres.statements import Statements


class PostgresQueues(QueueStore):
    """The part of ``PostgresStore`` that says what may keep tasks waiting."""

    def __init__(
        self, statements: Statements, announcements: Announcements, audit: PostgresAudit
    ) -> None:
        self._statements = statements
        self._audit = audit
        self._announcements = announcements

    async def change(self, name: str, change: QueueChange, *, by: Actor | None = None) -> Changed:
        def work(connection: Connection) -> Changed:
            with connection.transaction():
                [(text, is_new)] = self._statements.execute(
                    connection, "lock_queue", {"name": name}
                )
                before = settings_of(text)
                settings = change(before)
                self._put(connection, name, settings)
                entry = queue_entry(by, name, before, settings, is_new=bool(is_new))
                self._audit.add(connection, entry)
            return Changed(settings, bool(is_new))

        changed = await self._statements.database.run(work)
        self._announcements.work.notify()
        return changed

    async def get(self, name: str) -> QueueSettings | None:
        rows = await self._statements.run("read_queues", name=name, limit=1)
        return settings_of(rows[0][1]) if rows else None

    async def first(
        self, limit: int, scope: QueueScope | None = None
    ) -> Mapping[str, QueueSettings]:
        if scope is None:
            rows = await self._statements.run("read_queues", name=None, limit=limit)
        else:
            wanted = scope.parameters()
            rows = await self._statements.run("read_queues_in_scope", limit=limit, **wanted)
        return {name: settings_of(text) for name, text in rows}

    async def open_circuit(
        self, host: str, *, reason: str, retry_after_seconds: float | None
    ) -> None:
        await self._statements.run(
            "open_circuit",
            host=host,
            reason=reason,
            retry_after_seconds=retry_after_seconds,
            min_seconds=MIN_OPEN_SECONDS,
            max_seconds=MAX_OPEN_SECONDS,
        )

    async def close_circuit(self, host: str) -> None:
        sender = self._announcements.sender
        if await self._statements.run("close_circuit", host=host, sender=sender):
            self._announcements.work.notify()

    async def open_circuits(self, limit: int) -> Mapping[str, HostHold]:
        rows = await self._statements.run("read_hosts", limit=limit)
        return {host: HostHold(until, why) for host, until, why in rows}

    async def delete_stale(self, *, limit: int) -> int:
        def work(connection: Connection) -> int:
            execute = self._statements.on(connection)
            names = ("delete_stale_paces", "delete_stale_hosts")
            return sum(len(execute(name, {"limit": limit})) for name in names)

        return await self._statements.database.run(work)

    def _put(self, connection: Connection, name: str, settings: QueueSettings) -> None:
        execute = self._statements.on(connection)
        parameters = {
            "name": name,
            "settings": msgspec.json.encode(settings).decode(),
            "paused": settings.paused,
            "is_limited": settings.is_limited,
            "credential": settings.credential,
        }
        execute("put_queue", parameters)
        execute("make_room", {"sender": self._announcements.sender})
