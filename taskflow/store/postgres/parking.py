"""Parked attempts in PostgreSQL: see migration 0030."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.parking import DueAttempt, OpenAttempt, Parking, ParkingStore
from taskflow.store.postgres.rows import Row, claim_of
from taskflow.store.postgres.statements import StoreContext, StorePart
from taskflow.wakeup import WakeUp


class PostgresParking(StorePart, ParkingStore):
    """The part of ``PostgresStore`` that parks attempts."""

    def __init__(self, context: StoreContext) -> None:
        super().__init__(context)
        self._parked: Final = WakeUp()

    async def park(self, parkings: Sequence[Parking]) -> set[uuid.UUID]:
        rows = await self._write_held(
            "park_if_held",
            parkings,
            within=[float(one.within_seconds) for one in parkings],
            poll_urls=[one.poll_url for one in parkings],
            poll_delays=[float(one.poll_delay_seconds) for one in parkings],
        )
        if rows:
            self._parked.notify()
        return {task_id for (task_id,) in rows}

    async def find(self, task_id: uuid.UUID) -> OpenAttempt | None:
        for row in await self._statements.run("open_attempt", id=task_id):
            claim, running_seconds, _ = self._opened(row)
            return OpenAttempt(claim, running_seconds)
        return None

    async def extend(self, key: ClaimKey, within_seconds: float) -> dt.datetime | None:
        for (overdue_at,) in await self._statements.run(
            "extend_if_held",
            id=key.task_id,
            token=key.token,
            within_seconds=float(within_seconds),
        ):
            assert isinstance(overdue_at, dt.datetime)
            return overdue_at
        return None

    async def take_due(self, *, limit: int, take_seconds: float) -> list[DueAttempt]:
        rows = await self._statements.run(
            "take_due_parked", limit=limit, take_seconds=float(take_seconds)
        )
        return [self._due(row) for row in rows]

    async def seconds_to_next(self) -> float | None:
        for (seconds,) in await self._statements.run("next_due_parked"):
            return float(seconds)
        return None

    async def end_unrecorded(self, *, limit: int) -> int:
        [(count,)] = await self._statements.run("end_unrecorded_parked", limit=limit)
        if count:
            self._parked.notify()
        return int(count)

    async def wait_for_parked(self) -> None:
        await self._parked.wait()

    def _due(self, row: Row) -> DueAttempt:
        claim, running_seconds, (is_overdue, poll_url) = self._opened(row)
        return DueAttempt(claim, running_seconds, is_overdue, poll_url)

    def _opened(self, row: Row) -> tuple[Claim, float, Row]:
        """Return the claim of an open attempt, since when it runs, and the other columns."""
        is_queue_limited, token, running_seconds, *rest = row[_CLAIM_COLUMNS:]
        claim = msgspec.structs.replace(
            self._context.masking.claim(claim_of(row[:_CLAIM_COLUMNS], token, None)),
            is_limited=is_queue_limited or self._context.max_per_host is not None,
        )
        return claim, running_seconds, tuple(rest)


# The columns of ``claim_if_alive`` come first.
_CLAIM_COLUMNS: Final = 12
