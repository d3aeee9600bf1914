"""Alerts, which are stored beside the tasks: the store interface."""

from __future__ import annotations

import abc
import datetime as dt
import uuid
from collections.abc import Sequence

import msgspec

from taskflow.model.alert_messages import Notify
from taskflow.model.alert_states import Observation
from taskflow.model.alerts import (
    AlertChange,
    AlertNotification,
    AlertState,
    NoticeKind,
    StoredAlert,
)
from taskflow.model.audit import Actor


class DueAlerts(msgspec.Struct, frozen=True):
    """Alerts that this caller has to evaluate.

    Attributes:
        alerts: The alerts.
        now: The time by the store's clock.
    """

    alerts: Sequence[StoredAlert]
    now: dt.datetime


class Evaluated(msgspec.Struct, frozen=True):
    """The result of an evaluation.

    Attributes:
        state: The state of the alert.
        notice: What was notified, if anything.
        tasks: The ids of the tasks that deliver it.
    """

    state: AlertState
    notice: NoticeKind | None = None
    tasks: tuple[uuid.UUID, ...] = ()


class AlertStore(abc.ABC):
    """Stores alerts, and what they notify; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing.
    """

    @abc.abstractmethod
    async def put(
        self, name: str, change: AlertChange, *, by: Actor | None = None
    ) -> tuple[StoredAlert, bool]:
        """Create or change an alert; return it, and whether it is new.

        Args:
            name: The alert.
            change: A pure function; if it raises, nothing is changed. May run in another thread,
                and more than once.
            by: Who changes it.

        Raises:
            TooManyAlerts: There are ``MAX_ALERTS`` others.
        """

    @abc.abstractmethod
    async def get(self, name: str) -> StoredAlert | None:
        """Return an alert; ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def all(self) -> Sequence[StoredAlert]:
        """Return all alerts by name."""

    @abc.abstractmethod
    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        """Delete an alert and its notifications, not their tasks; false if there is none."""

    @abc.abstractmethod
    async def silence(
        self, name: str, seconds: float | None, *, by: Actor | None = None
    ) -> StoredAlert | None:
        """Let an alert notify nothing for this time, or again; ``None`` if there is none."""

    @abc.abstractmethod
    async def notifications(self, name: str) -> Sequence[AlertNotification] | None:
        """Return the last notifications of an alert, newest first; ``None`` if there is none."""

    @abc.abstractmethod
    async def take_due(self, *, every_seconds: float) -> DueAlerts:
        """Return the alerts that were last taken at least this long ago, by any node.

        Each is returned to one caller. An evaluation that takes longer than ``every_seconds``, or
        whose node dies, is superseded by the next one.
        """

    @abc.abstractmethod
    async def evaluate(
        self, taken: StoredAlert, observation: Observation, notify: Notify
    ) -> Evaluated | None:
        """Record an evaluation, and store the tasks of its notification, if any: both or neither.

        Args:
            taken: The alert, as ``take_due`` returned it.
            observation: What was found since then.
            notify: Makes the tasks. A pure function, which may run in another thread.

        Returns:
            ``None`` if the alert was changed, deleted or taken again meanwhile; nothing is written.
        """

    @abc.abstractmethod
    async def test(
        self, name: str, notify: Notify, *, by: Actor | None = None
    ) -> AlertNotification | None:
        """Notify the destinations of an alert of a test; ``None`` if there is no such alert."""
