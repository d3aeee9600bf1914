"""Saved views of the dashboard, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of
from taskflow.model.views import MAX_VIEWS, View
from taskflow.store.base.views import ViewStore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.statements import Statements


class PostgresViews(ViewStore):
    """Views beside the tasks of a PostgreSQL store."""

    def __init__(self, statements: Statements, audit: PostgresAudit) -> None:
        self._statements = statements
        self._audit = audit

    async def all(self) -> Sequence[View]:
        rows = await self._statements.run("views", limit=MAX_VIEWS)
        return [View(name, query) for name, query in rows]

    async def put(self, view: View, *, by: Actor | None = None) -> bool:
        parameters = {"name": view.name, "query": view.query, "limit": MAX_VIEWS}
        return await self._change("put_view_if_room", parameters, Action.VIEW_PUT, by)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        return await self._change("delete_view", {"name": name}, Action.VIEW_DELETE, by)

    async def _change(
        self, statement: str, parameters: Mapping[str, object], action: Action, by: Actor | None
    ) -> bool:
        """Execute a statement, and record the action if it changed a row."""

        def work(connection: Connection) -> bool:
            with connection.transaction():
                rows = self._statements.execute(connection, statement, parameters)
                if rows:
                    self._audit.add(connection, entry_of(action, by, str(parameters["name"])))
            return bool(rows)

        return await self._statements.database.run(work)
