"""Changes of several resources together, in memory: made on a draft, which then replaces them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import trio

from taskflow.model.audit import NewEntry
from taskflow.model.configuration import ResourceKind
from taskflow.store.base.configuration import Configuration, ConfigurationWork, Result
from taskflow.store.memory.alerts import MemoryAlerts
from taskflow.store.memory.audit import MemoryAudit
from taskflow.store.memory.credentials import MemoryCredentials
from taskflow.store.memory.heartbeat_monitors import MemoryHeartbeatMonitors
from taskflow.store.memory.queues import MemoryQueues
from taskflow.store.memory.schedules import MemorySchedules
from taskflow.store.memory.topics import MemoryTopics

Part = TypeVar(
    "Part",
    MemoryQueues,
    MemoryTopics,
    MemorySchedules,
    MemoryCredentials,
    MemoryHeartbeatMonitors,
    MemoryAlerts,
)

_STATE: Final[dict[type, tuple[str, ...]]] = {
    MemoryQueues: ("_settings",),
    MemoryTopics: ("_topics", "_endpoints"),
    MemorySchedules: ("_schedules", "_firings", "_open_tasks"),
    MemoryCredentials: ("_kept",),
    MemoryHeartbeatMonitors: ("_kept",),
    MemoryAlerts: ("_alerts", "_taken_at", "_notifications"),
}
"""The dicts of each part that its verbs change; their values are immutable, or sets."""
_INDEPENDENT: Final = (MemoryHeartbeatMonitors, MemoryAlerts)
"""Parts that no other part refers to."""
_State: TypeAlias = dict[str, dict[Any, Any]]


class _DraftAudit(MemoryAudit):
    """Collects the entries of a draft."""

    def __init__(self) -> None:
        self.entries: Final[list[NewEntry]] = []

    def add(self, entry: NewEntry | None) -> None:
        if entry is not None:
            self.entries.append(entry)


class ConfigurationParts(msgspec.Struct, frozen=True):
    """The parts of ``MemoryStore`` that a configuration consists of.

    Attributes:
        queues: Settings of queues.
        topics: Topics and their endpoints.
        schedules: Schedules.
        credentials: Credentials.
        heartbeat_monitors: Heartbeats.
        alerts: Alerts.
    """

    queues: MemoryQueues
    topics: MemoryTopics
    schedules: MemorySchedules
    credentials: MemoryCredentials
    heartbeat_monitors: MemoryHeartbeatMonitors
    alerts: MemoryAlerts


class MemoryConfiguration:
    """The part of ``MemoryStore`` that changes several resources together.

    Args:
        parts: The parts that are changed.
        audit: The audit log.
        make_room: Called when held tasks may start.
    """

    def __init__(
        self, parts: ConfigurationParts, *, audit: MemoryAudit, make_room: Callable[[], None]
    ) -> None:
        self._parts: Final = parts
        self._audit: Final = audit
        self._make_room: Final = make_room
        self._lock: Final = trio.Lock()

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        """Make changes on a draft, again if others changed the same parts meanwhile."""
        async with self._lock:
            return await self._configure(work)

    async def _configure(self, work: ConfigurationWork[Result]) -> Result:
        while True:
            before, audit = self._state(), _DraftAudit()
            drafts = _drafts_of(self._parts, audit)
            result = await work(Configuration(**msgspec.structs.asdict(drafts), hold=_hold))
            used = list(self._used(drafts, before))
            if all(_copies_of(part) == was for part, _, was in used):
                self._replace([(part, draft) for part, draft, _ in used], audit)
                return result

    def _state(self) -> list[_State]:
        return [_copies_of(part) for part in msgspec.structs.astuple(self._parts)]

    def _used(
        self, drafts: ConfigurationParts, before: Sequence[_State]
    ) -> Iterator[tuple[Any, Any, _State]]:
        """Yield the parts with their drafts and former states, without unchanged independent ones.

        Pings and evaluations change those often, and would have the work done again each time.
        """
        parts, of_drafts = (msgspec.structs.astuple(one) for one in (self._parts, drafts))
        for part, draft, was in zip(parts, of_drafts, before, strict=True):
            if not isinstance(part, _INDEPENDENT) or _copies_of(draft) != was:
                yield part, draft, was

    def _replace(self, used: Sequence[tuple[Any, Any]], audit: _DraftAudit) -> None:
        """Replace the state by the drafts: others see all of it, or nothing."""
        parts = self._parts
        parts.heartbeat_monitors.begin_watch_if_empty()
        for part, draft in used:
            for name in _STATE[type(part)]:
                state = getattr(part, name)  # others refer to it
                state.clear()
                state.update(getattr(draft, name))
        for entry in audit.entries:
            self._audit.add(entry)
        parts.topics.note_change()
        parts.schedules.note_change()
        parts.credentials.note_change()
        self._make_room()


def _drafts_of(parts: ConfigurationParts, audit: _DraftAudit) -> ConfigurationParts:
    """Return copies of the parts that refer to each other."""
    queues = _draft(parts.queues, audit, _make_room=_do_nothing)
    topics, schedules = _draft(parts.topics, audit), _draft(parts.schedules, audit)
    credentials = _draft(
        parts.credentials,
        audit,
        _queues=queues.names_with_credential,
        _endpoints=topics.names_with_credential,
        _schedules=schedules.names_with_credential,
    )
    monitors, alerts = _draft(parts.heartbeat_monitors, audit), _draft(parts.alerts, audit)
    return ConfigurationParts(queues, topics, schedules, credentials, monitors, alerts)


def _draft(part: Part, audit: _DraftAudit, **attributes: object) -> Part:
    """Return a copy of a part that shares no state with it."""
    draft = copy.copy(part)
    for name, value in {**_copies_of(part), "_audit": audit, **attributes}.items():
        setattr(draft, name, value)
    return draft


def _copies_of(part: object) -> _State:
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
