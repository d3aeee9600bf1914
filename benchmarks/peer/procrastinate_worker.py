"""Procrastinate: ``python procrastinate_worker.py URL TARGET COUNT WORKERS`` prints two rates.

They are jobs a second deferred, a thousand at a time, and jobs a second run by one
process that fetches the target with aiohttp.
"""

import asyncio
import json
import logging
import sys
import time

import aiohttp
import procrastinate

BATCH = 1000


async def main(url: str, target: str, count: int, workers: int) -> None:
    """Defer the jobs, and run them."""
    logging.disable(logging.WARNING)
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=url, min_size=4, max_size=max(4, min(workers, 20))
        )
    )
    starts: list[float] = []
    connector = aiohttp.TCPConnector(limit=workers)
    async with app.open_async(), aiohttp.ClientSession(connector=connector) as session:
        await app.schema_manager.apply_schema_async()

        @app.task(name="fetch")
        async def fetch(url: str) -> None:
            starts.append(time.monotonic())
            async with session.get(url) as answer:
                await answer.read()

        began = time.monotonic()
        for _ in range(count // BATCH):
            await fetch.batch_defer_async(*[{"url": target}] * BATCH)
        added = count / (time.monotonic() - began)
        await app.run_worker_async(concurrency=workers, wait=False)
    assert len(starts) == count, f"{len(starts)} of {count} jobs ran"
    worked_off = count / (time.monotonic() - starts[0])
    print(json.dumps({"added": added, "worked_off": worked_off}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
