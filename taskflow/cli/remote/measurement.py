"""How fast a service takes tasks and works them off."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from taskflow.cli.exit_status import Failure
from taskflow.cli.remote.progress import Meter, meter
from taskflow.client.errors import ClientError
from taskflow.client.on_trio.client import Client
from taskflow.client.on_trio.streams import TaskStream
from taskflow.client.task import Task
from taskflow.model.outcome import ErrorType
from taskflow.model.task import TaskStatus

TRIAL_SECONDS: Final = 20.0
CLEAN_UP_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.1


class Times(msgspec.Struct, frozen=True):
    """Percentiles, in milliseconds."""

    p50: float
    p95: float
    p99: float
    most: float

    def __str__(self) -> str:
        return (
            f"p50 {self.p50:.1f} ms, p95 {self.p95:.1f}, p99 {self.p99:.1f}, most {self.most:.1f}"
        )


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        accepted: How many tasks were taken.
        completed: How many of them were COMPLETED.
        other_ends: How many ended otherwise, by how.
        is_complete: Whether all that were wanted were taken and have ended.
        accept_seconds: How long it took to hand them in.
        accepted_per_second: How many were taken a second.
        work_seconds: From when the first was taken until the last had ended.
        ended_per_second: How many ended a second of these.
        post_ms: How long a POST took.
        start_ms: How long it took from when a task was taken until it was begun.
        end_ms: How long it took from when a task was taken until it ended.
    """

    accepted: int
    completed: int
    other_ends: dict[str, int]
    is_complete: bool
    accept_seconds: float
    accepted_per_second: float
    work_seconds: float
    ended_per_second: float
    post_ms: Times | None
    start_ms: Times | None
    end_ms: Times | None


class Measuring:
    """One measurement.

    Args:
        queue: Where its tasks stand; nothing else does.
        tasks: How many.
        at_once: How many are handed in at once.
    """

    def __init__(self, queue: str, *, tasks: int, at_once: int) -> None:
        self._queue = queue
        self._tasks = tasks
        self._at_once = at_once
        self._begun = 0
        self._post_seconds: list[float] = []

    async def run(self, client: Client, url: str, seconds: float) -> Measured:
        """Measure, for so long at most.

        Raises:
            Failure: The service does not fetch from there.
        """
        await self._try(client, url)
        with meter(self._tasks) as shown, trio.move_on_after(seconds) as scope:
            began = trio.current_time()
            await self._hand_in(client, url, shown)
            accept_seconds = trio.current_time() - began
            await self._wait(client, shown)
        if scope.cancelled_caught and len(self._post_seconds) < self._tasks:
            accept_seconds = trio.current_time() - began
        return await self._measured(client, accept_seconds)

    async def clean_up(self, client: Client) -> None:
        """Delete the tasks, also when all else was called off; within bounds."""
        with (
            trio.move_on_after(CLEAN_UP_SECONDS, shield=True),
            contextlib.suppress(ClientError),
        ):
            for move in (client.cancel_many, client.delete_many):
                while not (await move(queue=self._queue)).is_complete:
                    pass

    async def _try(self, client: Client, url: str) -> None:
        """See that there is something to be measured."""
        handed_in = await client.submit(url, queue=self._queue)
        task = await client.wait(handed_in.id, TRIAL_SECONDS)
        await client.delete_many(queue=self._queue)
        if task.status is TaskStatus.COMPLETED:
            return
        said = f"the service does not fetch from {url}: {task.error or task.status}"
        if task.error_type is ErrorType.BLOCKED:
            said += "; start it with TASKFLOW_ALLOW_NETWORKS=127.0.0.0/8 for this measurement"
        raise Failure(said)

    async def _hand_in(self, client: Client, url: str, shown: Meter) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(self._at_once):
                nursery.start_soon(self._post, client, url, shown)

    async def _post(self, client: Client, url: str, shown: Meter) -> None:
        while self._begun < self._tasks:
            self._begun += 1
            began = trio.current_time()
            await client.submit(url, queue=self._queue)
            self._post_seconds.append(trio.current_time() - began)
            shown.show(f"{len(self._post_seconds)} handed in", len(self._post_seconds))

    async def _wait(self, client: Client, shown: Meter) -> None:
        while left := await self._left(client):
            shown.show(f"{left} to be worked off", self._tasks - left)
            await trio.sleep(_LOOK_SECONDS)

    async def _left(self, client: Client) -> int:
        [standing] = (await client.stats(self._queue)).queues
        counts = standing.counts
        return sum(count for status, count in counts.items() if not status.is_final)

    async def _measured(self, client: Client, accept_seconds: float) -> Measured:
        tasks = [task async for task in self._all(client)]
        ends: Counter[str] = Counter(str(task.error_type or task.status) for task in tasks)
        ended = [task.finished_at for task in tasks if task.finished_at]
        first = min((task.created_at for task in tasks), default=None)
        work_seconds = (max(ended) - first).total_seconds() if ended and first else 0.0
        completed = ends.pop(str(TaskStatus.COMPLETED), 0)
        accepted = len(self._post_seconds)
        return Measured(
            accepted=accepted,
            completed=completed,
            other_ends=dict(ends),
            is_complete=len(ended) == self._tasks,
            accept_seconds=accept_seconds,
            accepted_per_second=_rate(accepted, accept_seconds),
            work_seconds=work_seconds,
            ended_per_second=_rate(len(ended), work_seconds),
            post_ms=times_of(self._post_seconds),
            start_ms=times_of([_age(task, task.started_at) for task in tasks if task.started_at]),
            end_ms=times_of([_age(task, task.finished_at) for task in tasks if task.finished_at]),
        )

    def _all(self, client: Client) -> TaskStream:
        return client.iter_tasks(
            page=1000, fields=("started_at", "finished_at", "error_type"), queue=self._queue
        )


def times_of(seconds: Sequence[float]) -> Times | None:
    """The percentiles of some times; ``None`` if there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return Times(at(0.5), at(0.95), at(0.99), at(1.0))


def _age(task: Task, moment: dt.datetime) -> float:
    return (moment - task.created_at).total_seconds()


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0
