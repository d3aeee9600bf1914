"""Measures how fast a service accepts and processes tasks."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
import trio

from taskflow.cli.exit_status import Failure
from taskflow.cli.remote.progress import Meter, meter
from taskflow.cli.remote.task_actions import total_of
from taskflow.client.asynchronous.client import Client
from taskflow.client.asynchronous.streams import TaskStream
from taskflow.client.errors import ClientError
from taskflow.client.task import Task
from taskflow.model.outcome import ErrorType
from taskflow.model.task import TaskStatus

TRIAL_SECONDS: Final = 20.0
CLEAN_UP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1
_LATE_TASKS_SECONDS: Final = 0.5

_RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_HEAD_END: Final = b"\r\n\r\n"
_MAX_HEAD_BYTES: Final = 64 * 2**10


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles of durations, in seconds."""

    p50: float
    p95: float
    p99: float
    max: float

    def __str__(self) -> str:
        p50, p95, p99, maximum = (1000 * one for one in msgspec.structs.astuple(self))
        return f"p50 {p50:.1f} ms, p95 {p95:.1f}, p99 {p99:.1f}, max {maximum:.1f}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a measurement.

    Attributes:
        submitted: The number of tasks that the service accepted.
        completed: The number of tasks that became COMPLETED.
        other_outcomes: The number of tasks by any other outcome.
        complete: Whether all tasks were submitted and finished in time.
        submit_seconds: The time that the submission took.
        submitted_per_second: The number of tasks accepted per second.
        work_seconds: The time from the first submission to the last outcome.
        finished_per_second: The number of tasks finished per second of this time.
        post_seconds: The duration of a POST request.
        start_seconds: The time from the submission of a task to its start.
        finish_seconds: The time from the submission of a task to its outcome.
    """

    submitted: int
    completed: int
    other_outcomes: dict[str, int]
    complete: bool
    submit_seconds: float
    submitted_per_second: float
    work_seconds: float
    finished_per_second: float
    post_seconds: Percentiles | None
    start_seconds: Percentiles | None
    finish_seconds: Percentiles | None


class Measurement:
    """One measurement.

    Args:
        queue: A queue that has no other tasks.
        tasks: The number of tasks.
        at_once: The number of concurrent requests.
    """

    def __init__(self, queue: str, *, tasks: int, at_once: int) -> None:
        self._queue = queue
        self._tasks = tasks
        self._at_once = at_once
        self._begun = 0
        self._post_seconds: list[float] = []

    async def run(self, client: Client, url: str, seconds: float) -> Report:
        """Measure, with a time limit.

        Raises:
            Failure: The service cannot fetch the URL.
        """
        await self._try(client, url)
        with meter(self._tasks) as bar, trio.move_on_after(seconds) as scope:
            began = trio.current_time()
            await self._submit_all(client, url, bar)
            submit_seconds = trio.current_time() - began
            await self._wait(client, bar)
        if scope.cancelled_caught and len(self._post_seconds) < self._tasks:
            submit_seconds = trio.current_time() - began
        return await self._report(client, submit_seconds)

    async def clean_up(self, client: Client) -> None:
        """Delete the tasks, even if the measurement was canceled; within a time limit.

        The service may still store tasks of requests that were canceled, so it is done until
        nothing is left.
        """
        with (
            trio.move_on_after(CLEAN_UP_SECONDS, shield=True),
            contextlib.suppress(ClientError),
        ):
            while await self._find_and_delete(client):
                pass

    async def _find_and_delete(self, client: Client) -> bool:
        """Cancel and delete the tasks; if there were any, wait for more to come."""
        canceled = await total_of(partial(client.cancel_many, queue=self._queue))
        deleted = await total_of(partial(client.delete_many, queue=self._queue))
        if canceled or deleted:
            await trio.sleep(_LATE_TASKS_SECONDS)
        return bool(canceled or deleted)

    async def _try(self, client: Client, url: str) -> None:
        """Check with one task that the service can fetch the URL."""
        submitted = await client.submit(url, queue=self._queue)
        task = await client.wait(submitted.id, TRIAL_SECONDS)
        await client.delete_many(queue=self._queue)
        if task.status is TaskStatus.COMPLETED:
            return
        message = f"the service cannot fetch {url}: {task.error or task.status}"
        if task.error_type is ErrorType.BLOCKED:
            message += "; start it with TASKFLOW_ALLOW_NETWORKS=127.0.0.0/8 for this measurement"
        raise Failure(message)

    async def _submit_all(self, client: Client, url: str, bar: Meter) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(self._at_once):
                nursery.start_soon(self._submit, client, url, bar)

    async def _submit(self, client: Client, url: str, bar: Meter) -> None:
        while self._begun < self._tasks:
            self._begun += 1
            began = trio.current_time()
            await client.submit(url, queue=self._queue)
            self._post_seconds.append(trio.current_time() - began)
            bar.show(f"{len(self._post_seconds)} submitted", len(self._post_seconds))

    async def _wait(self, client: Client, bar: Meter) -> None:
        while left := await self._left(client):
            bar.show(f"{left} not finished", self._tasks - left)
            await trio.sleep(_POLL_SECONDS)

    async def _left(self, client: Client) -> int:
        [queue] = (await client.stats(self._queue)).queues
        return sum(count for status, count in queue.counts.items() if not status.is_final)

    async def _report(self, client: Client, submit_seconds: float) -> Report:
        tasks = [task async for task in self._all(client)]
        outcomes: Counter[str] = Counter(str(task.error_type or task.status) for task in tasks)
        finished = [task.finished_at for task in tasks if task.finished_at]
        first = min((task.created_at for task in tasks), default=None)
        work_seconds = (max(finished) - first).total_seconds() if finished and first else 0.0
        completed = outcomes.pop(str(TaskStatus.COMPLETED), 0)
        submitted = len(self._post_seconds)
        return Report(
            submitted=submitted,
            completed=completed,
            other_outcomes=dict(outcomes),
            complete=len(finished) == self._tasks,
            submit_seconds=submit_seconds,
            submitted_per_second=_rate(submitted, submit_seconds),
            work_seconds=work_seconds,
            finished_per_second=_rate(len(finished), work_seconds),
            post_seconds=percentiles_of(self._post_seconds),
            start_seconds=percentiles_of([_age(t, t.started_at) for t in tasks if t.started_at]),
            finish_seconds=percentiles_of([_age(t, t.finished_at) for t in tasks if t.finished_at]),
        )

    def _all(self, client: Client) -> TaskStream:
        return client.iter_tasks(
            page=1000, fields=("started_at", "finished_at", "error_type"), queue=self._queue
        )


def percentiles_of(seconds: Sequence[float]) -> Percentiles | None:
    """Return the percentiles of durations; ``None`` if there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 6)

    return Percentiles(at(0.5), at(0.95), at(0.99), at(1.0))


def _age(task: Task, moment: dt.datetime) -> float:
    return (moment - task.created_at).total_seconds()


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


async def serve_target(*, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve a URL that tasks can fetch at minimal cost, on a free port; report the URL."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, _respond, listeners)
        task_status.started(f"http://127.0.0.1:{port}/")


async def _respond(stream: trio.SocketStream) -> None:
    head = b""
    try:
        while data := await stream.receive_some():
            head += data
            if len(head) > _MAX_HEAD_BYTES:
                return
            while _HEAD_END in head:
                head = head.partition(_HEAD_END)[2]
                await stream.send_all(_RESPONSE)
    except trio.BrokenResourceError:
        pass  # the client has disconnected
    finally:
        await trio.aclose_forcefully(stream)
