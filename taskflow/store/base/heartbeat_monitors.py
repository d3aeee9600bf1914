"""Heartbeats of jobs elsewhere, which are stored beside the tasks: the store interface.

As in ``store.py``, each verb is atomic, the store's clock decides, and after ``StoreUnavailable``
it is unknown whether a write was done.
"""

from __future__ import annotations

import abc
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.audit import Actor
from taskflow.model.heartbeat_monitors import (
    HeartbeatState,
    MonitorChange,
    MonitorTransition,
    NewPing,
    StoredMonitor,
    StoredPing,
    Transition,
)
from taskflow.model.heartbeat_states import state_at

OUTAGE_SECONDS: Final = 60.0
"""Time without a check by any node after which pings may be lost: an outage."""

CHECK_SECONDS: Final = 15.0
"""Maximum time between two checks of a node."""

OUTAGES_KEPT: Final = 100
"""Number of outages that are remembered, the newest ones."""


class ObservedMonitor(msgspec.Struct, frozen=True):
    """A heartbeat, and the time of the store at which it was read."""

    monitor: StoredMonitor
    at: dt.datetime

    @property
    def state(self) -> HeartbeatState:
        """The state at this time."""
        return state_at(self.monitor, self.at)


class MonitorPage(msgspec.Struct, frozen=True):
    """Some heartbeats by name, and the name that the next page is after (``None`` at the end)."""

    monitors: list[ObservedMonitor]
    next_after: str | None


class MonitorHistory(msgspec.Struct, frozen=True):
    """The last pings and transitions of a heartbeat, newest first."""

    pings: Sequence[StoredPing]
    transitions: Sequence[Transition]


class Checked(msgspec.Struct, frozen=True):
    """Result of a check for missed pings.

    Attributes:
        transitions: The transitions of heartbeats whose deadline was over.
        errors: Errors by name of the heartbeats that cannot be checked on this node; they are
            checked again later.
        outage_seconds: The duration of an outage that this check has noticed.
    """

    transitions: Sequence[MonitorTransition] = ()
    errors: Mapping[str, str] = {}
    outage_seconds: float | None = None


class HeartbeatMonitorStore(abc.ABC):
    """Stores heartbeats of jobs, and notices missed pings; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing.
    """

    @abc.abstractmethod
    async def change(
        self, name: str, change: MonitorChange, *, by: Actor | None = None
    ) -> tuple[ObservedMonitor, bool]:
        """Create or change a heartbeat; concurrent changes are applied one after the other.

        Args:
            name: The heartbeat.
            change: A pure function; if it raises, nothing is changed. May run in another thread,
                and more than once.
            by: Who changes it.

        Returns:
            The heartbeat, and whether it is new.

        Raises:
            TooManyHeartbeats: It is new, and there are ``MAX_MONITORS`` others.
        """

    @abc.abstractmethod
    async def get(self, name: str) -> ObservedMonitor | None:
        """Return the heartbeat; ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def page(self, *, limit: int, after: str | None = None) -> MonitorPage:
        """Return a page of heartbeats by name.

        Args:
            limit: Maximum number of heartbeats.
            after: Only heartbeats whose names sort after this one, byte by byte.
        """

    @abc.abstractmethod
    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        """Delete a heartbeat with its history; false if there is none with this name."""

    @abc.abstractmethod
    async def rotate(self, name: str, *, by: Actor | None = None) -> ObservedMonitor | None:
        """Replace the id of the ping URL; ``None`` if there is no heartbeat with this name."""

    @abc.abstractmethod
    async def ping(self, ping_id: uuid.UUID, ping: NewPing) -> bool:
        """Record a ping, and change the state; false if no heartbeat has this id.

        The ping, its effect and its transition are stored together.
        """

    @abc.abstractmethod
    async def history(self, name: str) -> MonitorHistory | None:
        """Return the last pings and transitions; ``None`` if there is no such heartbeat."""

    @abc.abstractmethod
    async def check_due(self, *, limit: int, outage_seconds: float = OUTAGE_SECONDS) -> Checked:
        """Record the transitions of some heartbeats whose deadline is over.

        Each transition is recorded exactly once, whichever node notices it. While another node is
        checking, this one does nothing. A check by any node
        less than ``outage_seconds`` ago says that pings could be received since. Without one, there
        was an outage until now, and a heartbeat whose ping may have been lost is not down.

        Args:
            limit: Maximum number of heartbeats.
            outage_seconds: Time without a check that is an outage.
        """

    @abc.abstractmethod
    async def seconds_to_next(self) -> float | None:
        """Return the time until the next deadline (at most 0 if one is over); ``None`` for none."""

    @abc.abstractmethod
    async def down(self, *, limit: int) -> Sequence[ObservedMonitor]:
        """Return heartbeats that are down and not paused, by name.

        Its last transition to ``DOWN`` was ``state_since``. An alert that remembers the name and
        this time is sent once for each time that the heartbeat went down.
        """

    @abc.abstractmethod
    async def transitions_since(self, at: dt.datetime, *, limit: int) -> list[MonitorTransition]:
        """Return transitions of all heartbeats from a time on, in their order.

        A transition becomes visible up to the duration of a transaction after its time, so a reader
        that goes on from the last time has to read some seconds again.
        """

    @abc.abstractmethod
    async def count_states(self) -> Mapping[HeartbeatState, int]:
        """Return the number of heartbeats in each state, including states without any."""
