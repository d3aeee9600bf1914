"""The keys that sign ID tokens, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg

from taskflow.model.audit import NewEntry
from taskflow.model.key_generation import KeyGeneration
from taskflow.store.base.signing_keys import SigningKeyStore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import Statements

SIGNING_KEYS_CHANNEL: Final = "taskflow_signing_keys"


class PostgresSigningKeys(SigningKeyStore):
    """Generations of keys beside the tasks of a PostgreSQL store."""

    def __init__(self, statements: Statements, audit: PostgresAudit) -> None:
        super().__init__()
        self._statements = statements
        self._audit = audit

    async def all(self) -> Sequence[KeyGeneration]:
        return [
            KeyGeneration(number, public, bytes(sealed), float(age_seconds))
            for number, public, sealed, age_seconds in await self._statements.run("signing_keys")
        ]

    async def add_if_next(
        self, generation: KeyGeneration, *, is_only: bool = False, entry: NewEntry | None = None
    ) -> bool:
        number, public, sealed = generation.number, generation.public, generation.sealed

        def work(connection: Connection) -> bool:
            execute = self._statements.on(connection)
            rows: list[Row] = []
            with connection.transaction():
                if is_only:
                    execute("delete_other_signing_keys", {"number": number})
                parameters = {"number": number, "public": public, "sealed": sealed}
                rows = execute("add_signing_keys_if_next", parameters)
                if not rows:
                    raise psycopg.Rollback
                self._audit.add(connection, entry)
            return bool(rows)

        try:
            return await self._statements.database.run(work)
        finally:
            self.note_change()

    async def delete_before(self, number: int) -> None:
        await self._statements.run("delete_signing_keys_before", number=number)
