"""What the conditions of alerts read from the store, each at a bounded cost.

None of them needs anything of a task that it does not write in any case.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from taskflow.model.alert_states import Observation
from taskflow.model.alerts import ALERTS_QUEUE, MAX_SUBJECTS, AlertOn, StoredAlert, Subject
from taskflow.model.filter import TaskFilter
from taskflow.model.heartbeat_monitors import HeartbeatState
from taskflow.model.masking import Masking
from taskflow.model.monitoring import Minute
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Task, TaskStatus
from taskflow.model.untrusted_text import shortened
from taskflow.model.url import place_in
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.base.store import TaskStore

MAX_QUEUES: Final = 1000
MAX_NODES: Final = 1000
MAX_HOSTS: Final = 1000
MAX_HEARTBEATS: Final = 1000
MAX_TRANSITIONS: Final = 1000
MAX_EXAMPLES: Final = 3
MAX_EXAMINED_TASKS: Final = 20
LATE_WITHIN_SECONDS: Final = 300.0
"""How long a schedule fires an alert after it was late."""

_COMMIT_SECONDS: Final = 5.0
"""For this time, a transition may be invisible after its time."""

_MAX_ERROR_CHARACTERS: Final = 200
_ALL_QUEUES: Final = "all queues"
_MINUTE: Final = dt.timedelta(minutes=1)

Observe: TypeAlias = Callable[
    [TaskStore, StoredAlert, dt.datetime, Masking], Awaitable[Observation]
]


async def observe(
    store: TaskStore,
    alert: StoredAlert,
    now: dt.datetime,
    masking: Masking,
    missing: Collection[str] = (),
) -> Observation:
    """Return what an alert fires for now.

    Args:
        store: The store.
        alert: The alert.
        now: The time by the store's clock.
        masking: What is masked in errors: notifications leave this service.
        missing: Names of parts of the store that did not answer; may grow meanwhile.

    Raises:
        StoreUnavailable: The store does not answer.
    """
    observation = await _OBSERVE[alert.definition.on](store, alert, now, masking)
    return msgspec.structs.replace(observation, is_complete=not missing)


async def _failed_tasks(
    store: TaskStore, alert: StoredAlert, now: dt.datetime, masking: Masking
) -> Observation:
    definition = alert.definition
    minutes = await _minutes(store, alert, now)
    count = sum(one.finished.get(TaskStatus.FAILED, 0) for one in minutes)
    if count < definition.threshold("minimum"):
        return Observation()
    within = _duration(definition.threshold("window_seconds"))
    subject = Subject(definition.queue or _ALL_QUEUES, f"{count} FAILED within {within}")
    return Observation((subject,), lines=await _examples(store, alert, now, minutes, masking))


async def _failure_rate(
    store: TaskStore, alert: StoredAlert, now: dt.datetime, masking: Masking
) -> Observation:
    definition = alert.definition
    minutes = await _minutes(store, alert, now)
    count = sum(one.finished.get(TaskStatus.FAILED, 0) for one in minutes)
    total = count + sum(one.finished.get(TaskStatus.COMPLETED, 0) for one in minutes)
    if total < definition.threshold("minimum") or count < definition.threshold("rate") * total:
        return Observation()
    within = _duration(definition.threshold("window_seconds"))
    detail = f"{count} of {total} FAILED within {within} ({count / total:.1%})"
    subject = Subject(definition.queue or _ALL_QUEUES, detail)
    return Observation((subject,), lines=await _examples(store, alert, now, minutes, masking))


async def _minutes(store: TaskStore, alert: StoredAlert, now: dt.datetime) -> Sequence[Minute]:
    """Return the minutes of the window, of all queues without notifications of alerts.

    An alert on single failures also counts failures since its last evaluation, however long ago.
    """
    definition = alert.definition
    monitoring = store.monitoring
    every = await monitoring.history(definition.queue)
    if definition.queue is None:
        # Read afterwards: a notification that fails meanwhile is subtracted, never counted.
        every = _subtracted(every, await monitoring.history(ALERTS_QUEUE))
    start = now - dt.timedelta(seconds=definition.threshold("window_seconds"))
    evaluated_at = alert.state.evaluated_at
    if definition.on is AlertOn.TASK_FAILED and evaluated_at is not None:
        start = min(start, evaluated_at)
    return [one for one in every if one.at + _MINUTE > start]


def _subtracted(every: Sequence[Minute], own: Sequence[Minute]) -> list[Minute]:
    ours: Mapping[dt.datetime, Mapping[TaskStatus, int]] = {one.at: one.finished for one in own}
    return [
        msgspec.structs.replace(
            one,
            finished={
                status: max(0, count - ours.get(one.at, {}).get(status, 0))
                for status, count in one.finished.items()
            },
        )
        for one in every
    ]


async def _examples(
    store: TaskStore,
    alert: StoredAlert,
    now: dt.datetime,
    minutes: Sequence[Minute],
    masking: Masking,
) -> tuple[str, ...]:
    """Return examples of failed tasks, if a notification may be due."""
    notified_at, every = alert.state.notified_at, alert.definition.every_seconds
    if notified_at is not None and now < notified_at + dt.timedelta(seconds=every):
        return ()
    wanted = TaskFilter(
        statuses=(TaskStatus.FAILED,),
        queue=alert.definition.queue,
        finished_after=minutes[0].at if minutes else now,
    )
    page = await store.page(limit=MAX_EXAMINED_TASKS, filter=wanted, without=LARGE_FIELDS)
    tasks = [task for task in page.tasks if task.queue != ALERTS_QUEUE]
    return tuple(_line_of(task, masking) for task in tasks[:MAX_EXAMPLES])


async def _failing_schedules(
    store: TaskStore, alert: StoredAlert, _: dt.datetime, masking: Masking
) -> Observation:
    found = await store.schedules.failing(alert.definition.schedule, limit=MAX_SUBJECTS)
    return Observation(
        tuple(
            Subject(one.name, f"{_short(one.error, masking)} (task {one.task_id})") for one in found
        )
    )


async def _late_schedules(
    store: TaskStore, alert: StoredAlert, _: dt.datetime, __: Masking
) -> Observation:
    definition = alert.definition
    found = await store.schedules.overdue(
        definition.schedule,
        late_seconds=definition.threshold("after_seconds"),
        within_seconds=LATE_WITHIN_SECONDS,
        limit=MAX_SUBJECTS,
    )
    return Observation(
        tuple(
            Subject(
                one.name,
                f"late by {_duration(one.late_seconds)} for {one.at:%Y-%m-%d %H:%M:%S} UTC",
            )
            for one in found
        )
    )


async def _waiting_queues(
    store: TaskStore, alert: StoredAlert, _: dt.datetime, __: Masking
) -> Observation:
    definition = alert.definition
    counted = await store.count(limit=MAX_QUEUES, queue=definition.queue)
    after_seconds = definition.threshold("after_seconds")
    return Observation(
        tuple(
            Subject(one.queue, f"a task has been waiting for {_duration(seconds)}")
            for one in counted.queues
            if one.queue != ALERTS_QUEUE
            and definition.queue in (None, one.queue)
            and (seconds := one.oldest_waiting_seconds or 0.0) >= after_seconds
        )
    )


async def _open_hosts(
    store: TaskStore, alert: StoredAlert, _: dt.datetime, masking: Masking
) -> Observation:
    """Return the hosts whose circuit is open, without the hosts that the alert notifies."""
    definition = alert.definition
    own = {place_in(one.masked_url).authority for one in definition.to if one.masked_url}
    held = await store.queues.open_circuits(MAX_HOSTS)
    return Observation(
        tuple(
            Subject(host, _short(hold.why, masking))
            for host, hold in sorted(held.items())
            if host not in own and definition.host in (None, host)
        )
    )


async def _lost_nodes(
    store: TaskStore, _: StoredAlert, __: dt.datetime, ___: Masking
) -> Observation:
    nodes = await store.monitoring.nodes(MAX_NODES)
    return Observation(
        tuple(
            Subject(f"{one.name} {one.id}", f"last heartbeat {one.renewed_at:%H:%M:%S} UTC")
            for one in nodes
            if not one.alive
        )
    )


async def _failing_credentials(
    store: TaskStore, alert: StoredAlert, now: dt.datetime, masking: Masking
) -> Observation:
    """Return the credentials of recent tasks that failed because of them, or will be retried."""
    definition = alert.definition
    since = now - dt.timedelta(seconds=definition.threshold("window_seconds"))
    found: dict[str, Subject] = {}
    for error_type in (ErrorType.CREDENTIAL_MISSING, ErrorType.TOKEN):
        for wanted in (
            TaskFilter(statuses=(TaskStatus.FAILED,), error_type=error_type, finished_after=since),
            TaskFilter(statuses=(TaskStatus.PENDING,), error_type=error_type),
        ):
            page = await store.page(limit=MAX_EXAMINED_TASKS, filter=wanted, without=LARGE_FIELDS)
            for task in page.tasks:
                name = task.credential or await _credential_of_queue(store, task.queue)
                if name is not None and definition.credential in (None, name):
                    found.setdefault(name, Subject(name, _short(task.error, masking)))
    return Observation(tuple(found[name] for name in sorted(found)))


async def _missed_heartbeats(
    store: TaskStore, alert: StoredAlert, now: dt.datetime, _: Masking
) -> Observation:
    """Return the heartbeats that are down, or were since the last evaluation."""
    monitors, only = store.heartbeat_monitors, alert.definition.heartbeat
    found: dict[str, Subject] = {}
    since = (alert.state.evaluated_at or now) - dt.timedelta(seconds=_COMMIT_SECONDS)
    for one in await monitors.transitions_since(since, limit=MAX_TRANSITIONS):
        if one.transition.state is HeartbeatState.DOWN:
            at, reason = one.transition.at, one.transition.reason
            found[one.name] = Subject(one.name, f"{reason}, {at:%Y-%m-%d %H:%M:%S} UTC")
    for observed in await monitors.down(limit=MAX_HEARTBEATS):
        name, at = observed.monitor.definition.name, observed.monitor.state_since
        found.setdefault(name, Subject(name, f"down since {at:%Y-%m-%d %H:%M:%S} UTC"))
    return Observation(tuple(one for one in found.values() if only in (None, one.name)))


async def _credential_of_queue(store: TaskStore, queue: str) -> str | None:
    settings = await store.queues.get(queue)
    return None if settings is None else settings.credential


def _line_of(task: Task, masking: Masking) -> str:
    return f"Task {task.id} in {task.queue}: {_short(task.error, masking)}"


def _short(error: str, masking: Masking) -> str:
    return shortened(masking.text(error), _MAX_ERROR_CHARACTERS)


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two of the next unit
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"  # noqa: PLR2004


_OBSERVE: Final[Mapping[AlertOn, Observe]] = {
    AlertOn.TASK_FAILED: _failed_tasks,
    AlertOn.FAILURE_RATE: _failure_rate,
    AlertOn.SCHEDULE_FAILED: _failing_schedules,
    AlertOn.SCHEDULE_MISSED: _late_schedules,
    AlertOn.OLDEST_WAITING: _waiting_queues,
    AlertOn.HOST_OPEN: _open_hosts,
    AlertOn.NODE_LOST: _lost_nodes,
    AlertOn.CREDENTIAL_FAILING: _failing_credentials,
    AlertOn.HEARTBEAT_MISSED: _missed_heartbeats,
}
