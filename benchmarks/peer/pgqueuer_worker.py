"""pgqueuer: ``python pgqueuer_worker.py URL TARGET COUNT WORKERS`` prints two rates.

They are jobs a second enqueued, a thousand at a time, and jobs a second run by one
process that fetches the target with aiohttp; ``WORKERS`` may be 0, for the first alone. With a
fifth argument, ``ahead``, any number of jobs is claimed at once, of which ``WORKERS`` are fetched
concurrently. It is faster than its own limit, under which batches are smaller.
"""

import asyncio
import json
import sys
import time

import aiohttp
import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

BATCH = 1000
MIN_BATCH = 10


async def main(url: str, target: str, count: int, workers: int, *, ahead: bool) -> None:
    """Enqueue the jobs, and run them."""
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    queries = Queries(driver)
    await queries.install()
    began = time.monotonic()
    for _ in range(count // BATCH):
        await queries.enqueue(["fetch"] * BATCH, [target.encode()] * BATCH, [0] * BATCH)
    rates = {"added": count / (time.monotonic() - began)}
    if workers:
        rates["worked_off"] = count / await work_off(driver, count, workers, ahead=ahead)
    print(json.dumps(rates))


async def work_off(driver: AsyncpgDriver, count: int, workers: int, *, ahead: bool) -> float:
    """Return the seconds from the first fetch to the end of the queue."""
    queue = PgQueuer(driver)
    in_flight = asyncio.Semaphore(workers)
    starts: list[float] = []
    connector = aiohttp.TCPConnector(limit=workers)
    async with aiohttp.ClientSession(connector=connector) as session:

        @queue.entrypoint("fetch")
        async def fetch(job: Job) -> None:
            async with in_flight:
                starts.append(time.monotonic())
                async with session.get((job.payload or b"").decode()) as answer:
                    await answer.read()

        # Its own limit must be at least twice the batch.
        await queue.run(
            batch_size=max(MIN_BATCH, workers) if ahead else max(1, workers // 2),
            max_concurrent_tasks=None if ahead else workers,
            mode=QueueExecutionMode.drain,
        )
    assert len(starts) == count, f"{len(starts)} of {count} jobs ran"
    return time.monotonic() - starts[0]


if __name__ == "__main__":
    url, target, count, workers, *more = sys.argv[1:]
    asyncio.run(main(url, target, int(count), int(workers), ahead=more == ["ahead"]))
