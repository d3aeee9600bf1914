"""Schedules, which are stored beside the tasks: the store interface.

As in ``tasks.py``, each verb is atomic, the store's clock decides, and after ``StoreUnavailable``
it is unknown whether a write was done.
"""

from __future__ import annotations

import abc
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Final

import msgspec
import trio

from taskflow.model.audit import Actor
from taskflow.model.errors import ScheduleNotFound
from taskflow.model.schedule import (
    NextRuns,
    Schedule,
    ScheduleChange,
    ScheduleDefinition,
    ScheduleRun,
    StoredSchedule,
)
from taskflow.model.schedule_times import upcoming_times
from taskflow.model.task import Task

# Time for which a store remembers the times that a schedule has fired for: clocks are set back by
# less, and one statement can delete a day of a schedule that fires every second.
MAX_JUDGED_TIMES: Final = 20
MAX_JUDGED_FIRINGS: Final = 10_000
FIRINGS_KEPT_SECONDS: Final = 86_400.0


class SchedulePage(msgspec.Struct, frozen=True):
    """Some schedules by name, and the name that the next page is after (``None`` at the end)."""

    schedules: list[Schedule]
    next_after: str | None


class Fired(msgspec.Struct, frozen=True):
    """Result of firing due schedules.

    Attributes:
        schedules: Number of schedules.
        tasks: Number of tasks that they made.
        skipped: Number of times that were skipped because an earlier task was open.
        refused: Errors by name of the schedules whose times cannot be computed on this node, which
            are left to other nodes.
    """

    schedules: int = 0
    tasks: int = 0
    skipped: int = 0
    refused: Mapping[str, str] = {}


class FailingSchedule(msgspec.Struct, frozen=True):
    """A schedule whose last finished task FAILED: its name, the task, and the error."""

    name: str
    task_id: uuid.UUID
    error: str


class OverdueSchedule(msgspec.Struct, frozen=True):
    """A schedule that is late: its name, the time, and how late that is."""

    name: str
    at: dt.datetime
    late_seconds: float


class ScheduleStore(abc.ABC):
    """Stores schedules, and makes their tasks; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing.
    """

    @abc.abstractmethod
    async def change(
        self, name: str, change: ScheduleChange, *, by: Actor | None = None
    ) -> tuple[Schedule, bool]:
        """Create or change a schedule; concurrent changes are applied one after the other.

        All nodes that wait for changes are notified.

        Args:
            name: The schedule.
            change: A pure function; if it raises, nothing is changed. May run in another thread,
                and more than once.
            by: Who changes it.

        Returns:
            The schedule, and whether it is new.
        """

    async def put(self, definition: ScheduleDefinition) -> tuple[Schedule, bool]:
        """Create a schedule, or replace the one with its name."""
        return await self.change(definition.name, lambda _: definition)

    @abc.abstractmethod
    async def get(self, name: str) -> Schedule | None:
        """Return the schedule; ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def get_stored(self, name: str) -> tuple[StoredSchedule, dt.datetime] | None:
        """Return a schedule as it is stored, and the current time; ``None`` if there is none.

        Raises:
            ScheduleNotFound: It cannot be read.
        """

    async def next_runs(self, name: str, *, count: int) -> NextRuns | None:
        """Return the next times of a schedule; ``None`` if there is none with this name.

        Args:
            name: The schedule.
            count: Maximum number of times. Fewer are returned if there are no more.

        Raises:
            ScheduleNotFound: They cannot be computed.
        """
        found = await self.get_stored(name)
        if found is None:
            return None
        times, upcoming = list[dt.datetime](), upcoming_times(*found)
        try:
            while len(times) < count and (at := next(upcoming, None)) is not None:
                times.append(at)
                await trio.lowlevel.checkpoint()
        except Exception as error:  # a zone that this node does not know, say
            raise ScheduleNotFound(
                f"the times of schedule {name} are unknown: {error!r}"
            ) from error
        return NextRuns(name=name, paused=found[0].definition.paused, times=times)

    @abc.abstractmethod
    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        """Return a page of schedules by name.

        Args:
            limit: Maximum number of schedules. Fewer are returned if they are large.
            after: Only schedules whose names sort after this one, byte by byte.
        """

    @abc.abstractmethod
    async def runs(self, name: str, *, limit: int) -> list[ScheduleRun]:
        """Return the last runs of a schedule, newest first, with the state of their tasks.

        The last ``KEPT_RUNS`` are kept. Runs that a node of an earlier version made are absent.
        """

    @abc.abstractmethod
    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        """Delete a schedule, not its tasks; false if there is none with this name."""

    @abc.abstractmethod
    async def run_now(self, name: str, *, by: Actor | None = None) -> Task | None:
        """Make a task of a schedule, paused or not, without changing its times.

        Its ``overlap`` applies.

        Returns:
            The task; ``None`` if there is no such schedule.

        Raises:
            ScheduleOverlap: An earlier task is open, and the schedule skips its times then.
        """

    @abc.abstractmethod
    async def fire_due(self, *, limit: int) -> Fired:
        """Make the tasks of some due schedules, once for each of their times.

        Schedules that another node is firing are skipped. If an earlier task of a schedule is
        PENDING or RUNNING, its ``overlap`` decides, in the same transaction.

        Args:
            limit: Maximum number of schedules. Fewer are fired if they are large.
        """

    @abc.abstractmethod
    async def seconds_to_next(self) -> float | None:
        """Return the time until a schedule is due (at most 0 if one is); ``None`` if none will."""

    @abc.abstractmethod
    async def wait_for_change(self) -> None:
        """Return when a schedule may be due earlier than ``seconds_to_next`` said.

        Returns at once if that happened since the last call. One task at a time may wait. It is a
        hint, like ``wait_for_work``.
        """

    @abc.abstractmethod
    async def delete_old_firings(self, *, limit: int) -> int:
        """Delete up to ``limit`` fired times that are old enough, and return their number."""

    @abc.abstractmethod
    async def failing(self, name: str | None, *, limit: int) -> list[FailingSchedule]:
        """Return the first schedules by name whose last task that has finished FAILED.

        Of each schedule, the tasks of its last ``MAX_JUDGED_TIMES`` times are read.

        Args:
            name: Only this schedule; ``None`` for all.
            limit: Maximum number of schedules.
        """

    @abc.abstractmethod
    async def overdue(
        self, name: str | None, *, late_seconds: float, within_seconds: float, limit: int
    ) -> list[OverdueSchedule]:
        """Return the first schedules by name that are late.

        Args:
            name: Only this schedule; ``None`` for all.
            late_seconds: How late a time must be.
            within_seconds: How long ago a time that was late may have been processed; of the last
                ``MAX_JUDGED_FIRINGS`` times that were.
            limit: Maximum number of schedules.
        """
