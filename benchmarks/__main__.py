"""``python -m benchmarks``: how fast tasks are taken and worked off.

Each figure stands beside its reference from the same run, on an embedded PostgreSQL with its
default durability; loopback only. The ratios are what counts, for machines differ.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from benchmarks.target import target_process
from taskflow import telemetry
from taskflow.engine.supervisor import Engine
from taskflow.fetch.base import FetchRequest
from taskflow.fetch.client import HttpFetcher, open_fetcher
from taskflow.model.outcome import Fetched
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.service import open_store
from taskflow.settings import Settings
from taskflow.store.base import TaskStore


async def bare_fetches(url: str, settings: Settings, count: int) -> float:
    """Fetches a second by as many tasks in a row as there are workers, without a store."""
    async with open_fetcher(settings) as fetcher:

        async def fetch_many(fetches: int) -> None:
            for _ in range(fetches):
                assert isinstance(await fetcher.fetch(FetchRequest(url)), Fetched)

        async def everyone() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(settings.workers):
                    nursery.start_soon(fetch_many, count // settings.workers)

        return count / await seconds_of(everyone)


async def work_off(store: TaskStore, url: str, settings: Settings, count: int) -> float:
    """Stored tasks a second from claim to written outcome."""
    await add_many(store, url, count)
    async with open_fetcher(settings) as fetcher:
        engine = Engine(store=store, fetcher=fetcher, settings=settings)

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.run)
                while await is_open(store):
                    await trio.sleep(0.05)
                engine.shut_down(drain_seconds=0)

        return count / await seconds_of(run)


async def lone_tasks(
    store: TaskStore, url: str, fetcher: HttpFetcher, settings: Settings, count: int
) -> float:
    """Median milliseconds from handing a task in to its written end, one at a time."""
    engine = Engine(store=store, fetcher=fetcher, settings=settings)
    took = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        for _ in range(count):
            began = time.perf_counter()
            [task] = await add_many(store, url, 1)
            while not await has_ended(store, task):
                await trio.sleep(0.001)
            took.append(time.perf_counter() - began)
        engine.shut_down(drain_seconds=0)
    return statistics.median(took) * 1000


async def add_many(store: TaskStore, url: str, count: int) -> list[Task]:
    """Keep as many tasks as told, a thousand at a time."""
    task = NewTask(msgspec.Raw(msgspec.json.encode(url)))
    added: list[Task] = []
    for start in range(0, count, 1000):
        added += await store.add([task] * min(1000, count - start))
    return added


async def is_open(store: TaskStore) -> bool:
    """Whether any task is still to come to its end."""
    for status in (TaskStatus.PENDING, TaskStatus.RUNNING):
        if (await store.page(limit=1, status=status)).tasks:
            return True
    return False


async def has_ended(store: TaskStore, task: Task) -> bool:
    """Whether the task is at its end."""
    found = await store.get(task.id)
    return found is not None and found.status.is_final


async def seconds_of(work: Callable[[], Awaitable[None]]) -> float:
    """How long the work takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def main(url: str, data_dir: Path, count: int) -> None:
    """Measure, and print a line each."""
    base = Settings(data_dir=str(data_dir), allow_networks=("127.0.0.0/8",))
    async with open_store(base) as store:

        async def adding() -> None:
            await add_many(store, url, count)

        say("add, 1000 at a time", f"{count / await seconds_of(adding):,.0f} tasks/s")
        for workers in (5, 100):
            settings = msgspec.structs.replace(
                base, workers=workers, queue_size=max(100, 2 * workers)
            )
            bare = await bare_fetches(url, settings, count)
            # The tasks of the line above are worked off with those of this one.
            waiting = count if workers == base.workers else 0
            worked = await work_off(store, url, settings, count) * (count + waiting) / count
            say(
                f"work off, {workers} workers",
                f"{worked:,.0f} tasks/s, {worked / bare:.2f} of {bare:,.0f} bare fetches/s",
            )
        async with open_fetcher(base) as fetcher:
            median = await lone_tasks(store, url, fetcher, base, 100)
        say("a lone task, handed in to ended", f"{median:.1f} ms in the median")


def say(what: str, figure: str) -> None:
    """Print one line of the table."""
    print(f"{what:<34} {figure}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks")
    arguments = parser.parse_args()
    telemetry.configure("warning", "console")
    with target_process() as target, tempfile.TemporaryDirectory(prefix="tf-") as folder:
        Path(folder).chmod(0o755)
        trio.run(main, target, Path(folder) / "data", 2_000 if arguments.quick else 20_000)
