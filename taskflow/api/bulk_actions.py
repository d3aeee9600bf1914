"""Actions on all tasks that match a filter: cancel, retry, delete."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import trio
from quart import Response
from werkzeug.routing import BaseConverter

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_json
from taskflow.api.responses import as_json
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.audit_entries import filter_detail
from taskflow.model.errors import PartlyDone, StoreUnavailable, TooManySearches
from taskflow.model.filter import TaskFilter
from taskflow.model.lifecycle import Move, sources_of
from taskflow.model.task import DEFAULT_QUEUE, TaskStatus
from taskflow.schema.filters import BulkRequest, BulkSelection, bulk_selection_of
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.base.store import TaskStore

BATCH: Final = 500
# After that a request returns how far it came, and the same request again does the rest.
MAX_SECONDS: Final = 10.0


class _MoveMany(Protocol):
    def __call__(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None
    ) -> Awaitable[Collection[uuid.UUID]]: ...


class NotABulkAction(BaseConverter):
    """A part of a path, such as an id, that is not the name of a bulk operation (``POST`` only)."""

    regex = "(?!(?:batch|cancel|retry|delete)$)[^/]+"
    part_isolating = True


class BulkResult(msgspec.Struct, frozen=True):
    """The result of a bulk action.

    Attributes:
        count: The number of tasks that it changed or, with ``dry_run``, would change.
        complete: Whether these are all. If not, the same request again does the rest; with
            ``dry_run`` the count is only a lower bound.
        dry_run: Whether the tasks were only counted.
    """

    count: int
    complete: bool
    dry_run: bool


class BulkAction(NamedTuple):
    """A bulk action: the statuses that it applies to, the function of the store, and its name."""

    statuses: tuple[TaskStatus, ...]
    move: _MoveMany
    action: Action


BULK_RESULT: Final = RouteResponse(
    "The number of tasks.", BulkResult, BulkResult(1250, complete=True, dry_run=False)
)
_BULK: Final[Mapping[str, Any]] = {
    "group": "tasks",
    "responses": (BULK_RESULT,),
    "body": BulkRequest,
    "body_examples": {
        "some": {"queue": DEFAULT_QUEUE, "host": "example.com", "dry_run": True},
        "all": {"all": True},
    },
    "note": "Skips tasks that change their status meanwhile, and tasks that are submitted later. "
    "After 10 seconds the response says how many tasks were changed; the same request again does "
    "the rest. With `dry_run` the tasks are only counted.",
}


@Route("POST", "/tasks/cancel", **_BULK)
async def cancel_tasks(services: Services) -> Response:
    """Cancel many tasks.

    All tasks that match and are PENDING or RUNNING.
    """
    return await _bulk(services, "cancel")


@Route("POST", "/tasks/retry", **_BULK)
async def retry_tasks(services: Services) -> Response:
    """Retry many tasks.

    All tasks that match and are FAILED or CANCELED, except those whose unique key another task has.
    """
    return await _bulk(services, "retry")


@Route("POST", "/tasks/delete", **_BULK)
async def delete_tasks(services: Services) -> Response:
    """Delete many tasks.

    All tasks that match and are finished, with their attempts.
    """
    return await _bulk(services, "delete")


async def _bulk(services: Services, name: str) -> Response:
    action = bulk_actions_of(services.store)[name]
    return as_json(
        await run_bulk_action(
            services.store, action, bulk_selection_of(await read_json()), actor_of_request()
        )
    )


def bulk_actions_of(store: TaskStore) -> Mapping[str, BulkAction]:
    """Return the bulk actions by name."""
    ends = tuple(status for status in TaskStatus if status.is_final)
    return {
        "cancel": BulkAction(sources_of(Move.CANCEL), store.cancel_many, Action.TASKS_CANCEL),
        "retry": BulkAction(sources_of(Move.MANUAL_RETRY), store.retry_many, Action.TASKS_RETRY),
        "delete": BulkAction(ends, store.delete_many, Action.TASKS_DELETE),
    }


async def run_bulk_action(
    store: TaskStore, action: BulkAction, selection: BulkSelection, by: Actor
) -> BulkResult:
    """Apply a bulk action to the tasks that exist now, batch by batch.

    All batches have one entry in the audit log, which counts the tasks.

    Raises:
        StoreUnavailable: The store is unavailable, and nothing was done.
        TooManySearches: Too many searches are running, and nothing was done.
        PartlyDone: The store became unavailable after the first batches.
    """
    deadline = trio.current_time() + MAX_SECONDS
    entry = _entry_of(action, selection, by)
    with store_timeout():
        newest = (await store.page(limit=1, without=LARGE_FIELDS)).tasks
    count = 0
    try:
        for status in action.statuses if newest else ():
            if selection.filter.statuses and status not in selection.filter.statuses:
                continue
            # One status at a time: then its index finds them, however few they are.
            wanted = msgspec.structs.replace(selection.filter, statuses=(status,))
            before: uuid.UUID | None = _after(newest[0].id)
            while before is not None:
                if trio.current_time() >= deadline:
                    return BulkResult(count, complete=False, dry_run=selection.is_dry_run)
                ids, before = await _next_batch(store, wanted, before)
                count += len(ids if selection.is_dry_run else await _moved(action, ids, entry))
    except TooManySearches:
        if selection.is_dry_run or not count:
            raise
        return BulkResult(count, complete=False, dry_run=False)
    except StoreUnavailable:
        if selection.is_dry_run:
            raise
        raise PartlyDone from None
    return BulkResult(count, complete=True, dry_run=selection.is_dry_run)


async def _next_batch(
    store: TaskStore, wanted: TaskFilter, before: uuid.UUID
) -> tuple[list[uuid.UUID], uuid.UUID | None]:
    with store_timeout():
        page = await store.page(limit=BATCH, before=before, filter=wanted, without=LARGE_FIELDS)
    return [task.id for task in page.tasks], page.next_before


async def _moved(
    action: BulkAction, ids: list[uuid.UUID], entry: NewEntry
) -> Collection[uuid.UUID]:
    """Return the ids of the tasks that changed: those in another status by now are skipped."""
    with store_timeout():
        return await action.move(ids, entry=entry) if ids else ()


def _entry_of(action: BulkAction, selection: BulkSelection, by: Actor) -> NewEntry:
    return NewEntry(
        action=action.action,
        actor=by,
        target=selection.filter.queue if action.action is Action.QUEUE_PURGE else None,
        detail=filter_detail(selection.filter),
        batch=uuid.uuid4(),
    )


def _after(task_id: uuid.UUID) -> uuid.UUID:
    """Return the cursor of a page that begins with this task."""
    return uuid.UUID(int=task_id.int + 1)


ROUTES: Final = (cancel_tasks, retry_tasks, delete_tasks)
