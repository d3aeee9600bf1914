"""A program that uses much of the client, for type checkers in their strict modes."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx

from taskflow import (
    BlockingClient,
    Client,
    ClientError,
    Result,
    Submission,
    Task,
    TaskFailed,
    TaskStatus,
)


async def items() -> AsyncIterator[Submission]:
    for number in range(10):
        yield Submission({"url": "https://example.com/", "body": {"n": number}}, queue="a")


async def main(transport: httpx.AsyncBaseTransport | None = None) -> dict[str, Any]:
    async with Client("http://127.0.0.1:8080", timeout_seconds=5, transport=transport) as client:
        task: Task = await client.submit("https://example.com/", queue="a", tags={"a": 1})
        ended = await client.wait(str(task.id), timeout_seconds=3)
        try:
            result: Result = ended.raise_for_failure()
        except TaskFailed as error:
            print(error.task.error_type)
            return {}
        async for one in client.submit_many(items(), at_once=3):
            if one.error is not None:
                print(one.index, one.error.errors[0].pointer)
            elif one.task:
                print(one.task.id, one.task.payload["body"])
        async with client.iter_events(uuid.UUID(int=1)) as events:
            async for event in events:
                print(event.status, event.task_id)
        queue = await client.queues.put("a", max_concurrency=3)
        found = [one.status async for one in client.iter_tasks(status=["FAILED"], queue=queue.name)]
        await client.schedules.put("nightly", "https://example.com/", cron="0 3 * * *")
        moved = await client.retry_many(queue="a", dry_run=True)
        print(found.count(TaskStatus.FAILED), moved.count)
        return {"json": result.json(), "text": result.text}


def blocking() -> list[Task]:
    with BlockingClient.from_environment() as client:
        try:
            return client.list_tasks(limit=3, status="FAILED")
        except ClientError as error:
            print(error)
            return []


if __name__ == "__main__":
    asyncio.run(main())
