"""The audit log in PostgreSQL."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from taskflow.model.audit import (
    NO_AUDIT_FILTER,
    Action,
    AuditEntry,
    AuditFilter,
    NewEntry,
    TargetKind,
)
from taskflow.model.masking import Masking
from taskflow.model.untrusted_text import is_too_deep
from taskflow.store.base.audit import MAX_ENTRIES_SCANNED, AuditPage, AuditStore
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import UNREADABLE, Row, fields_of, named
from taskflow.store.postgres.search import id_range
from taskflow.store.postgres.statements import Statements

_ANY: Final = msgspec.json.Decoder()


class PostgresAudit(AuditStore):
    """The audit log of a PostgreSQL store.

    Args:
        statements: On the database.
        masking: What is masked in URLs.
    """

    def __init__(self, statements: Statements, masking: Masking) -> None:
        self._statements = statements
        self._masking = masking

    async def record(self, entries: Sequence[NewEntry]) -> None:
        await self._statements.database.run(lambda connection: self.add(connection, *entries))

    def add(self, connection: Connection, *entries: NewEntry | None) -> None:
        """Record the entries that are not ``None``, in the transaction of their change."""
        documents = [_document_of(entry.masked(self._masking)) for entry in entries if entry]
        if documents:
            parameters = {"entries": msgspec.json.encode(documents).decode()}
            self._statements.execute(connection, "add_audit_entries", parameters)

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: AuditFilter = NO_AUDIT_FILTER,
    ) -> AuditPage:
        actions = filter.actions
        window = limit + 1 if _is_indexed(filter) else MAX_ENTRIES_SCANNED
        rows = await self._statements.run_slow_read(
            _statement_for(filter),
            **id_range(before, filter.after, filter.before),
            actor=filter.actor,
            target=filter.target,
            actions=None if actions is None else [action.value for action in actions],
            after_at=filter.after,
            before_at=filter.before,
            window=window,
            limit=limit + 1,
        )
        last_scanned, scanned, *_ = rows[0]
        found = [_entry_of(row[2:]) for row in rows if row[2] is not None]
        if len(found) > limit:
            return AuditPage(found[:limit], found[limit - 1].id)
        return AuditPage(found, last_scanned if scanned == window else None)

    async def delete_old(self, *, age_seconds: float, limit: int) -> int:
        bounds = {"age_seconds": age_seconds, "limit": limit}
        return len(await self._statements.run("delete_old_audit_entries", **bounds))


def _statement_for(wanted: AuditFilter) -> str:
    """Return the statement that scans the index for this filter."""
    if wanted.target is not None:
        return "audit_entries_by_target"
    return "audit_entries" if wanted.actor is None else "audit_entries_by_actor"


def _is_indexed(wanted: AuditFilter) -> bool:
    """Return whether every entry that the statement scans matches."""
    return wanted in (AuditFilter(target=wanted.target), AuditFilter(actor=wanted.actor))


def _document_of(entry: NewEntry) -> dict[str, object]:
    return {
        "action": entry.action,
        "actor": entry.actor.name,
        "session": entry.actor.session,
        "address": entry.actor.address,
        "target": entry.target,
        "count": entry.count,
        "detail": entry.detail,
        "batch": entry.batch,
    }


def _entry_of(row: Row) -> AuditEntry:
    """Return the entry of a row; a later version may have actions that this one does not know."""
    (entry_id, at, action, actor, session, address, target, count, detail) = row
    return AuditEntry(
        id=entry_id,
        at=at,
        actor=actor,
        session=session,
        address=address,
        action=cast("Action", named(Action, action) or action),
        target_kind=cast("TargetKind", action.partition(".")[0]),
        target=target,
        count=count,
        detail=_detail_of(detail),
    )


def _detail_of(text: str) -> dict[str, Any]:
    """Return the members of a detail that can be read."""
    detail: dict[str, Any] = {}
    for name, value in fields_of(text).items():
        with contextlib.suppress(*UNREADABLE):
            if not is_too_deep(bytes(value)):
                detail[name] = _ANY.decode(value)
    return detail
