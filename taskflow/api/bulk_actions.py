"""Many tasks are moved by people at once: those that a filter finds, and only those."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec
import trio
from quart import Blueprint, Response
from werkzeug.routing import BaseConverter

from taskflow.api.problems import store_in_time
from taskflow.api.reading.many import Many, many_of
from taskflow.api.request_bodies import read_json
from taskflow.api.responses import as_json
from taskflow.model.errors import PartlyDone, StoreUnavailable, TooManySearches
from taskflow.model.filter import TaskFilter
from taskflow.model.lifecycle import Move, sources_of
from taskflow.model.task import TaskStatus
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.base.tasks import TaskStore

BATCH: Final = 500
# So long a request goes on; then it tells how far it came, and the same one again does the rest.
MOST_SECONDS: Final = 10.0

_MoveMany: TypeAlias = Callable[[Collection[uuid.UUID]], Awaitable[Collection[uuid.UUID]]]


class NoVerb(BaseConverter):
    """A part of a path, an id say, that is none of the verbs, which take only POST."""

    regex = "(?!(?:cancel|retry|delete)$)[^/]+"
    part_isolating = True


class ManyMoved(msgspec.Struct, frozen=True):
    """What became of it.

    Attributes:
        count: How many tasks it was done to, or would be.
        is_complete: Whether these are all; if not, the same request again goes on. A count alone
            does not.
        dry_run: Whether they were only counted.
    """

    count: int
    is_complete: bool
    dry_run: bool


class Verb(NamedTuple):
    """What can be done to many tasks: from which statuses on, and how."""

    statuses: tuple[TaskStatus, ...]
    move: _MoveMany


def many_by_hand_routes(store: TaskStore) -> Blueprint:
    """The routes, on this store."""
    routes = Blueprint("many_by_hand", __name__)

    def add(name: str, verb: Verb) -> None:
        @routes.post(f"/tasks/{name}", endpoint=name)
        async def move() -> Response:
            moved = await move_many(store, verb, many_of(await read_json()))
            return as_json(moved)

    for name, verb in verbs_of(store).items():
        add(name, verb)
    return routes


def verbs_of(store: TaskStore) -> Mapping[str, Verb]:
    """What can be done to many tasks, by the words that people use."""
    ends = tuple(status for status in TaskStatus if status.is_final)
    return {
        "cancel": Verb(sources_of(Move.CANCEL), store.cancel_many),
        "retry": Verb(sources_of(Move.MANUAL_RETRY), store.retry_many),
        "delete": Verb(ends, store.delete_many),
    }


async def move_many(store: TaskStore, verb: Verb, many: Many) -> ManyMoved:
    """Move those of the tasks that are there now, a batch after the other.

    Raises:
        StoreUnavailable: The store cannot be reached, and nothing was done.
        TooManySearches: There was no place to look for tasks, and nothing was done.
        PartlyDone: It could be at first.
    """
    deadline = trio.current_time() + MOST_SECONDS
    with store_in_time():
        newest = (await store.page(limit=1, without=LARGE_FIELDS)).tasks
    count = 0
    try:
        for status in verb.statuses if newest else ():
            if many.filter.statuses and status not in many.filter.statuses:
                continue
            # By themselves, for then the index on them leads to each, however few they are.
            wanted = msgspec.structs.replace(many.filter, statuses=(status,))
            before: uuid.UUID | None = _after(newest[0].id)
            while before is not None:
                if trio.current_time() >= deadline:
                    return ManyMoved(count, is_complete=False, dry_run=many.is_dry_run)
                ids, before = await _next_batch(store, wanted, before)
                count += len(ids if many.is_dry_run else await _moved(verb, ids))
    except TooManySearches:
        if many.is_dry_run or not count:
            raise
        return ManyMoved(count, is_complete=False, dry_run=False)
    except StoreUnavailable:
        if many.is_dry_run:
            raise
        raise PartlyDone from None
    return ManyMoved(count, is_complete=True, dry_run=many.is_dry_run)


async def _next_batch(
    store: TaskStore, wanted: TaskFilter, before: uuid.UUID
) -> tuple[list[uuid.UUID], uuid.UUID | None]:
    with store_in_time():
        page = await store.page(limit=BATCH, before=before, filter=wanted, without=LARGE_FIELDS)
    return [task.id for task in page.tasks], page.next_before


async def _moved(verb: Verb, ids: list[uuid.UUID]) -> Collection[uuid.UUID]:
    """Those that could be moved: what came to another state meanwhile is passed over."""
    with store_in_time():
        return await verb.move(ids) if ids else ()


def _after(task_id: uuid.UUID) -> uuid.UUID:
    """What only newer tasks are not before."""
    return uuid.UUID(int=task_id.int + 1)
