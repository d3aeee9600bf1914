"""Schedules in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of, run_entry, schedule_entry
from taskflow.model.conditional_fetch import Validators, find_compared_task, validators_of
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import ScheduleOverlap
from taskflow.model.masking import Masking
from taskflow.model.schedule import (
    KEPT_RUNS,
    Overlap,
    RunKind,
    Schedule,
    ScheduleChange,
    ScheduleRun,
    StoredSchedule,
    overlap_message,
)
from taskflow.model.schedule_times import apply_definition, compute_due, times_to_run
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.store.base.schedules import (
    FIRINGS_KEPT_SECONDS,
    MAX_JUDGED_TIMES,
    FailingSchedule,
    Fired,
    OverdueSchedule,
    SchedulePage,
    ScheduleStore,
)
from taskflow.store.memory.audit import MemoryAudit
from taskflow.wakeup import WakeUp

# Cost of a time that is fired, as amount of work between two checkpoints.
_FIRED_BYTES: Final = 2 * 2**10


class ScheduleTasks(msgspec.Struct, frozen=True):
    """The tasks beside the schedules.

    Attributes:
        add: Stores new tasks.
        find: Returns a task, and how it was submitted.
        cancel: Cancels an open task.
        open: Ids by name of the schedules that limit overlaps; retried tasks are added.
    """

    add: Callable[[Sequence[NewTask]], list[Task]]
    find: Callable[[uuid.UUID], tuple[Task, NewTask] | None]
    cancel: Callable[[uuid.UUID], Task]
    open: dict[str, set[uuid.UUID]]


class MemorySchedules(ScheduleStore):
    """Schedules beside the tasks of a store in memory.

    Args:
        tasks: The tasks.
        now: The store's clock.
        masking: What is masked in schedules that are shown.
        audit: The audit log.
        encryption: Decrypts the results that conditional fetches are compared with.
    """

    def __init__(
        self,
        tasks: ScheduleTasks,
        *,
        now: Callable[[], dt.datetime],
        masking: Masking,
        audit: MemoryAudit,
        encryption: Encryption = NO_ENCRYPTION,
    ) -> None:
        self._encryption = encryption
        self._tasks = tasks
        self._open_tasks = tasks.open
        self._now = now
        self._masking = masking
        self._audit = audit
        self._schedules: dict[str, StoredSchedule] = {}
        # The times that have fired, with when that was, and their tasks if they were not skipped.
        self._firings: dict[tuple[str, dt.datetime], tuple[dt.datetime, uuid.UUID | None]] = {}
        self._runs: defaultdict[str, dict[dt.datetime, ScheduleRun]] = defaultdict(dict)
        self._change = WakeUp()

    async def change(
        self, name: str, change: ScheduleChange, *, by: Actor | None = None
    ) -> tuple[Schedule, bool]:
        await trio.lowlevel.checkpoint()
        before = self._schedules.get(name)
        kept = apply_definition(change(before.definition if before else None), before, self._now())
        self._schedules[name] = kept
        self._note_overlap(kept)
        self._audit.add(schedule_entry(by, before, kept))
        self._change.notify()
        return self._shown(kept), before is None

    async def get(self, name: str) -> Schedule | None:
        await trio.lowlevel.checkpoint()
        kept = self._schedules.get(name)
        return None if kept is None else self._shown(kept)

    async def get_stored(self, name: str) -> tuple[StoredSchedule, dt.datetime] | None:
        await trio.lowlevel.checkpoint()
        kept = self._schedules.get(name)
        return None if kept is None else (kept, self._now())

    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        await trio.lowlevel.checkpoint()
        names = sorted(name for name in self._schedules if after is None or name > after)
        some = [self._shown(self._schedules[name]) for name in names[:limit]]
        return SchedulePage(some, some[-1].name if len(names) > limit else None)

    async def runs(self, name: str, *, limit: int) -> list[ScheduleRun]:
        await trio.lowlevel.checkpoint()
        found = sorted(self._runs.get(name, {}).values(), key=lambda run: run.at, reverse=True)
        return [self._with_task(run) for run in found[:limit]]

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if name not in self._schedules:
            return False
        for firing in [firing for firing in self._firings if firing[0] == name]:
            del self._firings[firing]
        del self._schedules[name]
        self._runs.pop(name, None)
        self._open_tasks.pop(name, None)
        self._audit.add(entry_of(Action.SCHEDULE_DELETE, by, name))
        return True

    async def run_now(self, name: str, *, by: Actor | None = None) -> Task | None:
        await trio.lowlevel.checkpoint()
        kept = self._schedules.get(name)
        if kept is None:
            return None
        if self._has_open_task(kept):
            raise ScheduleOverlap(overlap_message(name))
        [task] = self._tasks.add([kept.definition.make_task(None, self._validators(kept))])
        self._schedules[name] = kept.with_task(task.id, self._now())
        self._note_tasks(name, [task])
        self._note_run(name, task.created_at, RunKind.MANUAL, task_id=task.id)
        self._audit.add(run_entry(by, name, task.id))
        return self._masking.task(task)

    async def fire_due(self, *, limit: int) -> Fired:
        await trio.lowlevel.checkpoint()
        some = list(itertools.islice(self._in_order(), limit))
        tasks, skipped, checkpoints = 0, 0, Checkpoints()
        for kept in some:
            if self._schedules.get(kept.definition.name) is not kept:  # changed meanwhile
                continue
            made, left_out = self._fire(kept)
            tasks, skipped = tasks + made, skipped + left_out
            await checkpoints.after((made + left_out) * _FIRED_BYTES)
        return Fired(len(some), tasks, skipped)

    async def seconds_to_next(self) -> float | None:
        await trio.lowlevel.checkpoint()
        next_run_at = min(
            (at for at in map(_next_run_at, self._schedules.values()) if at), default=None
        )
        return None if next_run_at is None else (next_run_at - self._now()).total_seconds()

    async def wait_for_change(self) -> None:
        await self._change.wait()

    async def delete_old_firings(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        horizon = self._now() - dt.timedelta(seconds=FIRINGS_KEPT_SECONDS)
        old = [firing for firing, (at, _) in self._firings.items() if at < horizon]
        for firing in old[:limit]:
            del self._firings[firing]
        return len(old[:limit])

    async def failing(self, name: str | None, *, limit: int) -> list[FailingSchedule]:
        await trio.lowlevel.checkpoint()
        names = sorted(self._schedules) if name is None else [name]
        found = (self._last_failure(one) for one in names if one in self._schedules)
        return list(itertools.islice((one for one in found if one is not None), limit))

    async def overdue(
        self, name: str | None, *, late_seconds: float, within_seconds: float, limit: int
    ) -> list[OverdueSchedule]:
        await trio.lowlevel.checkpoint()
        now = self._now()
        recently = now - dt.timedelta(seconds=within_seconds)
        late = [(one, kept.next_run_at, now) for one, kept in self._schedules.items()]
        late += [(one, at, fired) for (one, at), (fired, _) in self._firings.items()]
        found: dict[str, OverdueSchedule] = {}
        for one, at, fired in late:
            if at is None or fired < recently or name not in (None, one):
                continue
            seconds = (fired - at).total_seconds()
            if seconds >= late_seconds and (one not in found or at < found[one].at):
                found[one] = OverdueSchedule(one, at, seconds)
        return [found[one] for one in sorted(found)][:limit]

    def _last_failure(self, name: str) -> FailingSchedule | None:
        """Return the last finished task of a schedule if it FAILED."""
        times = sorted((one for one in self._firings if one[0] == name), reverse=True)
        ids = {self._firings[one][1] for one in times[:MAX_JUDGED_TIMES]}
        ids.add(self._schedules[name].last_task_id)
        found = (self._tasks.find(one) for one in sorted(filter(None, ids), reverse=True))
        task = next((one[0] for one in found if one and one[0].status.is_final), None)
        if task is None or task.status is not TaskStatus.FAILED:
            return None
        return FailingSchedule(name, task.id, task.error)

    def note_change(self) -> None:
        """Record that a schedule may be due earlier."""
        self._change.notify()

    def names_with_credential(self, name: str) -> list[str]:
        """Return the schedules whose tasks name this credential."""
        return [one for one, kept in self._schedules.items() if kept.definition.credential == name]

    def _in_order(self) -> Iterator[StoredSchedule]:
        """Yield the schedules that are due, the earliest first."""
        now = self._now()
        every = self._schedules.values()
        due = [kept for kept in every if kept.next_run_at and kept.next_run_at <= now]
        due.sort(key=lambda kept: kept.next_run_at or now)
        return iter(due)

    def _fire(self, kept: StoredSchedule) -> tuple[int, int]:
        """Fire a schedule; return the number of its new tasks, and of the times skipped."""
        now, name = self._now(), kept.definition.name
        what = compute_due(kept, now)
        new = [at for at in what.times if (name, at) not in self._firings]
        has_open_task = bool(new) and self._has_open_task(kept)
        run = times_to_run(new, kept.definition.overlap, has_open_task=has_open_task)
        validators = self._validators(kept)
        kept = msgspec.structs.replace(kept, next_run_at=what.next_run_at)
        tasks = self._tasks.add([kept.definition.make_task(at, validators) for at in run])
        for task in tasks:
            kept = kept.with_task(task.id, now)
        self._note_tasks(name, tasks)
        self._firings.update(((name, at), (now, None)) for at in new)
        self._firings.update(
            ((name, at), (now, task.id)) for at, task in zip(run, tasks, strict=True)
        )
        for at, task in zip(run, tasks, strict=True):
            self._note_run(name, at, RunKind.SCHEDULED, task_id=task.id)
        for at in (at for at in new if at not in run):
            self._note_run(name, at, RunKind.SKIPPED)
        if missed := [at for at in what.missed if (name, at) not in self._firings]:
            self._note_run(name, missed[-1], RunKind.MISSED, count=len(missed))
        skipped = len(new) - len(run)
        self._schedules[name] = kept.with_skips(skipped, now) if skipped else kept
        return len(run), skipped

    def _has_open_task(self, kept: StoredSchedule) -> bool:
        """Return whether an earlier task is open, after the schedule canceled what it cancels."""
        tasks = self._open_tasks.get(kept.definition.name, set())
        found = [one[0] for task_id in sorted(tasks) if (one := self._tasks.find(task_id))]
        open_tasks = [task.id for task in found if not task.status.is_final]
        if kept.definition.overlap is Overlap.CANCEL_PREVIOUS:
            for task_id in open_tasks:
                self._tasks.cancel(task_id)
            open_tasks = []
        tasks.intersection_update(open_tasks)
        return bool(open_tasks)

    def _note_tasks(self, name: str, tasks: Iterable[Task]) -> None:
        if name in self._open_tasks:
            self._open_tasks[name].update(task.id for task in tasks)

    def _note_run(
        self,
        name: str,
        at: dt.datetime,
        kind: RunKind,
        *,
        task_id: uuid.UUID | None = None,
        count: int = 1,
    ) -> None:
        """Record a run in the history, unless the time has been recorded."""
        runs = self._runs[name]
        runs.setdefault(at, ScheduleRun(at=at, kind=kind, task_id=task_id, count=count))
        for old in sorted(runs)[:-KEPT_RUNS]:
            del runs[old]

    def _with_task(self, run: ScheduleRun) -> ScheduleRun:
        found = run.task_id and self._tasks.find(run.task_id)
        if not found:
            return run
        task = self._masking.task(found[0])
        return msgspec.structs.replace(
            run,
            status=task.status,
            started_at=task.started_at,
            finished_at=task.finished_at,
            attempt=task.attempt,
            error=task.error,
        )

    def _note_overlap(self, kept: StoredSchedule) -> None:
        """Remember the open tasks of a schedule while it limits overlaps."""
        name = kept.definition.name
        if not kept.definition.limits_overlap:
            self._open_tasks.pop(name, None)
        elif name not in self._open_tasks:
            made = [task_id for (one, _), (_, task_id) in self._firings.items() if one == name]
            self._open_tasks[name] = {one for one in (*made, kept.last_task_id) if one}

    def _shown(self, kept: StoredSchedule) -> Schedule:
        found = kept.last_task_id and self._tasks.find(kept.last_task_id)
        return self._masking.schedule(kept.as_shown(found[0].status if found else None))

    def _validators(self, kept: StoredSchedule) -> Validators | None:
        found = {task_id: self._tasks.find(task_id) for task_id in kept.compared}
        statuses = {task_id: one[0].status for task_id, one in found.items() if one}
        task_id = find_compared_task(kept.compared, statuses)
        if task_id is None or (one := found[task_id]) is None:
            return None
        task, submitted = one
        assert task.result is not None
        result = self._encryption.opened_result(task.result, task.id)
        return validators_of(bytes(result), submitted.options)


def _next_run_at(kept: StoredSchedule) -> dt.datetime | None:
    return kept.next_run_at
