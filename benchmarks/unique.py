"""Measures how fast tasks with unique keys are stored, compared with tasks without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import msgspec
import trio

from benchmarks.database import Database
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.options import TaskOptions
from taskflow.model.task import NewTask
from taskflow.model.uniqueness import Unique
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore
from taskflow.store.postgres.store import open_postgres

CLIENTS: Final = 64
ARRAY: Final = 1_000
ONE_KEY: Final = "one"


def unique(scene: Scene) -> Iterator[Figure]:
    """Compare submissions with a unique key each, or all with the same one, with plain ones."""
    total = scene.pick(quick=5_000, full=50_000)
    for clients, array in ((CLIENTS, 1), (1, ARRAY)):
        stored = partial(_seconds_to_store, scene, total, clients, array)
        plain = stored(lambda _: None)
        who = f"by {clients} clients, one at a time" if array == 1 else f"in arrays of {array:,}"
        for keys, key_of in (("a key each", str), ("the same key", lambda _: ONE_KEY)):
            yield Figure(
                what=f"submissions with {keys}, {who}",
                value=total / stored(key_of),
                unit="/s",
                beside="without keys",
                reference=total / plain,
            )


def _seconds_to_store(
    scene: Scene, total: int, clients: int, array: int, key_of: Callable[[int], str | None]
) -> float:
    with scene.database() as database:
        tasks = [_task(scene.target, key_of(number)) for number in range(total)]
        return trio.run(partial(_store, database, tasks, clients, array))


async def _store(database: Database, tasks: list[NewTask], clients: int, array: int) -> float:
    portions = _portions(tasks, array)
    async with open_postgres(database.url, Settings()) as store:
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(clients):
                nursery.start_soon(_submit, store, portions)
        return time.monotonic() - began


async def _submit(store: TaskStore, portions: Iterator[list[NewTask]]) -> None:
    for portion in portions:
        await store.add(portion)


def _portions(tasks: list[NewTask], size: int) -> Iterator[list[NewTask]]:
    for begin in range(0, len(tasks), size):
        yield tasks[begin : begin + size]


def _task(target: str, key: str | None) -> NewTask:
    options = TaskOptions() if key is None else TaskOptions(unique=Unique(key))
    return NewTask(msgspec.Raw(msgspec.json.encode(target)), options=options)
