"""Saved views of the dashboard, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of
from taskflow.model.views import MAX_VIEWS, View
from taskflow.store.base.views import ViewStore
from taskflow.store.memory.audit import MemoryAudit


class MemoryViews(ViewStore):
    """Views in a store in memory.

    Args:
        audit: The audit log.
    """

    def __init__(self, audit: MemoryAudit) -> None:
        self._audit = audit
        self._views: dict[str, View] = {}

    async def all(self) -> Sequence[View]:
        await trio.lowlevel.checkpoint()
        return [view for _, view in sorted(self._views.items())]

    async def put(self, view: View, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if view.name not in self._views and len(self._views) >= MAX_VIEWS:
            return False
        self._views[view.name] = view
        self._audit.add(entry_of(Action.VIEW_PUT, by, view.name))
        return True

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if self._views.pop(name, None) is None:
            return False
        self._audit.add(entry_of(Action.VIEW_DELETE, by, name))
        return True
