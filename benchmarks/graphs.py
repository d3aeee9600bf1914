"""Measures how fast graphs of tasks are run: the five shapes of the benchmark of pg-boss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec
import trio

from benchmarks.database import Database
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.options import TaskOptions
from taskflow.model.parents import OnParentFailure
from taskflow.model.task import NewTask
from taskflow.settings import Settings
from taskflow.store.postgres.store import open_postgres

LAYERS = 20
WORKERS = 100
INDEPENDENT = "independent"
SECONDS = (
    "SELECT extract(epoch FROM max(finished_at) - min(created_at))::float8 FROM taskflow_tasks"
)

Shape = Sequence[tuple[str, Sequence[str]]]
"""The names of tasks, each with the names of its parents."""


def graphs(scene: Scene) -> Iterator[Figure]:
    """Run graphs of 10,000 tasks, compared with as many tasks without parents."""
    count = scene.pick(quick=1_000, full=10_000)
    rates = {name: tasks_per_second(scene, shape) for name, shape in shapes_of(count).items()}
    for name, rate in rates.items():
        is_compared = name != INDEPENDENT
        yield Figure(
            what=f"{count:,} tasks, {name}",
            value=rate,
            unit="tasks/s",
            beside=INDEPENDENT if is_compared else "",
            reference=rates[INDEPENDENT] if is_compared else None,
        )


def shapes_of(count: int) -> dict[str, Shape]:
    """Return the five shapes, each of ``count`` tasks."""
    names = [f"t{number}" for number in range(count)]
    width = count // LAYERS
    return {
        INDEPENDENT: [(name, ()) for name in names],
        "fan-out": [(name, names[:1] if name != names[0] else ()) for name in names],
        # The store has no limit of parents; requests have one.
        "fan-in": [(name, names[:-1] if name == names[-1] else ()) for name in names],
        f"{LAYERS} layers": [
            (name, (names[number - width],) if number >= width else ())
            for number, name in enumerate(names)
        ],
        "chain": [
            (name, (names[number - 1],) if number else ()) for number, name in enumerate(names)
        ],
    }


def tasks_per_second(scene: Scene, shape: Shape) -> float:
    """Return the rate from the submission of a graph to the end of its last task."""
    with scene.database() as database, scene.taskflow(database, workers=WORKERS):
        trio.run(partial(_add, database, scene.target, shape))
        database.wait_until_worked_off()
        assert database.completed() == len(shape)
        seconds: float = database.ask(SECONDS)
        return len(shape) / seconds


async def _add(database: Database, target: str, shape: Shape) -> None:
    async with open_postgres(database.url, Settings()) as store:
        await store.add([_task(target, name, after) for name, after in shape])


def _task(target: str, name: str, after: Sequence[str]) -> NewTask:
    policy = OnParentFailure.CANCEL if after else None
    return NewTask(
        msgspec.Raw(msgspec.json.encode(target)),
        after=tuple(after),
        options=TaskOptions(name=name, on_parent_failure=policy),
    )
