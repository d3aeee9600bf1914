"""Alerts: what one watches, how it is stored, and how it is shown.

``alert_states`` decides when an alert notifies, and ``alert_messages`` what a notification says.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.alert_destinations import AlertDestination, StoredDestination
from taskflow.model.task import Moment, QueueName

MAX_ALERTS: Final = 200
MAX_DESTINATIONS: Final = 10
MAX_SUBJECTS: Final = 20
"""Number of subjects that the state of an alert names; more are counted."""

KEPT_NOTIFICATIONS: Final = 50
"""Number of notifications of an alert that are kept."""

ALERTS_QUEUE: Final = "alerts"
"""The queue of notifications. No alert watches it, so a notification that fails causes no other."""

DEFAULT_EVERY_SECONDS: Final = 3600.0
MIN_EVERY_SECONDS: Final = 60
MAX_EVERY_SECONDS: Final = 604_800
MIN_WINDOW_SECONDS: Final = 60
MAX_WINDOW_SECONDS: Final = 1800
MAX_AFTER_SECONDS: Final = 604_800
LOST_NODE_SECONDS: Final = 300.0
"""How long an alert on ``node_lost`` fires after a node was lost."""

AlertName: TypeAlias = QueueName


class AlertOn(enum.StrEnum):
    """What an alert watches."""

    TASK_FAILED = "task_failed"
    """At least ``minimum`` tasks FAILED within ``window_seconds``."""
    FAILURE_RATE = "failure_rate"
    """Of at least ``minimum`` tasks that finished within ``window_seconds``, ``rate`` FAILED."""
    SCHEDULE_FAILED = "schedule_failed"
    """The last task of a schedule that has finished FAILED."""
    SCHEDULE_MISSED = "schedule_missed"
    """A schedule created a task ``after_seconds`` late, or has not created it yet."""
    OLDEST_WAITING = "oldest_waiting"
    """The oldest due task of a queue has been waiting for ``after_seconds``."""
    HOST_OPEN = "host_open"
    """The circuit breaker of a host is open or half-open."""
    NODE_LOST = "node_lost"
    """The lease of a node ended without a shutdown."""
    CREDENTIAL_FAILING = "credential_failing"
    """Attempts of tasks failed because of their credential: there is none, or no access token."""

    HEARTBEAT_MISSED = "heartbeat_missed"
    """A heartbeat is down: a ping was missed, or it reported a failure."""


class Threshold(msgspec.Struct, frozen=True):
    """A field of a condition: its default (``None`` if it is required), and its bounds."""

    default: float | None
    minimum: float
    maximum: float


_MINIMUM: Final = Threshold(1, 1, 1_000_000)
_WINDOW: Final = Threshold(300, MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS)


class Condition(msgspec.Struct, frozen=True):
    """The fields that belong to an ``AlertOn``.

    Attributes:
        filter: The field that names the only subject; ``None`` if there is none.
        thresholds: The thresholds by their field.
    """

    filter: str | None
    thresholds: Mapping[str, Threshold] = {}


CONDITIONS: Final[Mapping[AlertOn, Condition]] = {
    AlertOn.TASK_FAILED: Condition("queue", {"minimum": _MINIMUM, "window_seconds": _WINDOW}),
    AlertOn.FAILURE_RATE: Condition(
        "queue",
        {
            "rate": Threshold(None, 0.001, 1),
            "minimum": Threshold(20, 1, 1_000_000),
            "window_seconds": _WINDOW,
        },
    ),
    AlertOn.SCHEDULE_FAILED: Condition("schedule"),
    AlertOn.SCHEDULE_MISSED: Condition(
        "schedule", {"after_seconds": Threshold(60, 5, MAX_AFTER_SECONDS)}
    ),
    AlertOn.OLDEST_WAITING: Condition(
        "queue", {"after_seconds": Threshold(None, 1, MAX_AFTER_SECONDS)}
    ),
    AlertOn.HOST_OPEN: Condition("host"),
    AlertOn.NODE_LOST: Condition(None),
    AlertOn.CREDENTIAL_FAILING: Condition("credential", {"window_seconds": _WINDOW}),
    AlertOn.HEARTBEAT_MISSED: Condition("heartbeat"),
}
FILTERS: Final = ("queue", "schedule", "host", "credential", "heartbeat")
THRESHOLDS: Final = ("minimum", "rate", "window_seconds", "after_seconds")


class AlertDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client says about an alert.

    Attributes:
        name: Its name.
        on: What it watches.
        queue: The only queue that it watches.
        schedule: The only schedule.
        host: The only host, with its port unless that is the default.
        credential: The only credential.
        heartbeat: The only heartbeat.
        minimum: Minimum number of tasks.
        rate: Share of the tasks that FAILED, from 0 to 1.
        window_seconds: The time within which tasks are counted.
        after_seconds: The time after which a task, or a schedule, is late.
        to: Who is notified.
        every_seconds: Minimum time between two notifications that it fires.
        notify_recovery: Whether the end is notified, too.
        paused: Whether it is not evaluated.
    """

    name: str
    on: AlertOn
    queue: str | None = None
    schedule: str | None = None
    host: str | None = None
    credential: str | None = None
    heartbeat: str | None = None
    minimum: int | None = None
    rate: float | None = None
    window_seconds: float | None = None
    after_seconds: float | None = None
    to: tuple[StoredDestination, ...]
    every_seconds: float = DEFAULT_EVERY_SECONDS
    notify_recovery: bool = True
    paused: bool = False

    @property
    def condition(self) -> tuple[object, ...]:
        """What decides whether it fires."""
        return (self.on, *(getattr(self, name) for name in (*FILTERS, *THRESHOLDS)))

    @property
    def subject(self) -> str | None:
        """The only subject that it watches; ``None`` for all."""
        name = CONDITIONS[self.on].filter
        return None if name is None else getattr(self, name)

    def threshold(self, name: str) -> float:
        """Return a threshold of its condition."""
        threshold = CONDITIONS[self.on].thresholds[name]
        for value in (getattr(self, name), threshold.default):
            if value is not None:
                return float(value)
        return threshold.maximum  # of a row that no version wrote

    @property
    def hold_seconds(self) -> float:
        """How long a subject counts after it was seen: what a lost node leaves is deleted."""
        return LOST_NODE_SECONDS if self.on is AlertOn.NODE_LOST else 0.0


class Subject(msgspec.Struct, frozen=True):
    """What an alert fires for, such as a host.

    Attributes:
        name: Its name.
        detail: What is wrong, for people.
        seen_at: When that was observed last.
    """

    name: str
    detail: str = ""
    seen_at: Moment | None = None


class AlertState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of an alert, which only an evaluation changes.

    Attributes:
        is_firing: Whether its condition holds.
        since: Since when it does, or does not.
        subjects: What it fires for, at most ``MAX_SUBJECTS``.
        subject_count: Number of these, also of those beyond the maximum.
        evaluated_at: When it was evaluated last.
        notified_at: When it was last notified that it fires.
        owes_recovery: Whether the last notification says that it fires.
        unannounced: How often it began to fire since the last notification.
    """

    is_firing: bool = False
    since: dt.datetime | None = None
    subjects: tuple[Subject, ...] = ()
    subject_count: int = 0
    evaluated_at: dt.datetime | None = None
    notified_at: dt.datetime | None = None
    owes_recovery: bool = False
    unannounced: int = 0


NEW_STATE: Final = AlertState()


class StoredAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as a store keeps it.

    Attributes:
        definition: What a client said about it.
        state: Its state.
        silenced_until: Until when it does not notify.
        created_at: When it was created.
        updated_at: When a client last changed it.
        revision: A number that each evaluation that begins increments: the write of an earlier
            one is rejected.
    """

    definition: AlertDefinition
    state: AlertState = NEW_STATE
    silenced_until: dt.datetime | None = None
    created_at: dt.datetime
    updated_at: dt.datetime
    revision: int = 0


AlertChange: TypeAlias = Callable[[StoredAlert | None], AlertDefinition]
"""Returns what an alert is to be; raises to change nothing."""


def alert_after(
    definition: AlertDefinition, before: StoredAlert | None, now: dt.datetime
) -> StoredAlert:
    """Return an alert that a client created or changed; another condition begins anew."""
    if before is None:
        return StoredAlert(definition=definition, created_at=now, updated_at=now)
    is_same = definition.condition == before.definition.condition
    state = before.state if is_same and not definition.paused else NEW_STATE
    return msgspec.structs.replace(
        before,
        definition=definition,
        state=state,
        updated_at=now,
        revision=before.revision + 1,
    )


class NoticeKind(enum.StrEnum):
    """What a notification says."""

    FIRING = "firing"
    """The alert fires."""
    RECOVERED = "recovered"
    """It no longer fires."""
    FIRED = "fired"
    """It fired since the last notification, and no longer does."""
    TEST = "test"
    """A client tests the destinations."""


class AlertNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification of an alert as the API shows it.

    Attributes:
        id: Its id; later ones have greater ids.
        at: When it was stored.
        kind: What it says.
        title: Its first line.
        tasks: The ids of the tasks that deliver it, one for each destination.
    """

    id: uuid.UUID
    at: Moment
    kind: NoticeKind
    title: str
    tasks: tuple[uuid.UUID, ...] = ()


class AlertStatus(enum.StrEnum):
    """The status of an alert."""

    OK = "ok"
    """Its condition does not hold."""
    FIRING = "firing"
    """Its condition holds."""
    PAUSED = "paused"
    """It is not evaluated."""
    NEW = "new"
    """It has not been evaluated yet."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as the API shows it; the field order is the order of the JSON.

    Attributes:
        name: Its name.
        on: What it watches.
        queue: The only queue that it watches; ``None`` for all.
        schedule: The only schedule that it watches; ``None`` for all.
        host: The only host that it watches; ``None`` for all.
        credential: The only credential that it watches; ``None`` for all.
        heartbeat: The only heartbeat that it watches; ``None`` for all.
        minimum: Minimum number of tasks, if its condition has one.
        rate: Share of the tasks that FAILED, if its condition has one.
        window_seconds: The time within which tasks are counted, if its condition has one.
        after_seconds: The time after which a task or a schedule is late, if its condition has one.
        to: Who is notified. Secrets in URLs are masked.
        every_seconds: Minimum time between two notifications that it fires.
        notify_recovery: Whether the end is notified, too.
        paused: True if it is not evaluated.
        status: Whether it fires.
        since: Since when it does, or does not.
        subjects: What it fires for, at most 20.
        subject_count: Number of these, also of those beyond the maximum.
        silenced_until: Until when it does not notify; ``None`` if it does.
        evaluated_at: When it was evaluated last.
        notified_at: When it was last notified that it fires.
        created_at: When it was created.
        updated_at: When a client last changed it.
    """

    name: str
    on: AlertOn
    queue: str | None = None
    schedule: str | None = None
    host: str | None = None
    credential: str | None = None
    heartbeat: str | None = None
    minimum: int | None = None
    rate: float | None = None
    window_seconds: float | None = None
    after_seconds: float | None = None
    to: tuple[AlertDestination, ...]
    every_seconds: float
    notify_recovery: bool
    paused: bool = False
    status: AlertStatus
    since: Moment | None = None
    subjects: tuple[Subject, ...] = ()
    subject_count: int = 0
    silenced_until: Moment | None = None
    evaluated_at: Moment | None = None
    notified_at: Moment | None = None
    created_at: Moment
    updated_at: Moment


def shown_alert(alert: StoredAlert) -> Alert:
    """Return an alert as the API shows it, with the defaults of its thresholds."""
    definition, state = alert.definition, alert.state
    thresholds = {name: definition.threshold(name) for name in CONDITIONS[definition.on].thresholds}
    if "minimum" in thresholds:
        thresholds["minimum"] = int(thresholds["minimum"])
    return Alert(
        name=definition.name,
        on=definition.on,
        **{name: getattr(definition, name) for name in FILTERS},
        **thresholds,  # type: ignore[arg-type]
        to=tuple(one.shown for one in definition.to),
        every_seconds=definition.every_seconds,
        notify_recovery=definition.notify_recovery,
        paused=definition.paused,
        status=_status_of(alert),
        since=state.since,
        subjects=state.subjects,
        subject_count=state.subject_count,
        silenced_until=alert.silenced_until,
        evaluated_at=state.evaluated_at,
        notified_at=state.notified_at,
        created_at=alert.created_at,
        updated_at=alert.updated_at,
    )


def _status_of(alert: StoredAlert) -> AlertStatus:
    if alert.definition.paused:
        return AlertStatus.PAUSED
    if alert.state.evaluated_at is None:
        return AlertStatus.NEW
    return AlertStatus.FIRING if alert.state.is_firing else AlertStatus.OK


SilenceSeconds: TypeAlias = Annotated[float, Meta(gt=0, le=31_622_400)]
