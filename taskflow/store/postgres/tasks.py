"""Tasks in PostgreSQL: durable, and shared by any number of nodes.

Every verb is one statement of ``queries`` in one thread hop. Tasks that are handed in
at the same time share a statement (``batching``), and so a commit.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
import math
import secrets
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import psycopg
import trio

from taskflow.model import lifecycle
from taskflow.model.claim_selection import HostShares
from taskflow.model.errors import LeaseLost, StoreUnavailable
from taskflow.model.event import ALL_EVENTS, EventFilter
from taskflow.model.filter import NO_FILTER, TaskFilter
from taskflow.model.lifecycle import Move
from taskflow.model.masking import Masking
from taskflow.model.queue_limits import Limiter, QueueHost
from taskflow.model.queues import KEPT_SECONDS, Line, TaskStatistics, queue_of, total_of
from taskflow.model.task import (
    AttemptRecord,
    Claim,
    ClaimKey,
    IdempotencyKey,
    NewTask,
    Task,
    TaskStatus,
)
from taskflow.settings import Settings
from taskflow.store.base import cancellations
from taskflow.store.base.cancellations import Cancellations
from taskflow.store.base.claims import DirectClaims, IdleNode, Release, Retry, Settlement
from taskflow.store.base.events import EVENTS_KEPT_SECONDS, RECORDED_SECONDS, EventPage
from taskflow.store.base.housekeeping import EXPIRED
from taskflow.store.base.leases import Rescued
from taskflow.store.base.listing import LARGE_FIELDS, MAX_RESPONSES, PAGE_BUDGET_BYTES, Page
from taskflow.store.base.submission import AddedOnce
from taskflow.store.base.tasks import SECRET_BYTES, StoreStatistics, TaskStore
from taskflow.store.postgres import queries, schedules
from taskflow.store.postgres.claim_position import ROOM, Frontier, Look, parse
from taskflow.store.postgres.claim_scan import (
    Claimed,
    Looks,
    Wanted,
    claim_first,
    is_one_host_alone,
    look_for_tasks,
    state_of,
)
from taskflow.store.postgres.database import (
    Connection,
    Database,
    Pooler,
    connect,
    mapped_errors,
    one_line,
    open_database,
)
from taskflow.store.postgres.group_commit import GroupCommit
from taskflow.store.postgres.listener import EVENTS_CHANNEL, WORK_CHANNEL, listen
from taskflow.store.postgres.migrate import Migration, migrate
from taskflow.store.postgres.monitoring import PostgresMonitoring
from taskflow.store.postgres.new_tasks import Entry, entry_of, parameters_of, size_of
from taskflow.store.postgres.queues import PostgresQueues
from taskflow.store.postgres.requirements import (
    place_of,
    refusal_of,
    refuse_unfit,
    unfit_for_start,
    unfit_for_work,
    unfit_tables,
)
from taskflow.store.postgres.rows import Row, attempt_of, claim_of, event_of, line_of, task_of
from taskflow.store.postgres.schedules import PostgresSchedules
from taskflow.store.postgres.search import Search, find
from taskflow.store.postgres.session import OwnConnection
from taskflow.wakeup import WakeUp

LARGE_ADDITION: Final = 100
# How much of tasks that end is copied into their callbacks by a statement.
COPIED_BUDGET_BYTES: Final = 8 * 2**20
# How often it is looked for events where notifications do not come through.
EVENT_POLL_SECONDS: Final = 0.25
_WRITERS_MAY_TAKE: Final = "SET LOCAL lock_timeout = '200ms'"

_LAST_EVENT: Final = 2**63 - 1
_NO_BUDGET_BYTES: Final = 2**62
_NOBODY: Final = uuid.UUID(int=0)


class PostgresStore(TaskStore):
    """Tasks in PostgreSQL. ``open_postgres`` makes one."""

    def __init__(
        self,
        database: Database,
        heartbeats: Database,
        *,
        place: str,
        version: str,
        is_told: bool,
        settings: Settings,
    ) -> None:
        self._masking: Final = Masking(settings.masked_headers)
        self._database = database
        # Of their own: heartbeats must get through while everything else is busy.
        self._heartbeats = heartbeats
        self._statistics: Final = StoreStatistics("postgres", place, version)
        self._is_listening: bool | None = False if is_told else None
        self._sql = queries.load()
        self._work = WakeUp()
        self._events = WakeUp()
        self._event_poll_seconds = math.inf if is_told else EVENT_POLL_SECONDS
        max_per_host = settings.max_per_host
        self._frontier = Frontier()
        self._looks = Looks(are_always_needed=max_per_host is not None)
        self._max_per_host = max_per_host
        self._handover = DirectClaims()
        self.cancellations: Final = Cancellations()
        self.sender: Final = uuid.uuid4().hex
        self._requests = itertools.count()
        self._is_refused = False  # new tasks, the last time
        self._queues: Final = PostgresQueues(database, self._sql, self.sender, self._work.notify)
        self.additions: Final = GroupCommit[Entry, Task | None](self._add, size_of)
        # Of many tasks at once, so that single ones need not wait for them.
        self.large_additions: Final = GroupCommit[Entry, Task | None](self._add, size_of)
        self._monitoring: Final = PostgresMonitoring(database, self._sql)
        self._schedules: Final = PostgresSchedules(
            database, self._sql, self, is_told=is_told, masking=self._masking
        )

    @property
    def schedules(self) -> PostgresSchedules:
        return self._schedules

    @property
    def queues(self) -> PostgresQueues:
        return self._queues

    @property
    def monitoring(self) -> PostgresMonitoring:
        return self._monitoring

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        return [task for task in await self._submit(tasks, None) if task is not None]

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        known = None
        while known is None:  # again if the key was forgotten just now: the request is a new one
            added = await self._submit(tasks, key)
            if None not in added:
                return AddedOnce([task for task in added if task is not None])
            known = await self.find_added(key)
        return known

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        return await self._database.run(lambda connection: self._known(connection, key))

    async def get(self, task_id: uuid.UUID) -> Task | None:
        return await self._database.run(lambda connection: self._read_one(connection, task_id))

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        def work(connection: Connection) -> Task | None:
            rows = self._execute(connection, "read", {"ids": [task_id]})
            return task_of(rows[0]) if rows else None

        return await self._database.run(work)

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        ids = list(task_ids)
        return await self._database.run(lambda connection: self._read(connection, ids))

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        def work(connection: Connection) -> list[AttemptRecord] | None:
            asked = {"id": task_id, "max_responses": MAX_RESPONSES}
            rows = self._execute(connection, "attempts", asked)
            # Without attempts there may be no task at all.
            is_known = bool(rows) or self._read_one(connection, task_id) is not None
            return [attempt_of(row) for row in rows] if is_known else None

        return await self._database.run(work)

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
    ) -> Page:
        read = {"has_" + name: name not in without for name in LARGE_FIELDS}
        budget_bytes = PAGE_BUDGET_BYTES if any(read.values()) else _NO_BUDGET_BYTES
        search = Search(filter, limit, before, budget_bytes, self._masking)

        def work(connection: Connection) -> Page:
            found = find(connection, self._sql, search)
            rows = self._execute(connection, "read_some", {"ids": found.ids, **read})
            tasks = self._explained(connection, [task_of(row) for row in rows])
            return Page(self._shown(tasks), next_before=found.next_before)

        # An index has the first page of all tasks, and of those with one status.
        is_quick = before is None and filter == TaskFilter(statuses=filter.statuses[:1])
        run = self._database.run if is_quick else self._database.run_slow_read
        return await run(work)

    async def count_pending(self, *, limit: int) -> int:
        [(count,)] = await self._run("count_pending", limit=limit)
        assert isinstance(count, int)
        return count

    async def count(
        self, *, limit: int, queue: str | None = None, is_after_write: bool = False
    ) -> TaskStatistics:
        def work(connection: Connection) -> TaskStatistics:
            lines: dict[str | None, list[Line]] = {} if queue is None else {queue: []}
            for row in self._execute(connection, "count", {"limit": limit, "queue": queue}):
                lines.setdefault(row[0], []).append(line_of(row))
            in_all = lines.pop(None, [])
            names = [name for name in lines if name is not None]
            waiting = [
                name
                for name in names[:limit]
                if any(line.status is TaskStatus.PENDING for line in lines[name])
            ]
            oldest: dict[str | None, float | None] = dict(
                self._execute(connection, "oldest_waiting", {"queues": waiting})
            )
            return TaskStatistics(
                queues=[queue_of(name, lines[name], oldest.get(name)) for name in names[:limit]],
                total=total_of(in_all, oldest[None]),
                is_complete=len(names) <= limit,
            )

        run = self._database.run if is_after_write else self._database.run_slow_read
        return await run(work)

    async def fold_counts(self, *, limit: int) -> int:
        def work(connection: Connection) -> int:
            parameters = {"limit": limit, "kept_seconds": KEPT_SECONDS}
            [(folded, queues, statuses)] = self._execute(connection, "fold_changes", parameters)
            gone = {"queues": queues, "statuses": statuses, "kept_seconds": KEPT_SECONDS}
            self._execute(connection, "forget_counts", gone)
            return int(folded)

        return await self._database.run(work)

    async def register(
        self,
        name: str,
        lease_seconds: float,
        *,
        version: str = "",
        workers: int = 1,
        tz_version: str | None = None,
    ) -> uuid.UUID:
        node_id = uuid.uuid4()
        await self._run_heartbeat(
            "register",
            id=node_id,
            name=name,
            lease_seconds=lease_seconds,
            version=version,
            workers=workers,
            tz_version=tz_version,
        )
        self.cancellations.open_for(node_id)
        return node_id

    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        rows = await self._run_heartbeat("renew_if_alive", id=node_id)
        if not rows:
            raise LeaseLost
        [(renewed_at,)] = rows
        assert isinstance(renewed_at, dt.datetime)
        return renewed_at

    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        rows = await self._run_heartbeat(
            "release_if_unknown",
            id=node_id,
            tokens=list(tokens),
            before=before,
            sender=self.sender,
        )
        self._announce(rows)
        return len(rows)

    async def retire(self, node_id: uuid.UUID) -> None:
        self._announce(await self._run_heartbeat("retire", id=node_id, sender=self.sender))
        self.cancellations.close_for(node_id)

    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        rows = await self._run_heartbeat(
            "rescue_if_dead",
            limit=limit,
            max_rescues=max_rescues,
            budget_bytes=COPIED_BUDGET_BYTES,
        )
        await self._run_heartbeat("forget_dead_nodes")
        pending = [row for row in rows if not row[3]]
        self._announce(pending)
        return Rescued(
            pending=[row[0] for row in pending], poisoned=[row[0] for row in rows if row[3]]
        )

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
        is_tight = shares is not None and shares.is_tight(limit) and not self._looks.may_crowd
        wanted = Wanted(node_id, token, limit, min(by_age, limit), shares, self._max_per_host)
        with self._frontier.looking() as look:
            claimed = await self._database.run(
                lambda connection: self._claim(connection, look, wanted, is_tight=is_tight)
            )
            look.claimed(claimed.places)
        if self._looks.saw(claimed):
            self._work.notify()
        limiter = claimed.seen.limiter if claimed.seen is not None else None
        return [self._masking.claim(claim_of(row, token, limiter)) for row in claimed.rows]

    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        rows = await self._write(
            "settle_if_held",
            settlements,
            statuses=[settlement.status.value for settlement in settlements],
            results=[
                None
                if (text := settlement.result or settlement.response) is None
                else text.decode()
                for settlement in settlements
            ],
            errors=[settlement.error for settlement in settlements],
            error_types=[
                settlement.error_type and settlement.error_type.value for settlement in settlements
            ],
            status_codes=[settlement.status_code for settlement in settlements],
            elapsed=[settlement.elapsed_ms for settlement in settlements],
        )
        return {row[0] for row in rows}

    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        rows = await self._write(
            "retry_if_held",
            retries,
            delays=[float(retry.delay_seconds) for retry in retries],
            errors=[retry.error for retry in retries],
            error_types=[retry.error_type.value for retry in retries],
            status_codes=[retry.status_code for retry in retries],
            elapsed=[retry.elapsed_ms for retry in retries],
            responses=[retry.response and retry.response.decode() for retry in retries],
        )
        self._announce(rows)
        return {row[0] for row in rows}

    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        rows = await self._write(
            "release_if_held",
            releases,
            elapsed=[release.elapsed_ms for release in releases],
            sender=self.sender,
        )
        self._announce(rows)
        return {row[0] for row in rows}

    async def cancel(self, task_id: uuid.UUID) -> Task | None:
        task, rows = await self._move_by_hand("cancel_if_open", task_id, Move.CANCEL)
        self._tell_canceled(rows)
        return task

    async def retry(self, task_id: uuid.UUID) -> Task | None:
        task, rows = await self._move_by_hand("retry_if_finished", task_id, Move.MANUAL_RETRY)
        self._announce(rows)
        return task

    async def delete(self, task_id: uuid.UUID) -> bool:
        def work(connection: Connection) -> bool:
            rows = self._execute(connection, "delete_if_finished", {"ids": [task_id]})
            task = None if rows else self._read_one(connection, task_id)
            if task:
                lifecycle.check_deletable(task.status)
                raise StoreUnavailable  # as in _move_by_hand
            return bool(rows)

        return await self._database.run(work)

    async def cancel_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        canceled: set[uuid.UUID] = set()
        remaining = list(task_ids)
        while remaining:
            bounds = {"budget_bytes": COPIED_BUDGET_BYTES}
            rows = await self._run("cancel_if_open", ids=remaining, **bounds)
            self._tell_canceled(rows)
            portion = {row[0] for row in rows}
            canceled |= portion
            # Those that are left did not fit, or are not to be canceled.
            remaining = [task_id for task_id in remaining if portion and task_id not in portion]
        return canceled

    async def retry_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        rows = await self._run("retry_if_finished", ids=list(task_ids), sender=self.sender)
        self._announce(rows)
        return {row[0] for row in rows}

    async def delete_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        rows = await self._run("delete_if_finished", ids=list(task_ids))
        return {row[0] for row in rows}

    async def expire(self, *, limit: int) -> int:
        bounds = {"limit": limit, "budget_bytes": COPIED_BUDGET_BYTES}
        return len(await self._run("expire_if_over", error=EXPIRED, **bounds))

    async def seconds_to_expiry(self) -> float | None:
        rows = await self._run("next_expiry")
        return rows[0][0] if rows else None

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        deleted: int
        bounds = {"limit": limit, "budget_bytes": PAGE_BUDGET_BYTES}
        [(deleted,)] = await self._run("delete_if_kept_long_enough", **bounds)
        if age_seconds is not None:
            for status in (status for status in TaskStatus if status.is_final):
                [(count,)] = await self._run(
                    "delete_if_ended_before",
                    status=status.value,
                    age_seconds=age_seconds,
                    **bounds,
                )
                deleted += count
        return deleted

    async def delete_expired_keys(self, *, limit: int) -> int:
        return len(await self._run("forget_old_keys", limit=limit))

    async def wait_for_work(self, taker: IdleNode | None = None) -> None:
        if self._work.is_pending:
            taker = None  # what waits already is not to be overtaken
        with self._handover.to(taker):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ring_when_due)
                await self._work.wait()
                nursery.cancel_scope.cancel()

    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        return await self.cancellations.wait(node_id)

    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        rows = await self._run_heartbeat(
            "lost_claims",
            ids=[key.task_id for key in claims],
            tokens=[key.token for key in claims],
        )
        return {ClaimKey(*row) for row in rows}

    async def record_events(self) -> int:
        def work(connection: Connection) -> int:
            bounds = {"seconds": RECORDED_SECONDS}
            [(is_on, is_on_for_long)] = self._execute(connection, "are_events_recorded", bounds)
            if not is_on:
                self._wait_for_writers_and_record(connection, bounds)
            elif not is_on_for_long:
                self._execute(connection, "record_events", bounds)
            [(position,)] = self._execute(connection, "last_event", {})
            assert isinstance(position, int)
            return position

        return await self._database.run(work)

    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        query = "events_after" if wanted == ALL_EVENTS else "wanted_events_after"
        parameters = {
            "position": position,
            "until": _LAST_EVENT if until is None else until,
            "limit": limit,
            "task_id": wanted.task_id,
            "queue": wanted.queue,
            "tags": msgspec.json.encode(wanted.tags).decode(),
        }

        def work(connection: Connection) -> EventPage:
            rows = self._execute(connection, query, parameters)
            # Afterwards: what was forgotten meanwhile was read.
            [(complete_after,)] = self._execute(connection, "events_complete_after", {})
            return EventPage([event_of(row) for row in rows], position >= complete_after)

        # The feed of a node, and those who look at one task, are soon done; others catch up.
        is_quick = until is None and wanted == EventFilter(task_id=wanted.task_id)
        run = self._database.run if is_quick else self._database.run_slow_read
        return await run(work)

    async def wait_for_events(self) -> None:
        with trio.move_on_after(self._event_poll_seconds):
            await self._events.wait()

    async def delete_old_events(self, *, limit: int) -> int:
        [(count,)] = await self._run(
            "delete_old_events", limit=limit, age_seconds=EVENTS_KEPT_SECONDS
        )
        assert isinstance(count, int)
        return count

    async def shared_secret(self, name: str) -> bytes:
        made = secrets.token_bytes(SECRET_BYTES)
        while True:  # another node may make it just now: it is there when one asks again
            for (value,) in await self._run("share_secret", name=name, value=made):
                return bytes(value)

    async def end_session(self, session_id: str, *, seconds: float) -> None:
        await self._run("end_session", id=session_id, seconds=seconds)

    async def is_session_ended(self, session_id: str) -> bool:
        return bool(await self._run("ended_session", id=session_id))

    async def check(self) -> None:
        await self._database.run(self._check)
        self._is_refused = False

    def _check(self, connection: Connection) -> None:
        refusal = refusal_of(connection)
        if refusal is not None:
            raise refusal
        if self._is_refused:  # does a write work again? It is taken back
            try:
                with connection.transaction(force_rollback=True):
                    self.insert(connection, [NewTask(payload=msgspec.Raw(b'""'))])
            except psycopg.Error as error:
                raise StoreUnavailable(f"PostgreSQL: {one_line(error)}") from error

    def statistics(self) -> StoreStatistics:
        pools = (self._database.statistics("work"), self._heartbeats.statistics("heartbeats"))
        return msgspec.structs.replace(
            self._statistics, pools=pools, is_listening=self._is_listening
        )

    def hears(self, *, is_listening: bool) -> None:
        """The listener found a connection, or lost it."""
        self._is_listening = is_listening

    def hear(self, announcement: str) -> None:
        """Somebody says that there is work; without a word if it is not known where."""
        sender, places = parse(announcement)
        if sender == self.sender:
            return
        if announcement == f"{sender} {ROOM}":
            pass  # nothing is new, but more of it may start
        elif places:
            self._frontier.announce(places)
        else:
            self._frontier.distrust()
        self._work.notify()

    def hear_of_events(self, _: str) -> None:
        """Somebody says that there are events."""
        self._events.notify()

    async def _submit(
        self, tasks: Sequence[NewTask], key: IdempotencyKey | None
    ) -> list[Task | None]:
        """Store tasks; ``None`` for each if their request is known already."""
        request = next(self._requests)
        entries = [entry_of(task, key, request) for task in tasks]
        many = len(entries) > LARGE_ADDITION
        return await (self.large_additions if many else self.additions).submit(entries)

    async def _add(self, entries: Sequence[Entry]) -> list[Task | None]:
        tasks = [entry.task for entry in entries]
        with self._handover.reserved(tasks) as (reservation, places):
            found = await self._run_add(
                node_id=reservation.node_id,
                token=reservation.token,
                sender=self.sender,
                **parameters_of(entries, set(places)),
            )
            rows = {place: row for place, *row in found}
            reservation.deliver(
                [
                    _first_claim(rows[place][0], reservation.token, tasks[place])
                    for place in places
                    if place in rows and rows[place][-1]
                ]
            )
        self._announce([tuple(row) for row in rows.values() if not row[-1]])
        added: list[Task | None] = [None] * len(tasks)
        for place, (task_id, _, run_at, created_at, _) in rows.items():
            task = tasks[place].as_task(task_id, created_at=created_at, run_at=run_at)
            added[place] = self._masking.task(task)
        return added

    async def _run_add(self, **parameters: object) -> list[Row]:
        """Add tasks, and remember for ``check`` if the database refuses them."""
        try:
            rows = await self._run("add", **parameters)
        except (StoreUnavailable, psycopg.Error):
            self._is_refused = True
            raise
        self._is_refused = False
        return rows

    def _claim(
        self, connection: Connection, look: Look, wanted: Wanted, *, is_tight: bool
    ) -> Claimed:
        execute = functools.partial(self._execute, connection)
        if look.needs_survey:
            look.surveyed(execute("survey", {}))
        if not self._looks.are_needed:
            is_alone = is_tight and is_one_host_alone(execute)
            if is_alone or not is_tight:
                claimed = claim_first(execute, look, wanted, is_alone=is_alone)
                if claimed is not None:
                    return claimed
        with connection.transaction():
            seen = look_for_tasks(execute, look, wanted, self._looks.lane)
        return Claimed(seen.rows, seen.places, seen)

    def insert(self, connection: Connection, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks in the transaction that is open, for whoever claims them."""
        parameters = {"node_id": _NOBODY, "token": _NOBODY, "sender": self.sender}
        entries = [entry_of(task, None, 0) for task in tasks]
        rows = self._execute(connection, "add", {**parameters, **parameters_of(entries, ())})
        return [
            tasks[place].as_task(task_id, created_at=created_at, run_at=run_at)
            for place, task_id, _, run_at, created_at, _ in rows
        ]

    def announce_added(self, tasks: Sequence[Task]) -> None:
        """Tasks were stored by ``insert``, and are committed now."""
        self._announce([(task.id, task.priority, task.run_at) for task in tasks])

    def _known(self, connection: Connection, key: IdempotencyKey) -> AddedOnce | None:
        """What the request that came first with this key made; ``None`` if there is none."""
        rows = self._execute(connection, "known_keys", {"keys": [key.text]})
        if not rows:
            return None
        [(_, fingerprint, task_ids)] = rows
        if fingerprint != key.fingerprint:
            return AddedOnce([], is_replay=True, is_same=False)
        return AddedOnce(self._read(connection, task_ids)[::-1], is_replay=True)

    def _wait_for_writers_and_record(
        self, connection: Connection, bounds: Mapping[str, object]
    ) -> None:
        with contextlib.suppress(psycopg.errors.LockNotAvailable), connection.transaction():
            connection.execute(_WRITERS_MAY_TAKE)
            self._execute(connection, "wait_for_writers", {})
            self._execute(connection, "record_events", bounds)
            return
        self._execute(connection, "record_events", bounds)

    def _announce(self, rows: Sequence[Row]) -> None:
        """Tasks are PENDING now: rows begin with their id, priority and ``run_at``."""
        if rows:
            self._frontier.announce((priority, run_at) for _, priority, run_at, *_ in rows)
            self._work.notify()

    def _tell_canceled(self, rows: Sequence[Row]) -> None:
        """Tasks were canceled; some of them ran. The notification comes here too, but later."""
        for task_id, node_id, token in rows:
            if node_id is not None:
                self.cancellations.tell(node_id, ClaimKey(task_id, token))
                self._work.notify()  # there is room where it ran

    async def _ring_when_due(self) -> None:
        """Ring when the next task becomes due; callers look by themselves if it cannot be told."""
        with contextlib.suppress(StoreUnavailable):
            [(seconds,)] = await self._run("next_due", priorities=self._frontier.priorities())
            seconds = min(math.inf if seconds is None else seconds, self._looks.wait_seconds())
            await trio.sleep(seconds)
            self._work.notify()

    async def _move_by_hand(
        self, query: str, task_id: uuid.UUID, move: Move
    ) -> tuple[Task | None, list[Row]]:
        def work(connection: Connection) -> tuple[Task | None, list[Row]]:
            parameters = {
                "ids": [task_id],
                "sender": self.sender,
                "budget_bytes": COPIED_BUDGET_BYTES,
            }
            with connection.transaction():  # so that it is read before anybody can move it on
                rows = self._execute(connection, query, parameters)
                task = self._read_one(connection, task_id)
            if task and not rows:
                lifecycle.target_of(task.status, move)
                # It came into the right state just now: as good as not being in time.
                raise StoreUnavailable
            return task, rows

        return await self._database.run(work)

    async def _write(
        self, query: str, held: Sequence[Settlement | Retry | Release], **columns: object
    ) -> list[Row]:
        columns |= {"ids": [one.task_id for one in held], "tokens": [one.token for one in held]}
        if not any(one.makes_room for one in held):
            return await self._run(query, **columns)

        def work(connection: Connection) -> list[Row]:
            with connection.transaction():
                rows = self._execute(connection, query, columns)
                self._execute(connection, "make_room", {"sender": self.sender})
            return rows

        rows = await self._database.run(work)
        self._work.notify()
        return rows

    async def _run(self, query: str, **parameters: object) -> list[Row]:
        return await self._database.run(
            lambda connection: self._execute(connection, query, parameters)
        )

    async def _run_heartbeat(self, query: str, **parameters: object) -> list[Row]:
        return await self._heartbeats.run(
            lambda connection: self._execute(connection, query, parameters)
        )

    def _execute(
        self, connection: Connection, query: str, parameters: Mapping[str, object]
    ) -> list[Row]:
        cursor = connection.execute(self._sql[query], parameters)
        return cursor.fetchall() if cursor.description else []

    def _explained(self, connection: Connection, tasks: list[Task]) -> list[Task]:
        """With what keeps those from starting that could by themselves."""
        ids = [task.id for task in tasks if task.status is TaskStatus.PENDING]
        execute = functools.partial(self._execute, connection)
        if not ids or not (self._max_per_host or execute("are_there_limits", {})[0][0]):
            return tasks
        lanes = {
            task_id: QueueHost(queue, host)
            for task_id, queue, host in execute("lanes_of", {"ids": ids})
        }
        state = state_of(execute, set(lanes.values()), self._max_per_host)
        limiter = Limiter(state, max_per_host=self._max_per_host)
        return [
            task.with_hold(limiter, lanes[task.id], state.now) if task.id in lanes else task
            for task in tasks
        ]

    def _read_one(self, connection: Connection, task_id: uuid.UUID) -> Task | None:
        return next(iter(self._read(connection, [task_id])), None)

    def _read(self, connection: Connection, ids: Sequence[uuid.UUID]) -> list[Task]:
        tasks = [task_of(row) for row in self._execute(connection, "read", {"ids": ids})]
        return self._shown(self._explained(connection, tasks))

    def _shown(self, tasks: Iterable[Task]) -> list[Task]:
        return [self._masking.task(task) for task in tasks]


def _first_claim(task_id: uuid.UUID, token: uuid.UUID, task: NewTask) -> Claim:
    return Claim(task_id, token, task.payload, 1, task.max_attempts, task.options)


@contextlib.asynccontextmanager
async def open_postgres(conninfo: str, settings: Settings) -> AsyncIterator[PostgresStore]:
    """Migrate the database, and keep tasks in it until the block ends.

    Args:
        conninfo: A connection string or URL.
        settings: For the bounds.

    Raises:
        StoreUnavailable: The database cannot be reached.
        StoreUnusable: It can, but not with this address or this version of the code.
    """
    timeout_seconds, pooler = settings.database_timeout_seconds, settings.database_pooler
    migrated = await migrate_database(conninfo, timeout_seconds=timeout_seconds, pooler=pooler)
    open_pool = functools.partial(
        open_database,
        conninfo,
        timeout_seconds=timeout_seconds,
        pooler=pooler,
        schemas=migrated.schemas,
        server_version=migrated.server_version,
    )
    async with (
        open_pool(connections=settings.database_connections) as database,
        open_pool(connections=1) as heartbeats,
        trio.open_nursery() as nursery,
    ):
        store = PostgresStore(
            database,
            heartbeats,
            place=migrated.place,
            version=migrated.version,
            is_told=pooler == "none",
            settings=settings,
        )
        nursery.start_soon(store.additions.run)
        nursery.start_soon(store.large_additions.run)
        if pooler == "none":  # LISTEN is for the server connection of a moment otherwise
            nursery.start_soon(
                functools.partial(
                    listen,
                    conninfo,
                    timeout_seconds=timeout_seconds,
                    server_version=migrated.server_version,
                    hearers={
                        WORK_CHANNEL: store.hear,
                        cancellations.CHANNEL: store.cancellations.hear,
                        EVENTS_CHANNEL: store.hear_of_events,
                        schedules.CHANNEL: store.schedules.hear,
                    },
                    tell=store.hears,
                )
            )
        yield store
        nursery.cancel_scope.cancel()


class Migrated(msgspec.Struct, frozen=True):
    """A database that is up to date.

    Attributes:
        place: Where.
        version: PostgreSQL's.
        applied: What was applied just now.
        schemas: Where names are looked up, that of the tables first.
        server_version: PostgreSQL's, as libpq has it.
    """

    place: str
    version: str
    applied: list[Migration]
    schemas: list[str]
    server_version: int


async def migrate_database(
    conninfo: str, *, timeout_seconds: float, pooler: Pooler = "none"
) -> Migrated:
    """Apply the migrations that are missing.

    Raises:
        StoreUnavailable: The database cannot be reached.
        StoreUnusable: It is newer than the code, the address makes no sense, or something in it
            cannot be worked with; says what to run.
    """

    def work() -> Migrated:
        with (
            mapped_errors(),
            connect(conninfo, timeout_seconds=timeout_seconds, pooler=pooler) as connection,
        ):
            applied, info = _migrated(connection, pooler), connection.info
            place = place_of(connection)
            refuse_unfit(unfit_for_work(connection, place))
            refuse_unfit(unfit_tables(connection, place))
            return Migrated(
                place=f"{info.host}:{info.port}/{info.dbname}",
                version=info.parameter_status("server_version") or "unknown",
                applied=applied,
                schemas=place.path(),
                server_version=info.server_version,
            )

    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _migrated(connection: OwnConnection, pooler: Pooler) -> list[Migration]:
    place = place_of(connection)
    refuse_unfit(unfit_for_start(connection, place, has_pooler=pooler == "transaction"))
    applied = migrate(connection)
    connection.commits.check()
    return applied
