"""Parked attempts, whose targets work on after a 202: the store interface.

A parked task is RUNNING under the token of its claim, but no node holds it (``PARKED_NODE``). So it
is not rescued, and the verbs that end claims work on it: ``settle`` and ``schedule_retries`` finish
the attempt, and a cancel ends it.
"""

from __future__ import annotations

import abc
import datetime as dt
import uuid
from collections.abc import Sequence

import msgspec

from taskflow.model.task import Claim, ClaimKey


class Parking(msgspec.Struct, frozen=True):
    """A claim whose attempt is to be parked, or parked again after a poll.

    Attributes:
        task_id: The task.
        token: The claim's token.
        within_seconds: Time until the attempt is overdue. Counts from when it is parked first.
        makes_room: As in ``Settlement``.
        poll_url: The URL to poll; ``None`` if the target reports the outcome.
        poll_delay_seconds: Time until the next poll.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    within_seconds: float
    makes_room: bool = False
    poll_url: str | None = None
    poll_delay_seconds: float = 0.0

    @property
    def error_type(self) -> None:
        """As in other writes: it has none."""


class OpenAttempt(msgspec.Struct, frozen=True):
    """A RUNNING attempt, parked or still with its request in flight.

    Attributes:
        claim: Its claim.
        running_seconds: Time since it was claimed.
    """

    claim: Claim
    running_seconds: float


class DueAttempt(msgspec.Struct, frozen=True):
    """A parked attempt that is overdue, or has to be polled.

    Attributes:
        claim: Its claim.
        running_seconds: Time since it was claimed.
        is_overdue: True if its time is over; always true of one that is not polled.
        poll_url: The URL to poll, if it is polled.
    """

    claim: Claim
    running_seconds: float
    is_overdue: bool
    poll_url: str | None


class ParkingStore(abc.ABC):
    """Parks attempts, and finds the due ones."""

    @abc.abstractmethod
    async def park(self, parkings: Sequence[Parking]) -> set[uuid.UUID]:
        """Park the attempts of these claims, where still held; return their tasks.

        An attempt that is parked already keeps the time at which it is overdue; its URL and the
        time of its next poll are replaced.
        """

    @abc.abstractmethod
    async def find(self, task_id: uuid.UUID) -> OpenAttempt | None:
        """Return the attempt of a task that is RUNNING; ``None`` if there is none."""

    @abc.abstractmethod
    async def extend(self, key: ClaimKey, within_seconds: float) -> dt.datetime | None:
        """Move the time at which an attempt is overdue to this time from now, and return it.

        An attempt whose request is still in flight gets its time when it is parked. ``None`` if the
        claim is no longer held. An attempt that is overdue may end in the same moment.
        """

    @abc.abstractmethod
    async def take_due(self, *, limit: int, take_seconds: float) -> list[DueAttempt]:
        """Return up to ``limit`` parked attempts that are overdue, or due to be polled.

        For ``take_seconds`` no other call returns them, so the caller must have written an outcome
        by then, or they are due again. Of several nodes that ask at once, each gets different ones.
        """

    @abc.abstractmethod
    async def seconds_to_next(self) -> float | None:
        """Return the time until the next attempt is due, 0 if one is; ``None`` without any."""

    @abc.abstractmethod
    async def end_unrecorded(self, *, limit: int) -> int:
        """Make up to ``limit`` parked attempts overdue of which nothing else is known.

        A restore or another program may leave such tasks, which nothing else would end. The cost
        grows with the number of parked attempts: a millisecond for some hundreds.

        Returns:
            Their number.
        """

    @abc.abstractmethod
    async def wait_for_parked(self) -> None:
        """Return when an attempt was parked in this process since the last call."""
