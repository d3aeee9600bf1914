"""Heartbeats of jobs in memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of, heartbeat_entry
from taskflow.model.errors import TooManyHeartbeats
from taskflow.model.heartbeat_monitors import (
    MAX_MONITORS,
    PINGS_KEPT,
    TRANSITIONS_KEPT,
    HeartbeatState,
    MonitorChange,
    MonitorTransition,
    NewPing,
    Outage,
    StoredMonitor,
    StoredPing,
    Transition,
)
from taskflow.model.heartbeat_states import (
    Step,
    apply_deadline,
    apply_definition,
    apply_ping,
    deadline_of,
)
from taskflow.store.base.heartbeat_monitors import (
    OUTAGE_SECONDS,
    OUTAGES_KEPT,
    Checked,
    HeartbeatMonitorStore,
    MonitorHistory,
    MonitorPage,
    ObservedMonitor,
)
from taskflow.store.memory.audit import MemoryAudit


class _Kept:
    """A heartbeat with its history."""

    def __init__(self, monitor: StoredMonitor) -> None:
        self.monitor = monitor
        self.pings = deque[StoredPing](maxlen=PINGS_KEPT)
        self.transitions = deque[Transition](maxlen=TRANSITIONS_KEPT)

    def apply(self, step: Step) -> None:
        self.monitor = step.monitor
        if step.ping is not None:
            self.pings.appendleft(step.ping)
        if step.transition is not None:
            self.transitions.appendleft(step.transition)


class MemoryHeartbeatMonitors(HeartbeatMonitorStore):
    """Heartbeats beside the tasks of a store in memory.

    Args:
        now: The store's clock.
        new_id: Returns a new id.
        audit: The audit log.
    """

    def __init__(
        self,
        now: Callable[[], dt.datetime],
        new_id: Callable[[], uuid.UUID],
        audit: MemoryAudit,
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._audit = audit
        self._kept: dict[str, _Kept] = {}
        self._outages = deque[Outage](maxlen=OUTAGES_KEPT)
        self._checked_at = now()

    async def change(
        self, name: str, change: MonitorChange, *, by: Actor | None = None
    ) -> tuple[ObservedMonitor, bool]:
        await trio.lowlevel.checkpoint()
        now, kept = self._now(), self._kept.get(name)
        before = None if kept is None else kept.monitor
        old = None if before is None else before.definition
        definition = change(old)
        if kept is None and len(self._kept) >= MAX_MONITORS:
            raise TooManyHeartbeats
        step = apply_definition(definition, before, now, new_ping_id=self._new_id())
        if not self._kept:  # no node had to check
            self._checked_at = now
        kept = self._kept.setdefault(name, _Kept(step.monitor))
        kept.apply(step)
        self._audit.add(heartbeat_entry(by, old, definition))
        return ObservedMonitor(step.monitor, now), before is None

    async def get(self, name: str) -> ObservedMonitor | None:
        await trio.lowlevel.checkpoint()
        kept = self._kept.get(name)
        return None if kept is None else ObservedMonitor(kept.monitor, self._now())

    async def page(self, *, limit: int, after: str | None = None) -> MonitorPage:
        await trio.lowlevel.checkpoint()
        now = self._now()
        names = sorted(name for name in self._kept if after is None or name > after)
        some = [ObservedMonitor(self._kept[name].monitor, now) for name in names[:limit]]
        return MonitorPage(some, names[limit - 1] if len(names) > limit else None)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if self._kept.pop(name, None) is None:
            return False
        self._audit.add(entry_of(Action.HEARTBEAT_DELETE, by, name))
        return True

    async def rotate(self, name: str, *, by: Actor | None = None) -> ObservedMonitor | None:
        await trio.lowlevel.checkpoint()
        kept = self._kept.get(name)
        if kept is None:
            return None
        kept.monitor = msgspec.structs.replace(kept.monitor, ping_id=self._new_id())
        self._audit.add(entry_of(Action.HEARTBEAT_ROTATE, by, name))
        return ObservedMonitor(kept.monitor, self._now())

    async def ping(self, ping_id: uuid.UUID, ping: NewPing) -> bool:
        await trio.lowlevel.checkpoint()
        for kept in self._kept.values():
            if kept.monitor.ping_id == ping_id:
                kept.apply(apply_ping(kept.monitor, ping, self._now()))
                return True
        return False

    async def history(self, name: str) -> MonitorHistory | None:
        await trio.lowlevel.checkpoint()
        kept = self._kept.get(name)
        return None if kept is None else MonitorHistory(list(kept.pings), list(kept.transitions))

    async def check_due(self, *, limit: int, outage_seconds: float = OUTAGE_SECONDS) -> Checked:
        await trio.lowlevel.checkpoint()
        now = self._now()
        unchecked_seconds = (now - self._checked_at).total_seconds()
        is_outage = bool(self._kept) and unchecked_seconds >= outage_seconds
        if is_outage:
            self._outages.append(Outage(self._checked_at, now))
        self._checked_at = now
        due = self._due(now)
        return Checked(
            transitions=[self._check(kept, now) for kept in due[:limit]],
            outage_seconds=unchecked_seconds if is_outage else None,
        )

    async def seconds_to_next(self) -> float | None:
        await trio.lowlevel.checkpoint()
        deadlines = (deadline_of(kept.monitor) for kept in self._kept.values())
        first = min((at for at in deadlines if at is not None), default=None)
        return None if first is None else (first - self._now()).total_seconds()

    async def down(self, *, limit: int) -> Sequence[ObservedMonitor]:
        await trio.lowlevel.checkpoint()
        now = self._now()
        observed = (ObservedMonitor(self._kept[name].monitor, now) for name in sorted(self._kept))
        return [one for one in observed if one.state is HeartbeatState.DOWN][:limit]

    async def transitions_since(self, at: dt.datetime, *, limit: int) -> list[MonitorTransition]:
        await trio.lowlevel.checkpoint()
        found = [
            MonitorTransition(name, one)
            for name, kept in self._kept.items()
            for one in kept.transitions
            if one.at >= at
        ]
        found.sort(key=lambda one: (one.transition.at, one.name, one.transition.number))
        return found[:limit]

    async def count_states(self) -> Mapping[HeartbeatState, int]:
        await trio.lowlevel.checkpoint()
        now = self._now()
        found = Counter(ObservedMonitor(kept.monitor, now).state for kept in self._kept.values())
        return {state: found[state] for state in HeartbeatState}

    def _due(self, now: dt.datetime) -> list[_Kept]:
        """Return the heartbeats whose deadline is over, the earliest first."""
        due = [
            (deadline, name)
            for name, kept in self._kept.items()
            if (deadline := deadline_of(kept.monitor)) is not None and deadline <= now
        ]
        return [self._kept[name] for _, name in sorted(due)]

    def _check(self, kept: _Kept, now: dt.datetime) -> MonitorTransition:
        step = apply_deadline(kept.monitor, now, self._outages)
        assert step is not None
        assert step.transition is not None
        kept.apply(step)
        return MonitorTransition(step.monitor.definition.name, step.transition)
