"""Credentials in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.audit_entries import delete_credential_entry, put_credential_entry
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
            execute = self._statements.on(connection)
            with connection.transaction():
                before = execute("hold_credential", {"name": credential.name})
                rows = execute("put_credential_if_room", parameters)
                if rows:
                    replaced = _sealed_of(before[0]) if before else None
                    entry = put_credential_entry(by, credential, replaced)
                    self._audit.add(connection, entry)
            return rows

        rows = await self._statements.database.run(work)
        if not rows:
            raise TooManyCredentials
        self.note_change()
        return bool(rows[0][0])

    async def sealed(self, name: str) -> SealedCredential | None:
        rows = await self._statements.run("sealed_credential", name=name)
        return _sealed_of(rows[0]) if rows else None

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
            shown = {"name": name, "max_users": MAX_SHOWN_USERS}
            with connection.transaction():
                execute("hold_credential", {"name": name})
                known = execute("credentials", shown)
                if known and execute("delete_credential_if_unused", wanted):
                    entry = delete_credential_entry(by, _summary_of(known[0]))
                    self._audit.add(connection, entry)
                    return True
            for row in execute("credentials", shown):
                raise CredentialInUse(name, _summary_of(row).used_by)
            return False

        is_deleted = await self._statements.database.run(work)
        self.note_change()
        return is_deleted

    async def mark_used(self, name: str) -> None:
        await self._statements.run("mark_credential_used", name=name, seconds=USED_SECONDS)


def _sealed_of(row: Row) -> SealedCredential:
    """Return the credential of a row of ``sealed_credential``."""
    name, kind, hosts, sealed = row
    return SealedCredential(name, kind, _texts(hosts), bytes(sealed))


def _summary_of(row: Row) -> CredentialSummary:
    """Return the credential of a row of ``credentials``."""
    name, kind, hosts, created_at, updated_at, last_used_at, *users = row
    return CredentialSummary(
        name=name,
        kind=kind,
        hosts=_texts(hosts),
        created_at=created_at,
        updated_at=updated_at,
        last_used_at=last_used_at,
        used_by=CredentialUsers(*map(_texts, users)),
    )


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    """Return the texts of an array: one that no version wrote may have others in it."""
    return tuple(value for value in values if isinstance(value, str))
