"""The audit log: who did what to what, and when."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model.filter import TaskFilter
from taskflow.model.masking import Masking
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.schedule import ScheduleDefinition, StoredSchedule
from taskflow.model.sealed_credential import SealedCredential
from taskflow.model.task import Moment


class TargetKind(enum.StrEnum):
    """The kind of what an action is done to."""

    TASK = "task"
    """One task: the target is its id."""
    TASKS = "tasks"
    """All tasks that match a filter, which is in the detail."""
    QUEUE = "queue"
    """A queue: the target is its name."""
    SCHEDULE = "schedule"
    """A schedule: the target is its name."""
    CREDENTIAL = "credential"
    """A credential: the target is its name."""
    SESSION = "session"
    """A session of the dashboard."""
    KEY = "key"
    """An API key."""


class Action(enum.StrEnum):
    """What was done. The part before the dot is the kind of the target."""

    TASK_CANCEL = "task.cancel"
    """A task was canceled."""
    TASK_RETRY = "task.retry"
    """A task was retried."""
    TASK_DELETE = "task.delete"
    """A task was deleted."""
    TASKS_CANCEL = "tasks.cancel"
    """All tasks that match a filter were canceled; ``count`` has their number."""
    TASKS_RETRY = "tasks.retry"
    """All tasks that match a filter were retried."""
    TASKS_DELETE = "tasks.delete"
    """All tasks that match a filter were deleted."""
    QUEUE_PURGE = "queue.purge"
    """The pending tasks of a queue were canceled; ``count`` has their number."""
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
    """A task of a schedule was created by hand; the detail has its id."""
    SCHEDULE_DELETE = "schedule.delete"
    """A schedule was deleted."""
    CREDENTIAL_PUT = "credential.put"
    """A credential was created or replaced."""
    CREDENTIAL_DELETE = "credential.delete"
    """A credential was deleted."""
    SESSION_SIGN_IN = "session.sign_in"
    """Somebody signed in to the dashboard."""
    SESSION_SIGN_OUT = "session.sign_out"
    """Somebody signed out."""
    SESSION_REFUSED = "session.refused"
    """Sign-ins with an unknown key; ``count`` has their number."""
    KEY_REFUSED = "key.refused"
    """Requests with an unknown key; ``count`` has their number."""

    @property
    def target_kind(self) -> TargetKind:
        """The kind of the target."""
        return TargetKind(self.partition(".")[0])


def actions_on(kind: TargetKind) -> tuple[Action, ...]:
    """Return the actions whose target is of a kind."""
    return tuple(action for action in Action if action.target_kind is kind)


class Actor(msgspec.Struct, frozen=True):
    """Who does something.

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
        action: What is done.
        actor: Who does it.
        target: To what: an id or a name.
        detail: What belongs to the action: never bodies, headers or credentials. The store masks
            credentials in URLs.
        count: How often it is done.
        batch: Entries of the same batch become one, and their counts are added.
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
    """An entry of the audit log; the field order is the order of the JSON.

    Attributes:
        id: The id of the entry; later entries have greater ids.
        at: When it was done.
        actor: The name of the API key; ``None`` if none was required, or it was unknown.
        session: The id of the session of the dashboard; ``None`` for requests with a key.
        address: The address of the client, which may be a proxy; ``None`` for a Unix socket. For
            refused keys, the network of an IPv6 address, and ``None`` for all other addresses.
        action: What was done.
        target_kind: The kind of what it was done to.
        target: Its id or name; ``None`` if the kind has none.
        count: The number of tasks, for ``tasks.*`` and ``queue.purge``; the number of requests, for
            ``*.refused``; otherwise 1.
        detail: What belongs to the action: a ``filter``, the ``changes`` of settings with their
            values ``before`` and ``after``, the ``task`` that a schedule created. Bodies, headers
            and credentials are never in it.
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
        after: At this time or later.
        before: Before this time.
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


def entry_of(action: Action, by: Actor | None, target: str | None = None) -> NewEntry | None:
    """Return the entry for an action without detail; ``None`` if nobody is to be recorded."""
    return None if by is None else NewEntry(action=action, actor=by, target=target)


def queue_entry(
    by: Actor | None,
    name: str,
    before: QueueSettings,
    after: QueueSettings,
    *,
    is_new: bool = False,
) -> NewEntry | None:
    """Return the entry for a change of the settings of a queue; ``None`` if nothing changed."""
    changes = _changes(_fields_of(before), _fields_of(after))
    if (proxies := changes.get("egress_proxy")) is not None:  # a new password is a change, too
        changes["egress_proxy"] = {when: masked_proxy(url) for when, url in proxies.items()}
    if by is None or not (changes or is_new):
        return None
    pause = Action.QUEUE_PAUSE if after.paused else Action.QUEUE_RESUME
    return _change_entry(by, name, changes, pause, Action.QUEUE_CHANGE)


def schedule_entry(
    by: Actor | None, before: StoredSchedule | None, after: StoredSchedule
) -> NewEntry | None:
    """Return the entry for a change of a schedule; ``None`` if nothing changed.

    That the template of its tasks changed is recorded without the template.
    """
    old, new = None if before is None else before.definition, after.definition
    changes = _changes({} if old is None else _fields_of_schedule(old), _fields_of_schedule(new))
    if old is not None and not _is_same_json(old.task, new.task):
        changes["task"] = {}
    if by is None or not changes:
        return None
    pause = Action.SCHEDULE_PAUSE if new.paused else Action.SCHEDULE_RESUME
    return _change_entry(by, new.name, changes, pause, Action.SCHEDULE_PUT)


def credential_entry(by: Actor | None, credential: SealedCredential) -> NewEntry | None:
    """Return the entry for a credential that is created or replaced: never its values."""
    entry = entry_of(Action.CREDENTIAL_PUT, by, credential.name)
    detail = {"kind": credential.kind, "hosts": list(credential.hosts)}
    return entry and msgspec.structs.replace(entry, detail=detail)


def run_entry(by: Actor | None, name: str, task_id: uuid.UUID) -> NewEntry | None:
    """Return the entry for a task that a schedule creates by hand."""
    entry = entry_of(Action.SCHEDULE_RUN, by, name)
    return entry and msgspec.structs.replace(entry, detail={"task": str(task_id)})


def filter_detail(wanted: TaskFilter) -> dict[str, Any]:
    """Return the detail of an action on all tasks that match a filter."""
    fields = msgspec.to_builtins(msgspec.structs.asdict(wanted))
    given = {name: value for name, value in fields.items() if value not in (None, ())}
    if "tags" in given:
        given["tags"] = dict(given["tags"])
    return {"filter": given}


def _change_entry(
    actor: Actor, name: str, changes: dict[str, Any], pause: Action, change: Action
) -> NewEntry:
    if changes.keys() == {"paused"}:
        return NewEntry(action=pause, actor=actor, target=name)
    return NewEntry(action=change, actor=actor, target=name, detail={"changes": changes})


def _fields_of(settings: QueueSettings) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(settings))
    return fields


def _fields_of_schedule(definition: ScheduleDefinition) -> dict[str, Any]:
    timing = msgspec.structs.asdict(definition.timing)
    flags = {name: getattr(definition, name) for name in ("missed", "conditional", "paused")}
    fields: dict[str, Any] = msgspec.to_builtins({**timing, **flags})
    return fields


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"before": before.get(name), "after": value}
        for name, value in after.items()
        if before.get(name) != value
    }


def _is_same_json(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    """Return whether two documents say the same: a change of other fields may reformat one."""
    if bytes(one) == bytes(other):
        return True
    try:
        is_same: bool = msgspec.json.decode(one) == msgspec.json.decode(other)
    except (ValueError, RecursionError):
        return False
    return is_same


def _masked(value: Any, masking: Masking) -> Any:
    match value:
        case str():
            return masking.url(value)
        case Mapping():
            return {name: _masked(one, masking) for name, one in value.items()}
        case list() | tuple():
            return [_masked(one, masking) for one in value]
    return value
