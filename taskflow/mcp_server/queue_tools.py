"""Tools for queues, and the statistics of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.client.asynchronous.client import Client
from taskflow.mcp_server.outputs import fitting
from taskflow.mcp_server.tool import READS, Hints, tool
from taskflow.model.queues import Queue, RecentCounts, limits_text
from taskflow.model.task import QueueName, TaskStatus

Name = Annotated[QueueName, Meta(description="The name of the queue.", examples=["mail"])]


class OneQueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A queue."""

    name: Name


class SomeQueues(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All queues, or one."""

    queue: Annotated[
        QueueName | UnsetType, Meta(description="Only this queue.", examples=["mail"])
    ] = UNSET


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a queue is paused."""

    name: str
    paused: bool


class QueueSummary(QueueState, frozen=True, kw_only=True):
    """A queue in a list."""

    limits: Annotated[str, Meta(description="Its limits; empty if it has none.")]
    counts: Annotated[dict[str, int], Meta(description="Number of its tasks by status.")]
    oldest_waiting_seconds: Annotated[
        float | None, Meta(description="How long its oldest due task has been due.")
    ]


class Queues(msgspec.Struct, frozen=True, kw_only=True):
    """Queues, those with the most PENDING tasks first."""

    queues: list[QueueSummary]
    has_more: Annotated[bool, Meta(description="Whether queues are left out: too many.")]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of tasks."""

    counts: Annotated[dict[str, int], Meta(description="Number of tasks by status.")]
    finished: Annotated[
        dict[str, RecentCounts], Meta(description="Number of recently finished tasks by status.")
    ]
    oldest_waiting_seconds: Annotated[
        float | None, Meta(description="How long the oldest due task has been due.")
    ]


class QueueCounts(Counts, frozen=True, kw_only=True):
    """Numbers of tasks of a queue."""

    queue: str


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The number of tasks by status; queues with the most PENDING tasks first."""

    total: Counts
    queues: list[QueueCounts]
    complete: Annotated[bool, Meta(description="Whether all queues are listed.")]


@tool(SomeQueues, Statistics, READS)
async def get_stats(client: Client, given: SomeQueues) -> Statistics:
    """Count tasks by status, per queue and in total, and tasks that finished in the last hour."""
    found = await client.stats(given.queue or None)
    ranked = sorted(found.queues, key=lambda one: _rank(one.counts, one.queue))
    queues = fitting(msgspec.convert(one, QueueCounts, from_attributes=True) for one in ranked)
    return Statistics(
        total=msgspec.convert(found.total, Counts, from_attributes=True),
        queues=list(queues),
        complete=found.complete and len(queues) == len(found.queues),
    )


@tool(SomeQueues, Queues, READS)
async def list_queues(client: Client, given: SomeQueues) -> Queues:
    """List queues with their limits, whether they are paused, and their tasks by status."""
    found = [await client.queues.get(given.queue)] if given.queue else await client.queues.all()
    ranked = sorted(found, key=lambda one: _rank(one.counts, one.name))
    queues = fitting(map(_summary_of, ranked))
    return Queues(queues=list(queues), has_more=len(queues) < len(found))


@tool(OneQueue, QueueState, Hints(is_idempotent=True))
async def pause_queue(client: Client, given: OneQueue) -> QueueState:
    """Pause a queue: none of its tasks starts until it is resumed. Running tasks go on."""
    return _state_of(await client.queues.pause(given.name))


@tool(OneQueue, QueueState, Hints(is_idempotent=True, is_open_world=True))
async def resume_queue(client: Client, given: OneQueue) -> QueueState:
    """Resume a queue: its PENDING tasks start."""
    return _state_of(await client.queues.resume(given.name))


def _state_of(queue: Queue) -> QueueState:
    return QueueState(name=queue.name, paused=queue.paused)


def _summary_of(queue: Queue) -> QueueSummary:
    return QueueSummary(
        name=queue.name,
        paused=queue.paused,
        limits=limits_text(queue),
        counts={str(status): count for status, count in queue.counts.items()},
        oldest_waiting_seconds=queue.oldest_waiting_seconds,
    )


def _rank(counts: Mapping[TaskStatus, int], name: str) -> tuple[int, str]:
    return -counts.get(TaskStatus.PENDING, 0), name


QUEUE_TOOLS: Final = (get_stats, list_queues, pause_queue, resume_queue)
