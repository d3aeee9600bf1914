"""The seam between TaskFlow and the place where its schedules live, which is that of its tasks.

As in ``store.base`` each verb is atomic, the store's clock decides, and ``StoreUnavailable`` leaves
open whether a write was done.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Final

import msgspec

from taskflow.model.schedule import Schedule, ScheduleChange, ScheduleDefinition
from taskflow.model.task import Task

# How long it is kept for which times of a schedule tasks were made: clocks are put back by less,
# and a schedule of every second is deleted with no more of them than one statement manages.
FIRINGS_KEPT_SECONDS: Final = 86_400.0


class SchedulePage(msgspec.Struct, frozen=True):
    """Some schedules by name, and the name to ask from next (``None`` at the end)."""

    schedules: list[Schedule]
    next_after: str | None


class Fired(msgspec.Struct, frozen=True):
    """What became of schedules that were due.

    Attributes:
        schedules: How many were looked at.
        tasks: How many tasks they made.
        refused: Those whose times cannot be told here, by name, and why not; they are left to other
            nodes.
    """

    schedules: int = 0
    tasks: int = 0
    refused: Mapping[str, str] = {}


class ScheduleStore(abc.ABC):
    """Where schedules live. ``memory`` and ``postgres`` implement it."""

    # By hand

    @abc.abstractmethod
    async def change(self, name: str, change: ScheduleChange) -> tuple[Schedule, bool]:
        """Make or change a schedule; concurrent changes are applied one after the other.

        Whoever waits for changes, on whatever node, is notified.

        Args:
            name: The schedule.
            change: A pure function; if it raises, nothing is changed. May run in another thread,
                and more than once.

        Returns:
            The schedule, and whether it is new.
        """

    async def put(self, definition: ScheduleDefinition) -> tuple[Schedule, bool]:
        """Make a schedule, or replace the one with its name."""
        return await self.change(definition.name, lambda _: definition)

    @abc.abstractmethod
    async def get(self, name: str) -> Schedule | None:
        """The schedule, or ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        """A page of schedules by name.

        Args:
            limit: How many at most. Fewer come when they are large.
            after: Only those whose names come after this one, byte by byte.
        """

    @abc.abstractmethod
    async def delete(self, name: str) -> bool:
        """Delete a schedule; false if there is none with this name. Its tasks stay."""

    @abc.abstractmethod
    async def run_now(self, name: str) -> Task | None:
        """Make a task of a schedule, paused or not; its times stay as they are.

        Returns:
            The task; ``None`` if there is no such schedule.
        """

    # By the clock

    @abc.abstractmethod
    async def fire_due(self, *, limit: int) -> Fired:
        """Make the tasks of some schedules that are due, each of their times once.

        What another node is just firing is passed over.

        Args:
            limit: How many schedules at most. Fewer are looked at when they are large.
        """

    @abc.abstractmethod
    async def seconds_to_next(self) -> float | None:
        """How long until a schedule is due, not over 0 if one is; ``None`` if none will be."""

    @abc.abstractmethod
    async def wait_for_change(self) -> None:
        """Return when a schedule may be due earlier than ``seconds_to_next`` said.

        Returns at once if that happened since the last call. One task at a time may wait. It is a
        hint, as with ``wait_for_work``.
        """

    @abc.abstractmethod
    async def delete_old_firings(self, *, limit: int) -> int:
        """Forget up to ``limit`` times that were fired long enough ago; return how many."""
