"""Housekeeping: the periodic jobs of a node, and the loop that runs them.

A job is a step that does one bounded piece of work and returns the seconds until its next run.
Every node runs all jobs; each skips the rows that another node is processing. Claims never depend
on housekeeping: they skip expired tasks themselves, for example.

Schedules are not polled: each node sleeps until the next time of any schedule, or until one is
changed. All nodes wake up at the same moment and share the work: each skips the schedules that
another node has locked, and the store ensures that no time fires twice.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import trio

from taskflow.engine.context import EngineContext, Outage
from taskflow.engine.missed_heartbeats import HeartbeatChecks
from taskflow.engine.rescue import rescue_tasks
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.schedules import ScheduleStore
from taskflow.store.base.store import TaskStore
from taskflow.telemetry import Event, emit

EXPIRE_BATCH: Final = 500
# Minimum pause while a task that has expired is locked, because it was claimed just in time.
MIN_EXPIRY_PAUSE_SECONDS: Final = 0.05
# Folding this many changes takes the store milliseconds.
FOLD_BATCH: Final = 5000
# Deleting this many tasks takes milliseconds, so claims and pages do not wait for it.
DELETE_BATCH: Final = 500
DELETE_SMALL_ROWS_BATCH: Final = 5000
# Moving this many small tasks takes about as long.
ARCHIVE_BATCH: Final = 500
MAX_ARCHIVE_PAUSE_SECONDS: Final = 60.0
DAY_SECONDS: Final = 86_400.0
MAX_DELETE_PAUSE_SECONDS: Final = 60.0
# Pause between two batches, which leaves most of the store's time to other statements.
DELETE_BATCH_PAUSE_SECONDS: Final = 0.1
FIRE_BATCH: Final = 1000
# Maximum sleep of the schedules, in case the database's clock is changed or a notification is lost;
# the polling interval, if that is longer.
MAX_SLEEP_SECONDS: Final = 30.0
# Pause while another node has a due schedule locked; that node may die.
LOCKED_PAUSE_SECONDS: Final = 0.05
# Pause while this node cannot compute the times of a due schedule.
REFUSED_PAUSE_SECONDS: Final = 1.0
# The sleep is measured by another clock than the store's; it must not end too early.
MARGIN_SECONDS: Final = 0.001


class Job(NamedTuple):
    """A periodic job.

    Attributes:
        step: Does one piece of work, and returns the seconds until the next one.
        retry_seconds: Delay after a step that failed because the store was unavailable.
        wake_up: Returns when the next step should run earlier than planned.
    """

    step: Callable[[], Awaitable[float]]
    retry_seconds: float
    wake_up: Callable[[], Awaitable[None]] = trio.sleep_forever


async def run_housekeeping(context: EngineContext) -> None:
    """Run all jobs until cancelled, each in a task of its own: no job delays another one."""
    async with trio.open_nursery() as nursery:
        for job in _jobs(context):
            nursery.start_soon(run_job, job, context.outage)


def _jobs(context: EngineContext) -> tuple[Job, ...]:
    settings, schedules = context.settings, context.store.schedules
    age_seconds = settings.archive_after_seconds
    archiving = () if age_seconds is None else (_archiving(context.store, age_seconds),)
    return (
        *archiving,
        Job(partial(rescue_tasks, context), settings.heartbeat_seconds),
        Job(partial(expire_tasks, context), settings.poll_seconds),
        Job(partial(fold_counts, context), settings.heartbeat_seconds),
        Job(context.identity.rotate, settings.heartbeat_seconds),
        Job(partial(delete_old_rows, context), _delete_pause_seconds(context)),
        Job(
            ScheduleFiring(schedules, max(MAX_SLEEP_SECONDS, settings.poll_seconds)).step,
            settings.poll_seconds,
            schedules.wait_for_change,
        ),
        Job(
            HeartbeatChecks(context.store.heartbeat_monitors, settings.poll_seconds).step,
            settings.poll_seconds,
        ),
    )


async def run_job(job: Job, outage: Outage) -> None:
    """Run a job until cancelled."""
    while True:
        try:
            delay_seconds = await job.step()
        except StoreUnavailable as error:
            outage.begin(error)
            await trio.sleep(job.retry_seconds)
            continue
        with trio.move_on_after(delay_seconds):
            await job.wake_up()


async def expire_tasks(context: EngineContext) -> float:
    """Fail a batch of PENDING tasks that have expired; then sleep until the next one expires."""
    expired = await context.store.expire(limit=EXPIRE_BATCH)
    if expired:
        emit(Event.TASKS_EXPIRED, tasks=expired)
    if expired >= EXPIRE_BATCH:
        return 0.0
    seconds = await context.store.seconds_to_expiry()
    # Tasks may be submitted or released in the meantime.
    seconds = min(math.inf if seconds is None else seconds, context.settings.poll_seconds)
    return max(seconds, MIN_EXPIRY_PAUSE_SECONDS)


async def fold_counts(context: EngineContext) -> float:
    """Add a batch of recorded changes to the stored counts of tasks."""
    folded = await context.store.fold_counts(limit=FOLD_BATCH)
    of_groups = await context.store.groups.fold_counts(limit=FOLD_BATCH)
    await context.store.rollups.sample_backlog()
    return 0.0 if max(folded, of_groups) >= FOLD_BATCH else context.settings.heartbeat_seconds


async def delete_old_rows(context: EngineContext) -> float:
    """Delete a batch of tasks whose retention is over, and of old rows of other kinds."""
    store = context.store
    tasks = await store.delete_finished(
        age_seconds=context.settings.retention_seconds, limit=DELETE_BATCH
    )
    keys = await store.delete_expired_keys(limit=DELETE_BATCH)
    queue_rows = await store.queues.delete_stale(limit=DELETE_BATCH)
    events = await store.delete_old_events(limit=DELETE_SMALL_ROWS_BATCH)
    firings = await store.schedules.delete_old_firings(limit=DELETE_SMALL_ROWS_BATCH)
    audit_entries = await _delete_audit_entries(context)
    group_rows = await _delete_groups(context)
    topic_events = await _delete_topic_events(context)
    rollups = await store.rollups.delete_old(limit=DELETE_SMALL_ROWS_BATCH)
    await store.failures.check_tasks(limit=DELETE_BATCH)
    await store.failures.delete_resolved(limit=DELETE_BATCH)
    if tasks:
        emit(Event.TASKS_DELETED, tasks=tasks)
    has_more = (
        tasks
        or group_rows  # a batch of large tasks is smaller than its limit
        or max(keys, queue_rows) >= DELETE_BATCH
        or max(events, firings, audit_entries, topic_events, rollups) >= DELETE_SMALL_ROWS_BATCH
    )
    return DELETE_BATCH_PAUSE_SECONDS if has_more else _delete_pause_seconds(context)


async def _delete_groups(context: EngineContext) -> int:
    age_seconds = context.settings.retention_seconds
    if age_seconds is None:
        return 0
    groups = context.store.groups
    return await groups.delete_finished(age_seconds=age_seconds, limit=DELETE_BATCH)


async def _delete_topic_events(context: EngineContext) -> int:
    settings = context.settings
    if settings.retention_seconds is None:
        return 0
    # A request that is repeated with its Idempotency-Key returns its event.
    age_seconds = max(settings.retention_seconds, settings.idempotency_seconds)
    return await context.store.topics.delete_old_events(
        age_seconds=age_seconds, limit=DELETE_SMALL_ROWS_BATCH
    )


async def _delete_audit_entries(context: EngineContext) -> int:
    days = context.settings.audit_retention_days
    if days is None:
        return 0
    return await context.store.audit.delete_old(
        age_seconds=days * DAY_SECONDS, limit=DELETE_SMALL_ROWS_BATCH
    )


def _delete_pause_seconds(context: EngineContext) -> float:
    settings = context.settings
    longest = max(MAX_DELETE_PAUSE_SECONDS, settings.poll_seconds)
    return min(settings.retention_seconds or math.inf, longest)


def _archiving(store: TaskStore, age_seconds: float) -> Job:
    pause_seconds = min(age_seconds, MAX_ARCHIVE_PAUSE_SECONDS)
    return Job(Archiving(store, age_seconds, pause_seconds).step, pause_seconds)


class Archiving:
    """The housekeeping job that moves finished tasks to the archive."""

    def __init__(self, store: TaskStore, age_seconds: float, pause_seconds: float) -> None:
        self._store = store
        self._age_seconds = age_seconds
        self._pause_seconds = pause_seconds
        self._obstacle = ""

    async def step(self) -> float:
        """Move a batch of tasks; then sleep at least as long as that took."""
        began = trio.current_time()
        step = await self._store.archive(age_seconds=self._age_seconds, limit=ARCHIVE_BATCH)
        if step.moved:
            emit(Event.TASKS_ARCHIVED, tasks=step.moved)
        if step.obstacle and step.obstacle != self._obstacle:
            emit(Event.ARCHIVE_BLOCKED, reason=step.obstacle)
        self._obstacle = step.obstacle
        if not step.has_more:
            return self._pause_seconds
        return max(DELETE_BATCH_PAUSE_SECONDS, trio.current_time() - began)


class ScheduleFiring:
    """The housekeeping job that fires schedules."""

    def __init__(
        self, schedules: ScheduleStore, max_sleep_seconds: float = MAX_SLEEP_SECONDS
    ) -> None:
        self._schedules = schedules
        self._max_sleep_seconds = max_sleep_seconds
        self._refused: Mapping[str, str] = {}

    async def step(self) -> float:
        """Fire a batch of due schedules, and return the seconds until the next batch."""
        fired = await self._schedules.fire_due(limit=FIRE_BATCH)
        if fired.tasks or fired.skipped:
            schedules, tasks, skipped = fired.schedules, fired.tasks, fired.skipped
            emit(Event.SCHEDULES_FIRED, schedules=schedules, tasks=tasks, skipped=skipped)
        if fired.schedules and not fired.refused:
            return 0.0
        seconds = await self._schedules.seconds_to_next()
        self._report_refused(fired.refused)
        delay_seconds = _delay_seconds(seconds, is_refused=bool(fired.refused))
        return min(delay_seconds, self._max_sleep_seconds)

    def _report_refused(self, refused: Mapping[str, str]) -> None:
        for name in refused.keys() - self._refused.keys():
            emit(Event.SCHEDULE_ERROR, schedule=name, reason=refused[name])
        self._refused = refused


def _delay_seconds(seconds_to_next: float | None, *, is_refused: bool) -> float:
    seconds = math.inf if seconds_to_next is None else seconds_to_next
    if seconds > 0:
        return seconds + MARGIN_SECONDS
    return REFUSED_PAUSE_SECONDS if is_refused else LOCKED_PAUSE_SECONDS
