"""Claims of tasks in PostgreSQL, from the claim to its outcome.

Nearly every claim takes the first due tasks, in one statement (``_claim_first``). Where these may
not be startable, a scan chooses (``claim_scan``).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import uuid
from collections.abc import Collection, Sequence
from typing import Final

import trio

from taskflow.model.claim_selection import HostShares
from taskflow.model.errors import StoreUnavailable
from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.claims import (
    ClaimStore,
    IdleNode,
    Release,
    Retry,
    Settlement,
    masked_claims,
)
from taskflow.store.postgres.claim_position import Pass
from taskflow.store.postgres.claim_scan import Claimed, ClaimRequest, ScanState, scan_and_claim
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute, Row, claim_of
from taskflow.store.postgres.statements import StoreContext, StorePart

# An announcement within this process comes this long after the task can be seen.
_ANNOUNCED_SECONDS: Final = 0.005
# Lanes that are read to find out whether all waiting tasks go to one host.
_FEW_LANES: Final = 5


class PostgresClaims(StorePart, ClaimStore):
    """Claims tasks, and writes the outcomes of claims where they are still held."""

    def __init__(self, context: StoreContext) -> None:
        super().__init__(context)
        self._scans = ScanState(is_always_needed=context.max_per_host is not None)
        # Tasks that were due by then, by the clock of the database, have woken a claim.
        self._considered_until: dt.datetime | None = None

    async def claim(
        self,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int = 0,
        token: uuid.UUID | None = None,
        shares: HostShares | None = None,
    ) -> list[Claim]:
        token = token or uuid.uuid4()
        is_tight = shares is not None and shares.is_tight(limit) and not self._scans.is_unshared
        max_per_host = self._context.max_per_host
        request = ClaimRequest(node_id, token, limit, min(by_age, limit), shares, max_per_host)
        with self._announcements.position.passing() as one:
            claimed = await self._statements.database.run(
                lambda connection: self._claim(connection, one, request, is_tight=is_tight)
            )
            one.claimed(claimed.points)
        if claimed.scan is not None:
            self._considered_until = claimed.scan.now
        if self._scans.update(claimed):
            self._announcements.work.notify()
        limiter = claimed.scan.limiter if claimed.scan is not None else None
        return await masked_claims(
            self._context.masking, (claim_of(row, token, limiter) for row in claimed.rows)
        )

    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        rows = await self._write_held(
            "settle_if_held",
            settlements,
            statuses=[one.status.value for one in settlements],
            results=[
                None if (text := one.result or one.response) is None else text.decode()
                for one in settlements
            ],
            errors=[one.error for one in settlements],
            error_types=[one.error_type and one.error_type.value for one in settlements],
            status_codes=[one.status_code for one in settlements],
            elapsed=_elapsed_ms(settlements),
        )
        return {row[0] for row in self._noted(rows)}

    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        rows = await self._write_held(
            "retry_if_held",
            retries,
            delays=[float(one.delay_seconds) for one in retries],
            errors=[one.error for one in retries],
            error_types=[one.error_type.value for one in retries],
            status_codes=[one.status_code for one in retries],
            elapsed=_elapsed_ms(retries),
            responses=[one.response and one.response.decode() for one in retries],
        )
        self._announcements.announce(rows)
        return {row[0] for row in rows}

    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        rows = await self._write_held(
            "release_if_held",
            releases,
            elapsed=_elapsed_ms(releases),
            delays=[one.delay_seconds for one in releases],
            errors=[one.error for one in releases],
            error_types=[one.error_type and one.error_type.value for one in releases],
            sender=self._announcements.sender,
        )
        self._announcements.announce(rows)
        return {row[0] for row in rows}

    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        rows = await self._heartbeats.run(
            "lost_claims",
            ids=[key.task_id for key in claims],
            tokens=[key.token for key in claims],
        )
        return {ClaimKey(*row) for row in rows}

    async def wait_for_work(self, node: IdleNode | None = None) -> None:
        work = self._announcements.work
        if work.is_pending:
            node = None  # new tasks must not overtake older ones
        with self._context.direct_claims.to(node):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._notify_when_due)
                await work.wait()
                nursery.cancel_scope.cancel()

    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        return await self._context.cancellations.wait(node_id)

    def _claim(
        self, connection: Connection, one: Pass, request: ClaimRequest, *, is_tight: bool
    ) -> Claimed:
        execute = self._statements.on(connection)
        if one.needs_survey:
            one.surveyed(execute("survey", {}))
        if not self._scans.is_needed:
            is_one_host = is_tight and _is_one_host(execute)
            if is_one_host or not is_tight:
                claimed = _claim_first(execute, one, request, is_one_host=is_one_host)
                if claimed is not None:
                    return claimed
        with connection.transaction():
            scan = scan_and_claim(execute, one, request, self._scans.lane)
        return Claimed(scan.rows, scan.points, scan)

    async def _notify_when_due(self) -> None:
        """Notify when the next task becomes due; if that is unknown callers poll anyway."""
        with contextlib.suppress(StoreUnavailable):
            priorities = self._announcements.position.priorities()
            [(seconds, self._considered_until)] = await self._statements.run(
                "next_due", priorities=priorities, since=self._considered_until
            )
            seconds = min(math.inf if seconds is None else seconds, self._scans.wait_seconds())
            # A task that was just added is announced at this moment, and needs no second claim.
            await trio.sleep(max(_ANNOUNCED_SECONDS, seconds))
            self._announcements.work.notify()


def _elapsed_ms(writes: Sequence[Settlement | Retry | Release]) -> list[float | None]:
    """Return the durations of fetches for the column ``elapsed_ms``."""
    return [
        None if one.elapsed_seconds is None else round(one.elapsed_seconds * 1000, 3)
        for one in writes
    ]


def _is_one_host(execute: Execute) -> bool:
    """Return whether all waiting tasks go to one host; false if there are many lanes."""
    hosts = [host for (host,) in execute("first_hosts", {"lanes": _FEW_LANES})]
    return len(hosts) < _FEW_LANES and len(set(hosts)) <= 1


def _claim_first(
    execute: Execute, one: Pass, request: ClaimRequest, *, is_one_host: bool
) -> Claimed | None:
    """Claim the first due tasks; ``None`` if there are limits, so that a scan is needed.

    Each statement is a transaction by itself.
    """
    priorities, since = one.bounds()
    parameters = {
        "node_id": request.node_id,
        "token": request.token,
        "priorities": priorities,
        "since": since,
    }
    rows: list[Row] = []
    if request.by_age:
        rows = execute("claim_by_age_if_alive", parameters | {"limit": request.by_age})
    if missing := request.limit - len(rows):
        rows += execute("claim_if_alive", parameters | {"limit": missing})
    if not rows and execute("are_there_limits", {})[0][0]:
        return None
    in_order = sorted(rows, key=lambda row: (-row[5], row[6], row[0]))
    return Claimed(in_order, [(row[5], row[6]) for row in rows], None, is_one_host)
