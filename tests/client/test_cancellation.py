"""Calls that asyncio's own means cancel: each closes its connection, and the client goes on.

Each connection is open before the call is canceled: AnyIO leaves one to the garbage collector that
is just being opened.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from taskflow import Client, TaskStatus
from tests.client.loops import run

LONG_SECONDS = 3600


async def follow(client, is_open):
    async with client.iter_events() as events:
        is_open.set()
        async for _ in events:
            pass


async def exported(client):
    """Leave a long response at its first line."""
    async with client.export() as lines:
        return await anext(lines)


def test_timeouts(memory_server):
    """``asyncio.timeout`` around a wait, and around the next event."""

    async def work():
        async with Client(memory_server.url) as client:
            task = await client.submit("x", delay_seconds=LONG_SECONDS)
            with pytest.raises(TimeoutError) as raised:
                async with asyncio.timeout(0.1):
                    await client.wait(task.id)
            assert type(raised.value) is TimeoutError
            async with client.iter_events(task.id) as events:
                await anext(events)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await anext(events)
            return (await client.cancel(task.id)).status

    assert run("asyncio", work) is TaskStatus.CANCELED


def test_canceled_tasks(memory_server):
    """Streams that are followed, and a wait."""

    async def work():
        async with Client(memory_server.url) as client:
            task = await client.submit("x", delay_seconds=LONG_SECONDS)
            opened = [asyncio.Event() for _ in range(5)]
            running = [asyncio.create_task(follow(client, is_open)) for is_open in opened]
            for is_open in opened:
                await is_open.wait()
            await client.get(task.id)  # the wait uses its connection
            running.append(asyncio.create_task(client.wait(task.id)))
            await asyncio.sleep(0.1)
            for one in running:
                one.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            assert {type(one) for one in ended} == {asyncio.CancelledError}
            assert await exported(client)
            assert (await client.cancel(task.id)).status is TaskStatus.CANCELED
        gc.collect()  # a connection that is left open is a ResourceWarning

    run("asyncio", work)
