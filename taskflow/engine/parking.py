"""Parked attempts: what their targets report, polls, and overdue attempts.

No task of this process waits for a parked attempt. The job sleeps until one is due, on each node;
attempts that are due at one moment are shared: the store returns each of them to one node.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.housekeeping import MARGIN_SECONDS, MAX_SLEEP_SECONDS, Job, run_job
from taskflow.engine.outcome_writes import (
    available,
    log_write,
    portions,
    settle_each_if_refused,
    storable_write_of,
)
from taskflow.engine.outcomes import Write, attempt_end, retry_policy
from taskflow.engine.poll_queue import Poll, PollQueue
from taskflow.engine.polling import poll, poll_timeout_seconds
from taskflow.engine.worker import Attempt
from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import ErrorType, Failed, Fetched, failed
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Retry, Settlement
from taskflow.store.base.parking import DueAttempt, OpenAttempt, Parking
from taskflow.store.base.store import TaskStore
from taskflow.telemetry import bind_task
from taskflow.wakeup import WakeUp

# A due attempt that was taken is due again after a poll and this time, unless an outcome was
# written.
TAKE_MARGIN_SECONDS: Final = 5.0
# Pause after a notification of parked attempts: it limits the number of queries while many are
# parked. No attempt is due within a second after it was parked.
PARKED_PAUSE_SECONDS: Final = 0.5
# Maximum number of attempts that a step takes while there is hardly any room for polls, and the
# time until the next such step.
OVERTAKING_BATCH: Final = 200
OVERTAKING_PAUSE_SECONDS: Final = 1.0
# Minimum pause between two queries, and while other nodes have the due attempts locked.
MIN_SLEEP_SECONDS: Final = 0.05
# Interval of the search for parked tasks of which nothing is known; it reads all parked tasks.
UNRECORDED_INTERVAL_SECONDS: Final = 600.0
UNRECORDED_BATCH: Final = 500


async def report(
    attempt: OpenAttempt,
    outcome: Fetched | Failed,
    *,
    store: TaskStore,
    settings: Settings,
    metrics: Metrics,
    may_retry: bool = True,
) -> TaskStatus | None:
    """Write the outcome that the target of an attempt reports.

    Args:
        attempt: The attempt.
        outcome: Its outcome.
        store: Writes it.
        settings: Have the backoff of retries.
        metrics: Count it.
        may_retry: False if a failed task is not to be retried, whatever it says itself.

    Returns:
        The status of the task after it: PENDING until its next attempt; ``None`` if the attempt
        was over already, and nothing was written.

    Raises:
        StoreUnavailable: It may have been written.
    """
    claim = attempt.claim
    if not may_retry:
        claim = msgspec.structs.replace(claim, max_attempts=claim.attempt)
    ended = Attempt(claim, outcome, trio.current_time(), attempt.running_seconds)
    written = await write_outcomes([ended], store, settings, metrics)
    match written.get(claim.task_id):
        case None:
            return None
        case Settlement() as settlement:
            return settlement.status
        case _:
            return TaskStatus.PENDING


async def write_outcomes(
    attempts: Sequence[Attempt], store: TaskStore, settings: Settings, metrics: Metrics
) -> dict[uuid.UUID, Write]:
    """Write outcomes of parked attempts.

    Args:
        attempts: The attempts, each of another task.
        store: Writes the outcomes.
        settings: Have the backoff of retries.
        metrics: Count them.

    Returns:
        What was written, by task: nothing for attempts that were over already.

    Raises:
        StoreUnavailable: Some of them may have been written.
    """
    policy = retry_policy(settings)
    by_task = {attempt.claim.task_id: attempt for attempt in attempts}
    writes = [storable_write_of(attempt, policy) for attempt in attempts]
    written: dict[uuid.UUID, Write] = {}
    if parkings := [one for one in writes if isinstance(one, Parking)]:
        kept = await store.parking.park(parkings)
        written |= {one.task_id: one for one in parkings if one.task_id in kept}
    for retries in portions([one for one in writes if isinstance(one, Retry)]):
        kept = await store.schedule_retries(retries)
        written |= {one.task_id: one for one in retries if one.task_id in kept}
    for settlements in portions([one for one in writes if isinstance(one, Settlement)]):
        settled = await settle_each_if_refused(
            store, settlements, lambda one: by_task[one.task_id].claim.attempt
        )
        written |= {one.task_id: one for one in settled}
    for task_id, write in written.items():
        if not isinstance(write, Parking):  # it was parked already
            log_write(by_task[task_id], write)
            metrics.attempt_ended(attempt_end(by_task[task_id], write), write.error_type or "")
    return written


class ParkedAttempts:
    """Polls parked attempts, and ends overdue ones.

    At most as many polls run at once as there are workers. If an outcome cannot be written, the
    attempt is due again a moment later.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._parking = context.store.parking
        self._take_seconds = poll_timeout_seconds(context.settings) + TAKE_MARGIN_SECONDS
        self._polls = PollQueue(context.settings.workers)
        self._overtaking_at = -math.inf
        self._wake_up = WakeUp()
        # Never closed: a poll that ends in the moment of a shutdown still sends its outcome.
        channel = trio.open_memory_channel[tuple[Poll, Attempt]](context.settings.workers)
        self._send, self._polled = channel

    async def run(self) -> None:
        """Look after parked attempts until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_store)
            nursery.start_soon(self._write_polled, nursery)
            job = Job(
                partial(self.step, nursery),
                self._context.settings.poll_seconds,
                self._wake_up.wait,
            )
            nursery.start_soon(run_job, job, self._context.outage)
            unrecorded = Job(self._end_unrecorded, UNRECORDED_INTERVAL_SECONDS)
            nursery.start_soon(run_job, unrecorded, self._context.outage)

    async def step(self, nursery: trio.Nursery) -> float:
        """Take the attempts that are due, and return the seconds until the next step.

        While a host has hardly any room for more polls, a step at intervals looks beyond its polls
        for others, and for attempts that are overdue.

        Args:
            nursery: Polls run in it.
        """
        limit, now = self._polls.room, trio.current_time()
        if self._polls.is_crowded:
            if now < self._overtaking_at:
                return self._overtaking_at - now  # or until there is room
            self._overtaking_at = now + OVERTAKING_PAUSE_SECONDS
            limit = OVERTAKING_BATCH
        due = await self._parking.take_due(limit=limit, take_seconds=self._take_seconds)
        dropped = self._add_polls(due)
        self._start_polls(nursery)
        await self._write([_ended(one) for one in due if one.is_overdue])
        if dropped:
            await self._parking.park(dropped)
        if len(due) >= limit:
            return 0.0
        seconds = await self._parking.seconds_to_next()
        longest = max(MAX_SLEEP_SECONDS, self._context.settings.poll_seconds)
        if seconds is None:
            return longest
        return min(max(seconds + MARGIN_SECONDS, MIN_SLEEP_SECONDS), longest)

    def _add_polls(self, due: Sequence[DueAttempt]) -> list[Parking]:
        """Add polls; return those without a place, to be due again after all others."""
        dropped, now = [], trio.current_time()
        for one in due:
            if one.is_overdue or (url := one.poll_url) is None:
                continue
            if not self._polls.add(one, url, now):
                key = one.claim.key
                dropped.append(Parking(key.task_id, key.token, 0.0, poll_url=url))
        return dropped

    def _start_polls(self, nursery: trio.Nursery) -> None:
        while (one := self._polls.start(trio.current_time())) is not None:
            nursery.start_soon(self._poll, one)

    async def _end_unrecorded(self) -> float:
        ended = await self._parking.end_unrecorded(limit=UNRECORDED_BATCH)
        return 0.0 if ended >= UNRECORDED_BATCH else UNRECORDED_INTERVAL_SECONDS

    async def _follow_store(self) -> None:
        while True:
            await self._parking.wait_for_parked()
            await trio.sleep(PARKED_PAUSE_SECONDS)
            self._wake_up.notify()

    async def _poll(self, one: Poll) -> None:
        claim = one.attempt.claim
        bind_task(claim.task_id, claim.attempt)
        outcome = await poll(claim, one.url, self._context)
        now = trio.current_time()
        running_seconds = round(one.attempt.running_seconds + now - one.taken_at, 6)
        self._send.send_nowait((one, Attempt(claim, outcome, now, running_seconds)))

    async def _write_polled(self, nursery: trio.Nursery) -> None:
        """Write the outcomes of polls; outcomes that arrive during a write are written together."""
        async for first in self._polled:
            batch = [first, *available(self._polled)]
            try:
                await self._write([attempt for _, attempt in batch])
            except StoreUnavailable as error:
                self._context.outage.begin(error)
            was_crowded = self._polls.is_crowded
            for one, _ in batch:
                self._polls.finish(one.host)
            self._start_polls(nursery)
            if was_crowded and not self._polls.is_crowded:
                self._wake_up.notify()
            del first, batch  # free the results while waiting for more

    async def _write(self, attempts: Sequence[Attempt]) -> None:
        context = self._context
        await write_outcomes(attempts, context.store, context.settings, context.metrics)


def _ended(due: DueAttempt) -> Attempt:
    """Return the end of an attempt that is overdue."""
    claim = due.claim
    completion = claim.options.completion
    if claim.fault:
        outcome = failed(ErrorType.INTERNAL, f"internal: {claim.fault}")
    else:
        within = "" if completion is None else f" within {completion.within_seconds:g} s"
        error = f"timeout: the outcome of the attempt was not known{within}"
        outcome = Failed(ErrorType.TIMEOUT, error)
    return Attempt(claim, outcome, trio.current_time(), due.running_seconds)
