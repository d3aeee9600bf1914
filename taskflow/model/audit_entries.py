"""The entries of the audit log for each change: pure functions that the stores call."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from taskflow.model.alerts import StoredAlert
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.filter import TaskFilter
from taskflow.model.heartbeat_monitors import MonitorDefinition
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.schedule import ScheduleDefinition, StoredSchedule
from taskflow.model.sealed_credential import CredentialSummary, SealedCredential
from taskflow.model.task import NewTask
from taskflow.model.topics import StoredEndpoint, Topic

SHOWN_TASK_FIELDS: Final = frozenset(("queue", "credential", "sign", "host", "callback_host"))
"""Fields of the task of a schedule that are recorded with their values: none can have a secret."""


def entry_of(action: Action, by: Actor | None, target: str | None = None) -> NewEntry | None:
    """Return the entry for an action without detail; ``None`` without an actor."""
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

    Of its task, the fields that changed are recorded, and the values of ``SHOWN_TASK_FIELDS``.
    """
    old, new = None if before is None else before.definition, after.definition
    changes = _changes({} if old is None else _fields_of_schedule(old), _fields_of_schedule(new))
    if old is None or not _is_same_json(old.task, new.task):
        template = None if old is None else old.template
        changes["task"] = _task_changes(template, new.template)
    if by is None or not changes:
        return None
    pause = Action.SCHEDULE_PAUSE if new.paused else Action.SCHEDULE_RESUME
    return _change_entry(by, new.name, changes, pause, Action.SCHEDULE_PUT)


def heartbeat_entry(
    by: Actor | None, before: MonitorDefinition | None, after: MonitorDefinition
) -> NewEntry | None:
    """Return the entry for a change of a heartbeat; ``None`` if nothing changed."""
    changes = _changes(
        {} if before is None else _fields_of_heartbeat(before), _fields_of_heartbeat(after)
    )
    if by is None or not changes:
        return None
    pause = Action.HEARTBEAT_PAUSE if after.paused else Action.HEARTBEAT_RESUME
    return _change_entry(by, after.name, changes, pause, Action.HEARTBEAT_PUT)


def put_credential_entry(
    by: Actor | None,
    credential: SealedCredential,
    before: SealedCredential | CredentialSummary | None,
) -> NewEntry | None:
    """Return the entry for a credential that is created or replaced, without its values."""
    entry = entry_of(Action.CREDENTIAL_PUT, by, credential.name)
    detail = {**_place_of(credential), "before": before and _place_of(before)}
    return entry and msgspec.structs.replace(entry, detail=detail)


def delete_credential_entry(by: Actor | None, deleted: CredentialSummary) -> NewEntry | None:
    """Return the entry for a credential that is deleted, with what still used it."""
    entry = entry_of(Action.CREDENTIAL_DELETE, by, deleted.name)
    detail = {**_place_of(deleted), "used_by": msgspec.to_builtins(deleted.used_by)}
    return entry and msgspec.structs.replace(entry, detail=detail)


def run_entry(by: Actor | None, name: str, task_id: uuid.UUID) -> NewEntry | None:
    """Return the entry for a task of a schedule that is created on request."""
    entry = entry_of(Action.SCHEDULE_RUN, by, name)
    return entry and msgspec.structs.replace(entry, detail={"task": str(task_id)})


def topic_entry(by: Actor | None, before: Topic | None, after: Topic) -> NewEntry | None:
    """Return the entry for a change of a topic; ``None`` if nothing changed."""
    changes = _changes({"queue": before.queue} if before else {}, {"queue": after.queue})
    if by is None or not changes:
        return None
    detail = {"changes": changes}
    return NewEntry(action=Action.TOPIC_PUT, actor=by, target=after.name, detail=detail)


def endpoint_entry(
    by: Actor | None, before: StoredEndpoint | None, after: StoredEndpoint
) -> NewEntry | None:
    """Return the entry for a change of an endpoint, without its URL, headers and secret."""
    if by is None:
        return None
    old = {} if before is None else _fields_of_endpoint(before)
    detail = {"changes": _changes(old, _fields_of_endpoint(after))}
    target = after.definition.full_name
    return NewEntry(action=Action.ENDPOINT_PUT, actor=by, target=target, detail=detail)


def alert_entry(
    by: Actor | None, before: StoredAlert | None, after: StoredAlert
) -> NewEntry | None:
    """Return the entry for a change of an alert, with masked URLs; ``None`` if nothing changed."""
    changes = _changes({} if before is None else _fields_of_alert(before), _fields_of_alert(after))
    if by is None or not changes:
        return None
    detail, target = {"changes": changes}, after.definition.name
    return NewEntry(action=Action.ALERT_PUT, actor=by, target=target, detail=detail)


def silence_entry(by: Actor | None, name: str, until: dt.datetime | None) -> NewEntry | None:
    """Return the entry for an alert that is silenced, or no longer is."""
    entry = entry_of(Action.ALERT_SILENCE, by, name)
    detail = {"until": None if until is None else until.isoformat()}
    return entry and msgspec.structs.replace(entry, detail=detail)


def rotation_entry(user: str, number: int, withdrawn: Sequence[int]) -> NewEntry:
    """Return the entry for a new generation of the keys that sign ID tokens.

    Args:
        user: The user of the machine where the command was run.
        number: The number of the generation.
        withdrawn: The numbers of the generations that are no longer published.
    """
    detail = {"user": user, "withdrawn": list(withdrawn)}
    action = Action.SIGNING_KEYS_ROTATE
    return NewEntry(action=action, actor=Actor(), target=str(number), detail=detail)


def filter_detail(wanted: TaskFilter) -> dict[str, Any]:
    """Return the detail of an action on all tasks that match a filter."""
    fields = msgspec.to_builtins(msgspec.structs.asdict(wanted))
    given = {name: value for name, value in fields.items() if value not in (None, ())}
    if "tags" in given:
        given["tags"] = dict(given["tags"])
    return {"filter": given}


def _place_of(credential: SealedCredential | CredentialSummary) -> dict[str, Any]:
    return {"kind": credential.kind, "hosts": list(credential.hosts)}


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
    flags = {
        name: getattr(definition, name) for name in ("missed", "overlap", "conditional", "paused")
    }
    fields: dict[str, Any] = msgspec.to_builtins({**timing, **flags})
    return fields


def _fields_of_heartbeat(definition: MonitorDefinition) -> dict[str, Any]:
    fields = msgspec.structs.asdict(definition)
    timing = msgspec.structs.asdict(fields.pop("timing"))
    del fields["name"], timing["start_at"]
    return {**timing, **fields}


def _fields_of_endpoint(endpoint: StoredEndpoint) -> dict[str, Any]:
    definition = endpoint.definition
    return {
        "event_types": list(definition.event_types),
        "queue": definition.queue,
        "host": definition.template.authority or None,
        "credential": definition.template.options.credential,
        "enabled": definition.is_enabled,
    }


def _fields_of_alert(alert: StoredAlert) -> dict[str, Any]:
    definition = alert.definition
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(definition))
    fields["to"] = msgspec.to_builtins([one.shown for one in definition.to])
    del fields["name"]
    return fields


def _task_changes(old: NewTask | None, new: NewTask) -> dict[str, Any]:
    """Return the fields of a template that changed; of a new template, only those with values."""
    changes = _changes({} if old is None else _fields_of_task(old), _fields_of_task(new))
    shown = {name: change for name, change in changes.items() if name in SHOWN_TASK_FIELDS}
    if old is None:
        return shown
    if _is_same_json(old.payload, new.payload):
        changes.pop("payload", None)
    return {name: shown.get(name, {}) for name in changes}


def _fields_of_task(template: NewTask) -> dict[str, Any]:
    fields = {**msgspec.structs.asdict(template), **msgspec.structs.asdict(template.options)}
    del fields["options"]
    fields["host"] = fields.pop("authority") or None
    fields["callback_host"] = fields.pop("callback_authority")
    return fields


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"before": before.get(name), "after": value}
        for name, value in after.items()
        if before.get(name) != value
    }


def _is_same_json(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    """Return whether two JSON documents are equal, whatever their format."""
    if bytes(one) == bytes(other):
        return True
    try:
        is_same: bool = msgspec.json.decode(one) == msgspec.json.decode(other)
    except (ValueError, RecursionError):
        return False
    return is_same
