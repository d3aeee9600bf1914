"""What keeps tasks waiting, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from taskflow.model.queue_limits import HostHold, QueueChange, QueueSettings
from taskflow.store.base.queues import (
    FIRST_HOLD_SECONDS,
    LONGEST_HOLD_SECONDS,
    Changed,
    QueueStore,
)
from taskflow.store.postgres.database import Connection, Database
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.salvage import UNREADABLE, readable_part

_SETTINGS: Final = msgspec.json.Decoder(QueueSettings)


class PostgresQueues(QueueStore):
    """A part of ``PostgresStore``.

    Args:
        database: Where.
        sql: The statements of ``queries``.
        sender: As whom this store tells other nodes.
        make_room: Tells this node that tasks may start that could not before.
    """

    def __init__(
        self,
        database: Database,
        sql: Mapping[str, str],
        sender: str,
        make_room: Callable[[], None],
    ) -> None:
        self._database = database
        self._sql = sql
        self._sender = sender
        self._make_room = make_room

    async def change(self, name: str, change: QueueChange) -> Changed:
        def work(connection: Connection) -> Changed:
            with connection.transaction():
                [(text, is_new)] = self._execute(connection, "lock_queue", {"name": name})
                settings = change(_settings_of(text))
                self._put(connection, name, settings)
            return Changed(settings, bool(is_new))

        changed = await self._database.run(work)
        self._make_room()
        return changed

    async def get(self, name: str) -> QueueSettings | None:
        rows = await self._run("read_queues", name=name, limit=1)
        return _settings_of(rows[0][1]) if rows else None

    async def first(self, limit: int) -> Mapping[str, QueueSettings]:
        rows = await self._run("read_queues", name=None, limit=limit)
        return {name: _settings_of(text) for name, text in rows}

    async def open_circuit(self, host: str, *, why: str, asked_seconds: float | None) -> None:
        await self._run(
            "open_circuit",
            host=host,
            why=why,
            asked_seconds=asked_seconds,
            first_seconds=FIRST_HOLD_SECONDS,
            longest_seconds=LONGEST_HOLD_SECONDS,
        )

    async def close_circuit(self, host: str) -> None:
        if await self._run("close_circuit", host=host, sender=self._sender):
            self._make_room()

    async def open_circuits(self, limit: int) -> Mapping[str, HostHold]:
        rows = await self._run("read_hosts", limit=limit)
        return {host: HostHold(until, why) for host, until, why in rows}

    async def forget(self, *, limit: int) -> int:
        def work(connection: Connection) -> int:
            return sum(
                connection.execute(self._sql[name], {"limit": limit}).rowcount
                for name in ("forget_paces", "forget_hosts")
            )

        return await self._database.run(work)

    def _put(self, connection: Connection, name: str, settings: QueueSettings) -> None:
        parameters = {
            "name": name,
            "settings": msgspec.json.encode(settings).decode(),
            "paused": settings.paused,
            "is_limited": settings.is_limited,
        }
        self._execute(connection, "put_queue", parameters)
        self._execute(connection, "make_room", {"sender": self._sender})

    async def _run(self, query: str, **parameters: object) -> list[Row]:
        return await self._database.run(
            lambda connection: self._execute(connection, query, parameters)
        )

    def _execute(
        self, connection: Connection, query: str, parameters: Mapping[str, object]
    ) -> list[Row]:
        cursor = connection.execute(self._sql[query], parameters)
        return cursor.fetchall() if cursor.description else []


def _settings_of(text: str) -> QueueSettings:
    """What is asked of a queue; what of that cannot be read is asked of none."""
    try:
        return _SETTINGS.decode(text)
    except UNREADABLE:
        return readable_part(text, QueueSettings)
