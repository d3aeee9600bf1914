"""Measures how fast events become deliveries, compared with tasks that are submitted directly."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

import msgspec
import trio

from benchmarks.database import Database
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.options import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS, TaskOptions
from taskflow.model.task import NewTask
from taskflow.model.topic_events import NewEvent
from taskflow.model.topics import EndpointDefinition
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore
from taskflow.store.postgres.store import open_postgres

ENDPOINTS: Final = (1, 10, 1_000)
CLIENTS: Final = 8
DATA: Final = msgspec.Raw(b'{"invoice": 4711, "customer": "' + b"x" * 500 + b'"}')


def topics(scene: Scene) -> Iterator[Figure]:
    """Compare the deliveries of events with tasks in arrays of the same number."""
    for endpoints in ENDPOINTS:
        total = scene.pick(quick=4_000, full=40_000)
        events = max(CLIENTS, total // endpoints // CLIENTS * CLIENTS)
        with scene.database() as database:
            submitted = trio.run(partial(_submit, database, scene.target, endpoints, events))
        with scene.database() as database:
            published = trio.run(partial(_publish, database, scene.target, endpoints, events))
        yield Figure(
            what=f"deliveries stored by {CLIENTS} clients, endpoints of the topic: {endpoints:,}",
            value=events * endpoints / published,
            unit="/s",
            beside="as arrays of tasks",
            reference=events * endpoints / submitted,
        )


async def _publish(database: Database, target: str, endpoints: int, events: int) -> float:
    """Return the seconds that it took to publish these events."""
    async with open_postgres(database.url, Settings()) as store:
        await store.topics.put("orders", lambda _: "webhooks")
        for number in range(endpoints):
            definition = EndpointDefinition(
                topic="orders", name=f"e{number}", template=_template(target)
            )
            put = partial(_always, definition)
            await store.topics.change_endpoint("orders", f"e{number}", put)
        event = NewEvent(topic="orders", type="invoice.paid", data=DATA)
        return await _timed(lambda: store.topics.publish(event), events)


def _always(definition: EndpointDefinition, _: object) -> EndpointDefinition:
    return definition


async def _submit(database: Database, target: str, tasks: int, times: int) -> float:
    """Return the seconds that it took to submit this number of arrays."""
    async with open_postgres(database.url, Settings()) as store:
        return await _timed(partial(_add, store, target, tasks), times)


async def _add(store: TaskStore, target: str, tasks: int) -> None:
    payload = b'%b,"body":%b}' % (bytes(_template(target).payload)[:-1], bytes(DATA))
    task = msgspec.structs.replace(_template(target), payload=msgspec.Raw(payload))
    await store.add([task] * tasks)


async def _timed(work: Callable[[], Awaitable[object]], times: int) -> float:
    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(CLIENTS):
            nursery.start_soon(_repeat, work, times // CLIENTS)
    return time.monotonic() - began


async def _repeat(work: Callable[[], Awaitable[object]], times: int) -> None:
    for _ in range(times):
        await work()


def _template(target: str) -> NewTask:
    options = TaskOptions(backoff=WEBHOOK_SECONDS, retry_on=("3xx", "4xx", "5xx"), sign=True)
    payload = msgspec.json.encode({"url": f"{target}/json", "method": "POST"})
    return NewTask(msgspec.Raw(payload), max_attempts=WEBHOOK_ATTEMPTS, options=options)
