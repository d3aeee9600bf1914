"""Credentials in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import credential_entry, entry_of
from taskflow.model.errors import CredentialInUse, TooManyCredentials
from taskflow.model.sealed_credential import (
    MAX_CREDENTIALS,
    MAX_SHOWN_USERS,
    CredentialSummary,
    CredentialUsers,
    SealedCredential,
)
from taskflow.store.base.credentials import USED_SECONDS, CredentialStore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import Statements

CREDENTIALS_CHANNEL: Final = "taskflow_credentials"


class PostgresCredentials(CredentialStore):
    """Credentials beside the tasks of a PostgreSQL store."""

    def __init__(self, statements: Statements, audit: PostgresAudit) -> None:
        super().__init__()
        self._statements = statements
        self._audit = audit

    async def put(self, credential: SealedCredential, *, by: Actor | None = None) -> bool:
        parameters = {
            "name": credential.name,
            "kind": credential.kind,
            "hosts": list(credential.hosts),
            "sealed": credential.sealed,
            "max_credentials": MAX_CREDENTIALS,
        }

        def work(connection: Connection) -> list[Row]:
            with connection.transaction():
                rows = self._statements.execute(connection, "put_credential_if_room", parameters)
                if rows:
                    self._audit.add(connection, credential_entry(by, credential))
            return rows

        rows = await self._statements.database.run(work)
        if not rows:
            raise TooManyCredentials
        self.note_change()
        return bool(rows[0][0])

    async def sealed(self, name: str) -> SealedCredential | None:
        for found, kind, hosts, sealed in await self._statements.run(
            "sealed_credential", name=name
        ):
            return SealedCredential(found, kind, _texts(hosts), bytes(sealed))
        return None

    async def names(self) -> Sequence[str]:
        return [name for (name,) in await self._statements.run("credential_names")]

    async def get(self, name: str) -> CredentialSummary | None:
        rows = await self._statements.run("credentials", name=name, max_users=MAX_SHOWN_USERS)
        return _summary_of(rows[0]) if rows else None

    async def all(self) -> Sequence[CredentialSummary]:
        rows = await self._statements.run("credentials", name=None, max_users=MAX_SHOWN_USERS)
        return [_summary_of(row) for row in rows]

    async def delete(
        self, name: str, *, even_if_used: bool = False, by: Actor | None = None
    ) -> bool:
        def work(connection: Connection) -> bool:
            execute = self._statements.on(connection)
            wanted = {"name": name, "even_if_used": even_if_used}
            with connection.transaction():
                if execute("delete_credential_if_unused", wanted):
                    self._audit.add(connection, entry_of(Action.CREDENTIAL_DELETE, by, name))
                    return True
            wanted = {"name": name, "max_users": MAX_SHOWN_USERS}
            for row in execute("credentials", wanted):
                raise CredentialInUse(name, _summary_of(row).used_by)
            return False

        is_deleted = await self._statements.database.run(work)
        self.note_change()
        return is_deleted

    async def mark_used(self, name: str) -> None:
        await self._statements.run("mark_credential_used", name=name, seconds=USED_SECONDS)


def _summary_of(row: Row) -> CredentialSummary:
    """Return the credential of a row of ``credentials``."""
    name, kind, hosts, created_at, updated_at, last_used_at, queues, schedules = row
    return CredentialSummary(
        name=name,
        kind=kind,
        hosts=_texts(hosts),
        created_at=created_at,
        updated_at=updated_at,
        last_used_at=last_used_at,
        used_by=CredentialUsers(_texts(queues), _texts(schedules)),
    )


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    """Return the texts of an array: one that no version wrote may have others in it."""
    return tuple(value for value in values if isinstance(value, str))
