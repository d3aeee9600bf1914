"""The audit log: who did what to what, and when."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model.masking import Masking
from taskflow.model.task import Moment


class TargetKind(enum.StrEnum):
    """The kind of the target of an action."""

    TASK = "task"
    """One task: the target is its id."""
    TASKS = "tasks"
    """All tasks that match the filter in the detail."""
    QUEUE = "queue"
    """A queue: the target is its name."""
    SCHEDULE = "schedule"
    """A schedule: the target is its name."""
    HEARTBEAT = "heartbeat"
    """A heartbeat: the target is its name."""
    CREDENTIAL = "credential"
    """A credential: the target is its name."""
    SIGNING_KEYS = "signing_keys"
    """The keys that sign ID tokens: the target is the number of their generation."""
    GROUP = "group"
    """A group: the target is its id."""
    TOPIC = "topic"
    """A topic: the target is its name."""
    ENDPOINT = "endpoint"
    """An endpoint of a topic: the target is the name of the topic, a slash and its name."""
    VIEW = "view"
    """A saved view of the dashboard: the target is its name."""
    ALERT = "alert"
    """An alert: the target is its name."""
    SESSION = "session"
    """A session of the dashboard."""
    KEY = "key"
    """An API key."""


class Action(enum.StrEnum):
    """An action. The part before the dot is the kind of its target."""

    TASK_CANCEL = "task.cancel"
    """A task was canceled."""
    TASK_RETRY = "task.retry"
    """A task was retried."""
    TASK_SKIP = "task.skip"
    """A FAILED task was skipped, so that it no longer holds its order key."""
    TASK_DELETE = "task.delete"
    """A task was deleted."""
    TASKS_CANCEL = "tasks.cancel"
    """All tasks that match a filter were canceled; ``count`` is their number."""
    TASKS_RETRY = "tasks.retry"
    """All tasks that match a filter were retried."""
    TASKS_DELETE = "tasks.delete"
    """All tasks that match a filter were deleted."""
    QUEUE_PURGE = "queue.purge"
    """The pending tasks of a queue were canceled; ``count`` is their number."""
    QUEUE_PAUSE = "queue.pause"
    """A queue was paused."""
    QUEUE_RESUME = "queue.resume"
    """A queue was resumed."""
    QUEUE_CHANGE = "queue.change"
    """Limits or other settings of a queue were changed."""
    SCHEDULE_PUT = "schedule.put"
    """A schedule was created or changed."""
    SCHEDULE_PAUSE = "schedule.pause"
    """A schedule was paused."""
    SCHEDULE_RESUME = "schedule.resume"
    """A schedule was resumed."""
    SCHEDULE_RUN = "schedule.run"
    """A task of a schedule was created on request; the detail has its id."""
    SCHEDULE_DELETE = "schedule.delete"
    """A schedule was deleted."""
    HEARTBEAT_PUT = "heartbeat.put"
    """A heartbeat was created or changed."""
    HEARTBEAT_PAUSE = "heartbeat.pause"
    """A heartbeat was paused."""
    HEARTBEAT_RESUME = "heartbeat.resume"
    """A heartbeat was resumed."""
    HEARTBEAT_ROTATE = "heartbeat.rotate"
    """The ping URL of a heartbeat was replaced."""
    HEARTBEAT_DELETE = "heartbeat.delete"
    """A heartbeat was deleted."""
    CREDENTIAL_PUT = "credential.put"
    """A credential was created or replaced."""
    CREDENTIAL_DELETE = "credential.delete"
    """A credential was deleted."""
    SIGNING_KEYS_ROTATE = "signing_keys.rotate"
    """A new generation of keys was made by ``taskflow key rotate``."""
    GROUP_CLOSE = "group.close"
    """A group was closed."""
    GROUP_CANCEL = "group.cancel"
    """A group and its open tasks were canceled."""
    GROUP_RETRY = "group.retry"
    """The FAILED tasks of a group were retried; ``count`` is their number."""
    TOPIC_PUT = "topic.put"
    """A topic was created or changed."""
    TOPIC_DELETE = "topic.delete"
    """A topic and its endpoints were deleted."""
    ENDPOINT_PUT = "endpoint.put"
    """An endpoint was created or changed."""
    ENDPOINT_ROTATE = "endpoint.rotate"
    """The signing secret of an endpoint was rotated."""
    ENDPOINT_RECOVER = "endpoint.recover"
    """FAILED deliveries of an endpoint were sent again; ``count`` is their number."""
    ENDPOINT_DELETE = "endpoint.delete"
    """An endpoint was deleted."""
    VIEW_PUT = "view.put"
    """A view of the dashboard was saved."""
    VIEW_DELETE = "view.delete"
    """A saved view of the dashboard was deleted."""
    ALERT_PUT = "alert.put"
    """An alert was created or changed."""
    ALERT_SILENCE = "alert.silence"
    """An alert was silenced until a time, or no longer is."""
    ALERT_TEST = "alert.test"
    """A test was sent to the destinations of an alert."""
    ALERT_DELETE = "alert.delete"
    """An alert was deleted."""
    SESSION_SIGN_IN = "session.sign_in"
    """A user signed in to the dashboard."""
    SESSION_SIGN_OUT = "session.sign_out"
    """A user signed out of the dashboard."""
    SESSION_REJECTED = "session.rejected"
    """Sign-ins with an unknown key were rejected; ``count`` is their number."""
    KEY_REJECTED = "key.rejected"
    """Requests with an unknown key were rejected; ``count`` is their number."""

    @property
    def target_kind(self) -> TargetKind:
        """The kind of the target."""
        return TargetKind(self.partition(".")[0])


def actions_on(kind: TargetKind) -> tuple[Action, ...]:
    """Return the actions whose target is of a kind."""
    return tuple(action for action in Action if action.target_kind is kind)


class Actor(msgspec.Struct, frozen=True):
    """The caller of an action.

    Attributes:
        name: The name of the API key; ``None`` if none is required, or it is unknown.
        session: The id of the session of the dashboard.
        address: The address of the client; ``None`` for a Unix socket.
    """

    name: str | None = None
    session: str | None = None
    address: str | None = None


class NewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry to record.

    Attributes:
        action: The action.
        actor: Who did it.
        target: The id or name of the target, if there is one.
        detail: Details of the action, never bodies, headers or credentials. The store masks
            credentials in URLs.
        count: The number of tasks or requests.
        batch: Entries with the same batch become one, and their counts are added.
    """

    action: Action
    actor: Actor
    target: str | None = None
    detail: Mapping[str, Any] = {}
    count: int = 1
    batch: uuid.UUID | None = None

    def counted(self, count: int) -> NewEntry:
        """Return the same entry for this number of tasks."""
        return msgspec.structs.replace(self, count=count)

    def masked(self, masking: Masking) -> NewEntry:
        """Return the same entry, with the credentials in URLs in its detail masked."""
        return msgspec.structs.replace(self, detail=_masked(self.detail, masking))


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the audit log.

    Attributes:
        id: The id of the entry; later entries have greater ids.
        at: The time of the action.
        actor: The name of the API key; ``None`` if none was required, or if it was unknown.
        session: The id of the session of the dashboard; ``None`` for requests with a key.
        address: The address of the client, which may be a proxy; ``None`` for a Unix socket. For
            rejected keys, the network of an IPv6 address, and ``None`` for addresses beyond the
            maximum number.
        action: The action.
        target_kind: The kind of the target.
        target: Its id or name; ``None`` if the kind has none.
        count: The number of tasks, for ``tasks.*`` and ``queue.purge``; the number of requests, for
            ``*.rejected``; otherwise 1.
        detail: Details of the action: a ``filter``; the ``changes`` of settings with their values
            ``before`` and ``after``, which are left out for most fields of the task of a schedule;
            the ``task`` that a schedule created; or the ``kind`` and ``hosts`` of a credential,
            with those ``before``, or what a deleted credential was ``used_by``; or the generations
            of keys that were ``withdrawn``, and the ``user`` of the machine. Never bodies, headers
            or values of credentials.
    """

    id: uuid.UUID
    at: Moment
    actor: str | None
    session: str | None
    address: str | None
    action: Action
    target_kind: TargetKind
    target: str | None
    count: int
    detail: dict[str, Any]


class AuditFilter(msgspec.Struct, frozen=True):
    """A filter for entries: all given conditions must match.

    Attributes:
        actor: The name of the API key.
        action: The action.
        target_kind: The kind of the target.
        target: The id or name of the target.
        after: The earliest time.
        before: The time before which the action was done.
    """

    actor: str | None = None
    action: Action | None = None
    target_kind: TargetKind | None = None
    target: str | None = None
    after: dt.datetime | None = None
    before: dt.datetime | None = None

    @property
    def actions(self) -> tuple[Action, ...] | None:
        """The actions that match; ``None`` for all."""
        if self.target_kind is None:
            return None if self.action is None else (self.action,)
        return tuple(one for one in actions_on(self.target_kind) if self.action in (None, one))

    def accepts(self, entry: AuditEntry) -> bool:
        """Return whether an entry matches."""
        actions = self.actions
        return (
            self.actor in (None, entry.actor)
            and (actions is None or entry.action in actions)
            and self.target in (None, entry.target)
            and (self.after is None or entry.at >= self.after)
            and (self.before is None or entry.at < self.before)
        )


NO_AUDIT_FILTER: Final = AuditFilter()


def _masked(value: Any, masking: Masking) -> Any:
    match value:
        case str():
            return masking.url(value)
        case Mapping():
            return {name: _masked(one, masking) for name, one in value.items()}
        case list() | tuple():
            return [_masked(one, masking) for one in value]
    return value
