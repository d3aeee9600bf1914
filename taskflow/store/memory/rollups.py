"""Roll-ups of finished tasks and of the backlog, in memory."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.queue_scope import QueueScope
from taskflow.model.rollups import (
    KEPT_SECONDS,
    MAX_HOSTS,
    MAX_QUEUES,
    MINUTE_SECONDS,
    RESOLUTIONS,
    RecordedSeries,
    Rollup,
    Span,
    begin_of,
    first_of,
    times_of,
)
from taskflow.model.task import Task
from taskflow.store.base.rollups import RollupStore


class RollupPart(NamedTuple):
    """The tasks of a roll-up: all, or the tasks of a queue or for a host."""

    queue: str = ""
    host: str = ""


_ALL: Final = RollupPart()


class MemoryRollups(RollupStore):
    """The part of ``MemoryStore`` that keeps roll-ups.

    Args:
        now: The store's clock.
        due: Returns the number of due tasks by queue.
    """

    def __init__(
        self, now: Callable[[], dt.datetime], due: Callable[[], Mapping[str, int]]
    ) -> None:
        self._now = now
        self._due = due
        self._sampled_at: dt.datetime | None = None
        # By the length of the period and its begin.
        self._periods: dict[tuple[int, dt.datetime], dict[RollupPart, Rollup]] = {}

    def note(self, task: Task, host: str, elapsed_seconds: float | None) -> None:
        """Count a task that has just finished."""
        wait_seconds, run_seconds = times_of(
            task.status,
            run_at=task.run_at,
            started_at=task.started_at,
            elapsed_seconds=elapsed_seconds,
        )
        parts = [_ALL, RollupPart(queue=task.queue), *([RollupPart(host=host)] if host else ())]
        for part in parts:
            for rollup in self._rollups_now(part):
                rollup.note(task.status, wait_seconds, run_seconds)

    async def read(
        self,
        span: Span,
        *,
        queue: str | None = None,
        host: str | None = None,
        scope: QueueScope | None = None,
    ) -> RecordedSeries:
        await trio.lowlevel.checkpoint()
        resolution, now, checkpoints = RESOLUTIONS[span], self._now(), Checkpoints()
        found: dict[dt.datetime, Rollup] = {}
        for (period_seconds, at), rollups in list(self._periods.items()):
            await checkpoints.after(0)
            if period_seconds != resolution.period_seconds or at < first_of(span, now):
                continue
            total = Rollup()
            for part, rollup in rollups.items():
                if _is_wanted(part, queue, host, scope):
                    total.add_beside(rollup)
            point = begin_of(at, resolution.bucket_seconds)
            found.setdefault(point, Rollup()).add(total)
        return RecordedSeries(now, found)

    async def sample_backlog(self) -> bool:
        await trio.lowlevel.checkpoint()
        minute = begin_of(self._now(), MINUTE_SECONDS)
        if self._sampled_at is not None and self._sampled_at >= minute:
            return False
        self._sampled_at = minute
        due = self._due()
        known = {part.queue for rollups in self._periods.values() for part in rollups}
        for queue in known | due.keys() | {""}:
            backlog = due.get(queue, 0) if queue else sum(due.values())
            for rollup in self._rollups_now(RollupPart(queue=queue)):
                rollup.sample(backlog)
        return True

    async def delete_old(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now, deleted = self._now(), 0
        for period_seconds, at in list(self._periods):
            if deleted >= limit:
                break
            if at < now - dt.timedelta(seconds=KEPT_SECONDS[period_seconds]):
                deleted += len(self._periods.pop((period_seconds, at)))
        return deleted

    def _rollups_now(self, part: RollupPart) -> list[Rollup]:
        """Return the current roll-ups of a part: of this minute and this hour."""
        return [
            rollup
            for period_seconds in KEPT_SECONDS
            if (rollup := self._rollup_in(period_seconds, part)) is not None
        ]

    def _rollup_in(self, period_seconds: int, part: RollupPart) -> Rollup | None:
        """Return the roll-up of the current period; ``None`` if there are too many parts."""
        at = begin_of(self._now(), period_seconds)
        rollups = self._periods.setdefault((period_seconds, at), {})
        if part not in rollups and _has_no_room(rollups, part):
            return None
        return rollups.setdefault(part, Rollup())


def _has_no_room(rollups: Mapping[RollupPart, Rollup], part: RollupPart) -> bool:
    kinds = Counter((bool(one.queue), bool(one.host)) for one in rollups)
    if part.queue:
        return kinds[True, False] >= MAX_QUEUES
    return bool(part.host) and kinds[False, True] >= MAX_HOSTS


def _is_wanted(
    part: RollupPart, queue: str | None, host: str | None, scope: QueueScope | None
) -> bool:
    if scope is not None:
        is_queue = queue is None or part.queue == queue
        return bool(part.queue) and is_queue and scope.allows(part.queue)
    return part == RollupPart(queue or "", host or "")
