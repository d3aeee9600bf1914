"""Parked attempts in memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.parking import DueAttempt, OpenAttempt, Parking, ParkingStore
from taskflow.store.memory.state import ParkedAttempt
from taskflow.wakeup import WakeUp


class ParkedTasks(msgspec.Struct, frozen=True):
    """The tasks of parked attempts.

    Attributes:
        is_held: Returns whether a claim is held.
        park: Takes a running task from its node.
        make_room: Called when held tasks may start.
        find: Returns the claim of a running task, and how long it has been running.
        parked: The parked attempts by task.
    """

    is_held: Callable[[ClaimKey], bool]
    park: Callable[[uuid.UUID], None]
    make_room: Callable[[], None]
    find: Callable[[uuid.UUID], tuple[Claim, float] | None]
    parked: dict[uuid.UUID, ParkedAttempt]


class MemoryParking(ParkingStore):
    """The part of ``MemoryStore`` that parks attempts.

    Args:
        tasks: The tasks.
        now: The store's clock.
    """

    def __init__(self, tasks: ParkedTasks, now: Callable[[], dt.datetime]) -> None:
        self._tasks = tasks
        self._now = now
        self._has_parked: Final = WakeUp()

    async def park(self, parkings: Sequence[Parking]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        if any(one.makes_room for one in parkings):
            self._tasks.make_room()
        held = [one for one in parkings if self._tasks.is_held(ClaimKey(one.task_id, one.token))]
        for one in held:
            now, known = self._now(), self._tasks.parked.get(one.task_id)
            overdue_at = now + dt.timedelta(seconds=one.within_seconds)
            if known is not None:
                overdue_at = known.overdue_at
            poll_at = now + dt.timedelta(seconds=one.poll_delay_seconds)
            due_at = overdue_at if one.poll_url is None else min(poll_at, overdue_at)
            attempt = ParkedAttempt(one.token, due_at, overdue_at, one.poll_url)
            self._tasks.parked[one.task_id] = attempt
            self._tasks.park(one.task_id)
        if held:
            self._has_parked.notify()
        return {one.task_id for one in held}

    async def find(self, task_id: uuid.UUID) -> OpenAttempt | None:
        await trio.lowlevel.checkpoint()
        found = self._tasks.find(task_id)
        return None if found is None else OpenAttempt(*found)

    async def extend(self, key: ClaimKey, within_seconds: float) -> dt.datetime | None:
        await trio.lowlevel.checkpoint()
        if not self._tasks.is_held(key):
            return None
        overdue_at = self._now() + dt.timedelta(seconds=within_seconds)
        attempt = self._tasks.parked.get(key.task_id)
        if attempt is not None:
            is_polled = attempt.poll_url is not None
            due_at = min(attempt.due_at, overdue_at) if is_polled else overdue_at
            self._tasks.parked[key.task_id] = msgspec.structs.replace(
                attempt, due_at=due_at, overdue_at=overdue_at
            )
        return overdue_at

    async def take_due(self, *, limit: int, take_seconds: float) -> list[DueAttempt]:
        await trio.lowlevel.checkpoint()
        now = self._now()
        due = [
            (one.due_at, task_id)
            for task_id, one in self._tasks.parked.items()
            if one.due_at <= now
        ]
        until = now + dt.timedelta(seconds=take_seconds)
        taken = []
        for _, task_id in sorted(due)[:limit]:
            attempt = self._tasks.parked[task_id]
            self._tasks.parked[task_id] = msgspec.structs.replace(attempt, due_at=until)
            found = self._tasks.find(task_id)
            assert found is not None
            is_overdue = attempt.overdue_at <= now or attempt.poll_url is None
            taken.append(DueAttempt(*found, is_overdue, attempt.poll_url))
        return taken

    async def seconds_to_next(self) -> float | None:
        await trio.lowlevel.checkpoint()
        first = min((one.due_at for one in self._tasks.parked.values()), default=None)
        return None if first is None else max(0.0, (first - self._now()).total_seconds())

    async def end_unrecorded(self, *, limit: int) -> int:  # noqa: ARG002 - as in ParkingStore
        await trio.lowlevel.checkpoint()
        return 0  # no other program writes here

    async def wait_for_parked(self) -> None:
        await self._has_parked.wait()
