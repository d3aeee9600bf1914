"""The map of cells in the database of a cell, and what is left in a cell."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.cell_map import CellMap
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.statements import Statements

_UUIDV7_VERSION: Final = 180_000
# As in migration 1, with the number of the cell in the last byte.
_NEW_ID: Final = """
CREATE OR REPLACE FUNCTION taskflow_new_id() RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE
AS $body$
DECLARE
    microseconds bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    id bytea := uuid_send(gen_random_uuid());
    fraction int := (microseconds % 1000) * 4096 / 1000;
BEGIN
    id := overlay(id PLACING substring(int8send(microseconds / 1000) FROM 3) FROM 1 FOR 6);
    id := set_byte(id, 6, 112 | (fraction >> 8));
    id := set_byte(id, 7, fraction & 255);
    RETURN encode(set_byte(id, 15, {number}), 'hex')::uuid;
END
$body$
"""
_NEW_ID_18: Final = """
CREATE OR REPLACE FUNCTION taskflow_new_id() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN encode(set_byte(uuid_send(uuidv7()), 15, {number}), 'hex')::uuid
"""
_MARKED: Final = """
CREATE OR REPLACE FUNCTION taskflow_marked(digits text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(digits, 8) || '{number:02x}'
"""


class PostgresCellMaps:
    """The copy of the map that a cell has."""

    def __init__(self, statements: Statements) -> None:
        self._statements: Final = statements

    async def read(self, known: int = 0) -> CellMap | None:
        """Return the map, if its version is higher than a known one."""
        for _, document in await self._statements.run("cell_map", known=known):
            if document is not None:
                return msgspec.json.decode(document, type=CellMap)
        return None

    async def write(self, cell_map: CellMap) -> bool:
        """Write a map; return whether the cell had an older one, or none."""
        document = msgspec.json.encode(cell_map).decode()
        return bool(
            await self._statements.run(
                "write_cell_map_if_newer", version=cell_map.version, document=document
            )
        )

    async def mark_ids(self, number: int) -> None:
        """Let all new ids of the cell end with its number."""

        def work(connection: Connection) -> None:
            is_18 = connection.info.server_version >= _UUIDV7_VERSION
            with connection.transaction():
                for statement in (_NEW_ID_18 if is_18 else _NEW_ID, _MARKED):
                    connection.execute(statement.format(number=number).encode())

        await self._statements.database.run(work)

    async def queues_with_tasks(self) -> set[str]:
        """Return the queues that have unfinished tasks, keys or groups in the cell."""
        return {queue for (queue,) in await self._statements.run("queues_with_tasks")}

    async def names(self) -> set[str]:
        """Return ``schedule NAME``, ``topic NAME`` and ``heartbeat NAME`` of all in the cell."""
        return {name for (name,) in await self._statements.run("names_in_cell")}
