"""Saved views of the dashboard: the store interface."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from taskflow.model.audit import Actor
from taskflow.model.views import View


class ViewStore(abc.ABC):
    """Stores views; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def all(self) -> Sequence[View]:
        """Return all views by name, at most ``MAX_VIEWS``."""

    @abc.abstractmethod
    async def put(self, view: View, *, by: Actor | None = None) -> bool:
        """Store a view, in place of one with its name; return whether there was room for it."""

    @abc.abstractmethod
    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        """Delete a view; return whether there was one."""
