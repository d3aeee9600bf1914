"""Runs the named statements of ``queries``, and what the parts of the store share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from taskflow.store.postgres import queries
from taskflow.store.postgres.database import Database
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row

T = TypeVar("T")

Execute = Callable[[str, Mapping[str, object]], list[Row]]
"""Executes a statement by its name, with these parameters."""


class Statements:
    """The named statements on one database: a name and parameters in, rows out."""

    def __init__(self, database: Database) -> None:
        self.database: Final = database
        self.sql: Final = queries.load()

    async def run(self, name: str, /, **parameters: object) -> list[Row]:
        """Execute one statement in a thread, in a transaction of its own."""
        return await self.database.run(
            lambda connection: self.execute(connection, name, parameters)
        )

    async def run_slow_read(self, name: str, /, **parameters: object) -> list[Row]:
        """Execute a query that may take long, on the connections for these."""
        return await self.database.run_slow_read(
            lambda connection: self.execute(connection, name, parameters)
        )

    def execute(
        self, connection: Connection, name: str, parameters: Mapping[str, object] | None = None
    ) -> list[Row]:
        """Execute one statement on a connection, in this thread."""
        cursor = connection.execute(self.sql[name], parameters or {})
        return cursor.fetchall() if cursor.description else []

    def on(self, connection: Connection) -> Execute:
        """Return a function that executes statements on this connection."""
        return lambda name, parameters: self.execute(connection, name, parameters)
