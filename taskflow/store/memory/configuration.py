"""Changes of several resources together, in memory: made on a draft, which then replaces them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

from taskflow.model.audit import NewEntry
from taskflow.model.configuration import ResourceKind
from taskflow.store.base.configuration import Configuration, ConfigurationWork, Result
from taskflow.store.memory.audit import MemoryAudit
from taskflow.store.memory.credentials import MemoryCredentials
from taskflow.store.memory.queues import MemoryQueues
from taskflow.store.memory.schedules import MemorySchedules
from taskflow.store.memory.topics import MemoryTopics

Part = TypeVar("Part", MemoryQueues, MemoryTopics, MemorySchedules, MemoryCredentials)

_STATE: Final[dict[type, tuple[str, ...]]] = {
    MemoryQueues: ("_settings",),
    MemoryTopics: ("_topics", "_endpoints"),
    MemorySchedules: ("_schedules", "_firings", "_open_tasks"),
    MemoryCredentials: ("_kept",),
}
"""The dicts of each part that its verbs change; their values are immutable, or sets."""


class _DraftAudit(MemoryAudit):
    """Collects the entries of a draft."""

    def __init__(self) -> None:
        self.entries: Final[list[NewEntry]] = []

    def add(self, entry: NewEntry | None) -> None:
        if entry is not None:
            self.entries.append(entry)


class MemoryConfiguration:
    """The part of ``MemoryStore`` that changes several resources together.

    Args:
        queues: Settings of queues.
        topics: Topics and their endpoints.
        schedules: Schedules.
        credentials: Credentials.
        audit: The audit log.
        make_room: Called when held tasks may start.
    """

    def __init__(
        self,
        *,
        queues: MemoryQueues,
        topics: MemoryTopics,
        schedules: MemorySchedules,
        credentials: MemoryCredentials,
        audit: MemoryAudit,
        make_room: Callable[[], None],
    ) -> None:
        self._parts: Final = (queues, topics, schedules, credentials)
        self._audit: Final = audit
        self._make_room: Final = make_room
        self._lock: Final = trio.Lock()

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        """Make changes on a draft, again if others changed the same parts meanwhile."""
        async with self._lock:
            return await self._configure(work)

    async def _configure(self, work: ConfigurationWork[Result]) -> Result:
        while True:
            before = [_copies_of(part) for part in self._parts]
            audit = _DraftAudit()
            queues, topics, schedules, credentials = self._parts
            drafts = (
                _draft(queues, audit, _make_room=_do_nothing),
                _draft(topics, audit),
                _draft(schedules, audit),
            )
            users = [draft.names_with_credential for draft in drafts]
            users_by_kind = dict(zip(("_queues", "_endpoints", "_schedules"), users, strict=True))
            kept = _draft(credentials, audit, **users_by_kind)
            result = await work(Configuration(*drafts, kept, _hold))
            if before == [_copies_of(part) for part in self._parts]:
                self._replace((*drafts, kept), audit)
                return result

    def _replace(self, drafts: tuple[Any, ...], audit: _DraftAudit) -> None:
        """Replace the state by the drafts: others see all of it, or nothing."""
        for part, draft in zip(self._parts, drafts, strict=True):
            for name in _STATE[type(part)]:
                state = getattr(part, name)  # others refer to it
                state.clear()
                state.update(getattr(draft, name))
        for entry in audit.entries:
            self._audit.add(entry)
        _, topics, schedules, credentials = self._parts
        topics.note_change()
        schedules.note_change()
        credentials.note_change()
        self._make_room()


def _draft(part: Part, audit: _DraftAudit, **attributes: object) -> Part:
    """Return a copy of a part that shares no state with it."""
    draft = copy.copy(part)
    for name, value in {**_copies_of(part), "_audit": audit, **attributes}.items():
        setattr(draft, name, value)
    return draft


def _copies_of(part: object) -> dict[str, dict[Any, Any]]:
    return {
        name: {
            key: set(value) if isinstance(value, set) else value
            for key, value in getattr(part, name).items()
        }
        for name in _STATE[type(part)]
    }


async def _hold(kind: ResourceKind, name: str) -> None:
    """Do nothing: if the resource changes meanwhile, the work is done again."""


def _do_nothing() -> None:
    """Start no tasks: nothing has been changed yet."""
