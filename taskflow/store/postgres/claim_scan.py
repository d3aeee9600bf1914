"""A scan for startable tasks, for claims that cannot simply take the first ones.

Nearly every claim takes the first due tasks, in one statement (``claims.py``). If queues have
limits, hosts fail, or a host would get more than its share of the workers, a node scans more tasks
than it claims, selects (``model/claim_selection.py``), and claims those. One node scans at a time,
because what it may start depends on what all nodes have started.

A *lane* is the tasks of one queue for one host (``QueueHost``).
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import trio

from taskflow.model.claim_selection import Candidate, ClaimSelector, HostShares
from taskflow.model.queue_limits import (
    HostHold,
    Limiter,
    LimiterState,
    QueueHost,
    QueueSettings,
    host_rate_key,
    queue_rate_key,
)
from taskflow.model.task_states import NOTHING_HELD, HeldLanes, held_lanes
from taskflow.store.postgres.claim_position import Pass, Point
from taskflow.store.postgres.rows import UNREADABLE, Execute, Row, fields_of, readable_part

# Due tasks that a scan reads first, in their order: this many for each task wanted, and at least
# this many.
_SCANNED_PER_TASK: Final = 2
_MIN_SCANNED: Final = 50
# Maximum number of lanes that a scan visits; each takes about 10 us.
MAX_LANES: Final = 200
# Maximum number of tasks that it reads from all of these.
_MAX_ROWS: Final = 2000
# Number of full scans without a startable task before the dispatcher waits.
_MAX_EMPTY_SCANS: Final = 2
# Maximum number of limited queues, of open circuit breakers and of used rates that are read to find
# held tasks; each takes some microseconds.
_MAX_LIMITS: Final = 10_000
_FIRST: Final = QueueHost("", "")
# How long a host that was alone may have all workers before the next scan for other hosts.
_ALONE_SECONDS: Final = 0.25

_QUEUES: Final = msgspec.json.Decoder(dict[str, QueueSettings])
_HOSTS: Final = msgspec.json.Decoder(dict[str, HostHold])
_PACES: Final = msgspec.json.Decoder(dict[str, dt.datetime])


class ClaimRequest(msgspec.Struct, frozen=True):
    """What a node wants to claim.

    Attributes:
        node_id: The node.
        token: Token of the claims.
        limit: Maximum number of tasks.
        by_age: Number of these that go to the tasks that have been due longest.
        shares: The node's tasks by host.
        max_per_host: Maximum number of running tasks per host.
    """

    node_id: uuid.UUID
    token: uuid.UUID
    limit: int
    by_age: int
    shares: HostShares | None
    max_per_host: int | None


class ScanResult(msgspec.Struct, frozen=True):
    """Result of a scan.

    Attributes:
        rows: The claimed tasks, in the order in which they are to run.
        limiter: The limits that were applied.
        points: Up to these, all tasks are claimed.
        lane: Where the next scan continues.
        is_complete: True if the scan covered everything, or found enough.
        is_needed_again: True if the next claim must scan, too.
        wait_seconds: Time until a held task may start; ``None`` if that is unknown.
        now: Time of the scan, by the clock of the database.
    """

    rows: list[Row]
    limiter: Limiter
    points: list[Point]
    lane: QueueHost
    is_complete: bool
    is_needed_again: bool
    wait_seconds: float | None
    now: dt.datetime


class Claimed(msgspec.Struct, frozen=True):
    """Result of a claim.

    Attributes:
        rows: The claimed tasks, in the order in which they are to run.
        points: Up to these, all tasks are claimed.
        scan: Result of the scan, if there was one.
        is_one_host: True if all tasks go to one host, which then need not share.
    """

    rows: list[Row]
    points: list[Point]
    scan: ScanResult | None
    is_one_host: bool = False


class ScanState:
    """What a store remembers from one scan to the next.

    Args:
        is_always_needed: True if every claim must scan.

    Attributes:
        is_needed: True if the next claim must scan, because the first tasks may not be startable.
        lane: Where the next scan continues.
    """

    def __init__(self, *, is_always_needed: bool) -> None:
        self._is_always_needed = is_always_needed
        self.is_needed = is_always_needed
        self.lane = _FIRST
        self._empty_scans = 0
        self._next_start_at = math.inf
        self._alone_until = -math.inf

    @property
    def is_unshared(self) -> bool:
        """True if a host may use more than its share: a moment ago it was the only one."""
        return trio.current_time() < self._alone_until

    def update(self, claimed: Claimed) -> bool:
        """Remember the result of a claim; return whether another scan at once may find more."""
        if claimed.is_one_host:
            self._alone_until = trio.current_time() + _ALONE_SECONDS
        if claimed.scan is None:
            self._next_start_at = math.inf  # without limits nothing is held
            return False
        return self._may_find_more(claimed.scan)

    def _may_find_more(self, scan: ScanResult) -> bool:
        self.is_needed = self._is_always_needed or scan.is_needed_again
        self.lane = scan.lane
        wait_seconds = math.inf if scan.wait_seconds is None else scan.wait_seconds
        self._next_start_at = trio.current_time() + wait_seconds
        if scan.is_complete:
            self._empty_scans = 0
            return False
        if scan.rows:
            self._empty_scans = 0
        elif scan.lane == _FIRST:
            self._empty_scans += 1
        # The first one may have begun in the middle, or before a task came to its beginning.
        is_over = self._empty_scans >= _MAX_EMPTY_SCANS
        if is_over:
            self._empty_scans = 0
        return not is_over

    def wait_seconds(self) -> float:
        """Return the time until a held task may start; infinite if that is unknown."""
        return max(0.0, self._next_start_at - trio.current_time())


def scan_and_claim(
    execute: Execute, one: Pass, request: ClaimRequest, lane: QueueHost
) -> ScanResult:
    """Scan, choose and claim, within a transaction.

    Args:
        execute: Executes statements in the transaction.
        one: Where due tasks begin.
        request: How many, and for which node.
        lane: The lane after which to continue if the first tasks are not enough.
    """
    execute("lock_scans", {})
    priorities, since = one.bounds()
    limit = max(_SCANNED_PER_TASK * request.limit, _MIN_SCANNED)
    bounds = {"priorities": priorities, "since": since, "limit": limit}
    in_order = _candidates(execute("due_in_order", bounds))
    by_age: list[Candidate] = []
    if request.by_age:
        by_age = _candidates(execute("due_by_age", bounds | {"limit": 2 * request.by_age}))
    decision = _decide(execute, request, by_age, in_order, [])
    is_complete, next_lane = True, lane
    if decision.selector.remaining and len(in_order) == limit:
        rows = _due_by_lane(execute, lane, request.limit)
        next_lane = _next_lane(rows)
        is_complete = lane == next_lane == _FIRST
        decision = _decide(execute, request, by_age, in_order, _candidates(rows))
    decision.selector.fill()
    return ScanResult(
        rows=_claim(execute, decision, request),
        limiter=decision.limiter,
        points=_points(in_order, decision.selector.selected),
        lane=next_lane,
        is_complete=is_complete or not decision.selector.remaining,
        is_needed_again=not decision.state.is_unlimited or request.max_per_host is not None,
        wait_seconds=_seconds_to_next_start(decision),
        now=decision.state.now,
    )


class _Decision(NamedTuple):
    state: LimiterState
    limiter: Limiter
    selector: ClaimSelector


def state_of(
    execute: Execute, lanes: Collection[QueueHost], max_per_host: int | None
) -> LimiterState:
    """Return the limits of these lanes, and how much of them is used.

    Args:
        execute: Best in the transaction of the claim.
        lanes: The lanes.
        max_per_host: Maximum number of running tasks per host, if there is one.
    """
    queues = {lane.queue for lane in lanes}
    [row] = execute(
        "state",
        {
            "queues": list(queues),
            "hosts": list({lane.host for lane in lanes}),
            "paces": [*map(queue_rate_key, queues), *map(host_rate_key, lanes)],
        },
    )
    return _with_running(execute, row, max_per_host)


def held_now(execute: Execute, max_per_host: int | None) -> HeldLanes:
    """Return what limits and circuit breakers hold, of all queues and hosts."""
    if not (max_per_host or execute("are_there_limits", {})[0][0]):
        return NOTHING_HELD
    [row] = execute("all_limits", {"limit": _MAX_LIMITS})
    return held_lanes(_with_running(execute, row, max_per_host), max_per_host=max_per_host)


def _with_running(execute: Execute, row: Row, max_per_host: int | None) -> LimiterState:
    now, settings, hosts, paces = row
    state = LimiterState(
        now=now,
        queues=_settings_of(settings) if settings else {},
        hosts=_HOSTS.decode(hosts) if hosts else {},
        next_starts=_PACES.decode(paces) if paces else {},
    )
    if max_per_host is None and not state.needs_counts:
        return state
    limits = {
        name: one.max_concurrency for name, one in state.queues.items() if one.max_concurrency
    }
    running = Counter[QueueHost]()  # of a queue's tasks without a host, some may be parked
    for queue, host, count in execute(
        "running", {"queues": list(limits), "limits": list(limits.values())}
    ):
        running[QueueHost(queue, host)] += count
    return msgspec.structs.replace(state, running=running)


def _settings_of(text: str) -> dict[str, QueueSettings]:
    try:
        return _QUEUES.decode(text)
    except UNREADABLE:
        return {name: readable_part(one, QueueSettings) for name, one in fields_of(text).items()}


def _decide(
    execute: Execute,
    request: ClaimRequest,
    by_age: Sequence[Candidate],
    in_order: Sequence[Candidate],
    by_lane: Sequence[Candidate],
) -> _Decision:
    lanes = {one.queue_host for some in (by_age, in_order, by_lane) for one in some}
    state = state_of(execute, lanes, request.max_per_host)
    limiter = Limiter(state, max_per_host=request.max_per_host)
    selector = ClaimSelector(request.limit, limiter, request.shares)
    selector.offer(by_age, limit=request.by_age)
    selector.offer(in_order)
    selector.offer(sorted(by_lane, key=lambda one: one.order))
    return _Decision(state, limiter, selector)


def _due_by_lane(execute: Execute, lane: QueueHost, per_lane: int) -> list[Row]:
    bounds = {"lanes": MAX_LANES, "limit": per_lane, "rows": _MAX_ROWS}
    return execute("due_by_lane", {"queue": lane.queue, "host": lane.host, **bounds})


def _candidates(rows: Iterable[Row]) -> list[Candidate]:
    """Read rows of priority, ``run_at``, id, queue and host; rows without an id have no task."""
    return [
        Candidate(priority, run_at, task_id, QueueHost(queue, host))
        for priority, run_at, task_id, queue, host in rows
        if task_id is not None
    ]


def _next_lane(rows: Sequence[Row]) -> QueueHost:
    """Return the lane after which the next scan continues: the first, if this one was complete."""
    lanes = {QueueHost(queue, host) for *_, queue, host in rows}
    has_more = len(lanes) == MAX_LANES or len(rows) == _MAX_ROWS
    return max(lanes) if has_more else _FIRST


def _claim(execute: Execute, decision: _Decision, request: ClaimRequest) -> list[Row]:
    chosen, paces = decision.selector.selected, decision.limiter.next_starts
    if not chosen:
        return []
    rows = execute(
        "claim_chosen_if_alive",
        {
            "node_id": request.node_id,
            "token": request.token,
            "ids": list(chosen),
            "keys": list(paces),
            "next_ats": list(paces.values()),
        },
    )
    places = {task_id: place for place, task_id in enumerate(decision.selector.ordered_ids())}
    return sorted(rows, key=lambda row: places[row[0]])


def _points(in_order: Iterable[Candidate], chosen: Collection[uuid.UUID]) -> list[Point]:
    """Return the chosen tasks before the first one of their priority that was not chosen."""
    passed_over: set[int] = set()
    points = []
    for one in in_order:
        if one.task_id not in chosen:
            passed_over.add(one.priority)
        elif one.priority not in passed_over:
            points.append((one.priority, one.run_at))
    return points


def _seconds_to_next_start(decision: _Decision) -> float | None:
    start = decision.selector.next_start()
    return None if start is None else max(0.0, (start - decision.state.now).total_seconds())
