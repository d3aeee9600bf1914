"""New tasks on their way into the database: what the statement that stores them is given."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import msgspec

from taskflow.model.options import NO_OPTIONS, TaskOptions
from taskflow.model.task import IdempotencyKey, NewTask, TagValue


class Entry(msgspec.Struct, frozen=True):
    """A new task, and the request that it is of.

    Attributes:
        task: The task.
        extra: What hardly any task has, and the key of the request: JSON, if there is any.
    """

    task: NewTask
    extra: str | None = None


class _Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """What hardly any task has, as the statement reads it."""

    run_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    retention_seconds: float | None = None
    tags: dict[str, TagValue] | None = None
    options: TaskOptions | None = None
    key: str | None = None
    fingerprint: str | None = None
    key_seconds: float | None = None
    request: int | None = None


_NOTHING = _Extra()


def entry_of(task: NewTask, key: IdempotencyKey | None, request: int) -> Entry:
    """A new task of a request.

    Args:
        task: The task.
        key: That of the request, if it has one.
        request: Its number, the same for all tasks of a request; earlier ones have lower ones.
    """
    text, fingerprint, key_seconds = None, None, None
    if key:
        text, fingerprint, key_seconds = key.text, key.fingerprint.hex(), key.seconds
    extra = _Extra(
        run_at=task.run_at,
        expires_at=task.expires_at,
        retention_seconds=task.retention_seconds,
        tags=task.tags or None,
        options=None if task.options == NO_OPTIONS else task.options,
        key=text,
        fingerprint=fingerprint,
        key_seconds=key_seconds,
        request=request if key else None,
    )
    return Entry(task, None if extra == _NOTHING else msgspec.json.encode(extra).decode())


def size_of(entry: Entry) -> int:
    """About how long it is on its way, in bytes."""
    return len(bytes(entry.task.payload)) + len(entry.extra or "")


def parameters_of(entries: Sequence[Entry], claimed: Collection[int]) -> dict[str, object]:
    """The arrays of the statement ``add``.

    Args:
        entries: What is to be stored.
        claimed: The places of those that are to be claimed as they are stored.
    """
    tasks = [entry.task for entry in entries]
    return {
        "payloads": [bytes(task.payload).decode() for task in tasks],
        "queues": [task.queue for task in tasks],
        "priorities": [task.priority for task in tasks],
        "delays": [float(task.delay_seconds) for task in tasks],
        "attempts": [task.max_attempts for task in tasks],
        "hosts": [task.host for task in tasks],
        "authorities": [task.authority for task in tasks],
        "extras": [entry.extra for entry in entries],
        "claimed": [place in claimed for place in range(len(tasks))],
    }
