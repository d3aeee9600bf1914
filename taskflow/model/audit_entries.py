"""The entries of the audit log for each change: pure functions that the stores call."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.filter import TaskFilter
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.schedule import ScheduleDefinition, StoredSchedule
from taskflow.model.sealed_credential import SealedCredential


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

    A change of the template of its tasks is recorded without the template.
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
    """Return the entry for a credential that is created or replaced, without its values."""
    entry = entry_of(Action.CREDENTIAL_PUT, by, credential.name)
    detail = {"kind": credential.kind, "hosts": list(credential.hosts)}
    return entry and msgspec.structs.replace(entry, detail=detail)


def run_entry(by: Actor | None, name: str, task_id: uuid.UUID) -> NewEntry | None:
    """Return the entry for a task of a schedule that is created on request."""
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
    """Return whether two JSON documents are equal, whatever their format."""
    if bytes(one) == bytes(other):
        return True
    try:
        is_same: bool = msgspec.json.decode(one) == msgspec.json.decode(other)
    except (ValueError, RecursionError):
        return False
    return is_same
