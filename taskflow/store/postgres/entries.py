"""New tasks as parameters of the statements that store them."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.graphs import NO_LINKS, Links, is_graph, links_of
from taskflow.model.options import NO_OPTIONS, TaskOptions
from taskflow.model.order_keys import OnFailure
from taskflow.model.task import IdempotencyKey, NewTask, TagValue, Task
from taskflow.store.postgres.rows import Row


class Entry(msgspec.Struct, frozen=True):
    """A new task, and the request that it belongs to.

    Attributes:
        task: The task.
        extra: JSON of the fields that hardly any task has, and of the request's key, if any.
        links: Its parents.
    """

    task: NewTask
    extra: str | None = None
    links: Links = NO_LINKS


class _Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fields that hardly any task has, as the statement reads them."""

    run_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    retention_seconds: float | None = None
    tags: dict[str, TagValue] | None = None
    options: TaskOptions | None = None
    order_key: str | None = None
    on_failure: OnFailure | None = None
    group: uuid.UUID | None = None
    near: Mapping[str, int] | None = None
    after: Sequence[uuid.UUID] | None = None
    parents_left: int | None = None
    has_children: bool | None = None
    key: str | None = None
    fingerprint: str | None = None
    key_seconds: float | None = None
    request: int | None = None


_NO_EXTRA: Final = _Extra()


def entry_of(
    task: NewTask,
    key: IdempotencyKey | None,
    request: int,
    *,
    is_grouped: bool = False,
    links: Links = NO_LINKS,
    has_children: bool = False,
) -> Entry:
    """Return the entry of a new task.

    Args:
        task: The task.
        key: The key of its request, if it has one.
        request: The number of the request; later requests have greater numbers.
        is_grouped: Whether a task of the request joins a group.
        links: Its parents.
        has_children: Whether it is a parent of other tasks of the request.
    """
    key_text, fingerprint, key_seconds = None, None, None
    if key:
        key_text, fingerprint, key_seconds = key.text, key.fingerprint.hex(), key.seconds
    extra = _Extra(
        run_at=task.run_at,
        expires_at=task.expires_at,
        retention_seconds=task.retention_seconds,
        tags=task.tags or None,
        options=None if task.options == NO_OPTIONS else task.options,
        order_key=task.order_key,
        on_failure=OnFailure.HOLD if task.on_failure is OnFailure.HOLD else None,
        group=task.group,
        near=links.near or None,
        after=links.ids or None,
        parents_left=links.count or None,
        has_children=has_children or None,
        key=key_text,
        fingerprint=fingerprint,
        key_seconds=key_seconds,
        request=request if key or is_grouped else None,
    )
    text = None if extra == _NO_EXTRA else msgspec.json.encode(extra).decode()
    return Entry(task, text, links)


def size_of(entry: Entry) -> int:
    """Return the approximate size of an entry in a statement, in bytes."""
    return len(bytes(entry.task.payload)) + len(entry.extra or "")


def parameters_of(entries: Sequence[Entry], claimed: Collection[int]) -> dict[str, object]:
    """Return the arrays of the statements ``add`` and, but for ``extras``, ``add_plain``.

    Args:
        entries: The new tasks.
        claimed: Indexes of the tasks to claim as they are stored.
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
        "claimed": [index in claimed for index in range(len(tasks))],
    }


def entries_of(
    tasks: Sequence[NewTask], key: IdempotencyKey | None, request: int
) -> Iterator[Entry]:
    """Yield the entries of a request."""
    is_grouped = any(task.group for task in tasks)
    links: Iterator[tuple[Links, bool]] = itertools.repeat((NO_LINKS, False))
    if is_graph(tasks):
        links = links_of(tasks)
    for task, (parents, has_children) in zip(tasks, links, strict=False):
        yield entry_of(
            task, key, request, is_grouped=is_grouped, links=parents, has_children=has_children
        )


def stored_tasks(entries: Sequence[Entry], rows: Sequence[Row]) -> Iterator[tuple[int, Task]]:
    """Yield the tasks that the statement ``add`` stored, with the indexes of their entries."""
    ids = {row[0]: row[1] for row in rows}
    for index, task_id, _, run_at, created_at, _ in rows:
        entry = entries[index]
        parents = entry.links.parents(index, ids)
        task = entry.task.as_task(task_id, created_at=created_at, run_at=run_at, after=parents)
        yield index, task
