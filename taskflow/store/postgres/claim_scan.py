"""A scan for startable tasks, where the first tasks may not be startable.

Nearly every claim takes the first due tasks, in one statement. If queues have limits, hosts fail,
or a host would get more than its share of the workers, a node scans more tasks than it claims,
decides (``model/claim_selection.py``), and claims those. One node scans at a time, because what it
may start depends on what all nodes have started.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from taskflow.store.postgres.claim_position import Look, Place
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.salvage import UNREADABLE, fields_of, readable_part

# Of the tasks in order so many are looked at for each that is wanted, and at least so many.
_LOOKED_AT_EACH: Final = 2
_LEAST_LOOKED_AT: Final = 50
# So many lanes are looked at. Each takes some 10 us.
LANES: Final = 200
# So many tasks of all of them, for a thread's time.
_MOST_ROWS: Final = 2000
_FEW_LANES: Final = 5
# So often it is looked at all lanes without finding any that may start, before one waits.
_VAIN_TURNS: Final = 2
_FIRST: Final = QueueHost("", "")
# Where all tasks went to one host, nobody looks for others so soon again. Where its tasks take
# longer than that, each claim looks.
_ALONE_SECONDS: Final = 0.25

_QUEUES: Final = msgspec.json.Decoder(dict[str, QueueSettings])
_HOSTS: Final = msgspec.json.Decoder(dict[str, HostHold])
_PACES: Final = msgspec.json.Decoder(dict[str, dt.datetime])

Execute = Callable[[str, Mapping[str, object]], list[Row]]
"""Run a statement by its name, with these parameters."""


class Wanted(msgspec.Struct, frozen=True):
    """What a look is for.

    Attributes:
        node_id: For whom.
        token: What the claims carry.
        limit: How many at most.
        by_age: How many of them go to those that are due for the longest.
        shares: Those of the node.
        max_per_host: How many tasks of a host may run at once.
    """

    node_id: uuid.UUID
    token: uuid.UUID
    limit: int
    by_age: int
    shares: HostShares | None
    max_per_host: int | None


class Seen(msgspec.Struct, frozen=True):
    """What a look has come to.

    Attributes:
        rows: What was taken, in the order in which it is to run.
        limiter: What it was decided by.
        places: Up to where all tasks are taken.
        lane: Where the next look goes on.
        is_all: Whether there was nothing more to be looked at.
        is_needed: Whether the next claim needs one too, whatever is in hand.
        wait_seconds: How long until something may start that is held now; ``None`` if that
            cannot be told.
    """

    rows: list[Row]
    limiter: Limiter
    places: list[Place]
    lane: QueueHost
    is_all: bool
    is_needed: bool
    wait_seconds: float | None


class Claimed(msgspec.Struct, frozen=True):
    """What a claim has come to.

    Attributes:
        rows: What was taken, in the order in which it is to run.
        places: Up to where all tasks are taken.
        seen: What a look has come to, if there was one.
        is_alone: Whether there were tasks of one host alone, so that it need not share.
    """

    rows: list[Row]
    places: list[Place]
    seen: Seen | None
    is_alone: bool = False


class Looks:
    """What a store remembers from one look to the next.

    Args:
        are_always_needed: Whether claims alone never do.

    Attributes:
        are_needed: Whether there is something that a claim alone would not see to.
        lane: Where the next one goes on.
    """

    def __init__(self, *, are_always_needed: bool) -> None:
        self._are_always_needed = are_always_needed
        self.are_needed = are_always_needed
        self.lane = _FIRST
        self._vain_turns = 0
        self._next_start_at = math.inf
        self._alone_until = -math.inf

    @property
    def may_crowd(self) -> bool:
        """Whether a host may have more than its share: it was alone just now."""
        return trio.current_time() < self._alone_until

    def saw(self, claimed: Claimed) -> bool:
        """Tasks were claimed. Says whether a look, from where this one ended, may find more."""
        if claimed.is_alone:
            self._alone_until = trio.current_time() + _ALONE_SECONDS
        if claimed.seen is None:
            self._next_start_at = math.inf  # nothing is held where no look was needed
            return False
        return self._has_more(claimed.seen)

    def _has_more(self, seen: Seen) -> bool:
        self.are_needed = self._are_always_needed or seen.is_needed
        self.lane = seen.lane
        wait_seconds = math.inf if seen.wait_seconds is None else seen.wait_seconds
        self._next_start_at = trio.current_time() + wait_seconds
        if seen.is_all:
            self._vain_turns = 0
            return False
        if seen.rows:
            self._vain_turns = 0
        elif seen.lane == _FIRST:
            self._vain_turns += 1
        # The first turn may have begun in the middle, or before something came to its beginning.
        is_over = self._vain_turns >= _VAIN_TURNS
        if is_over:
            self._vain_turns = 0
        return not is_over

    def wait_seconds(self) -> float:
        """How long until something may start that is held now; infinite if nobody knows."""
        return max(0.0, self._next_start_at - trio.current_time())


def is_one_host_alone(execute: Execute) -> bool:
    """Whether all tasks that wait go to one host, if that can be told by a few of the lanes."""
    hosts = [host for (host,) in execute("first_hosts", {"lanes": _FEW_LANES})]
    return len(hosts) < _FEW_LANES and len(set(hosts)) <= 1


def claim_first(execute: Execute, look: Look, wanted: Wanted, *, is_alone: bool) -> Claimed | None:
    """Take the first tasks without a look; ``None`` if there are limits, and so one is needed.

    Each statement is a transaction by itself: what was taken is taken.
    """
    priorities, since = look.bounds()
    parameters = {
        "node_id": wanted.node_id,
        "token": wanted.token,
        "priorities": priorities,
        "since": since,
    }
    rows: list[Row] = []
    if wanted.by_age:
        rows = execute("claim_by_age_if_alive", parameters | {"limit": wanted.by_age})
    if most := wanted.limit - len(rows):
        rows += execute("claim_if_alive", parameters | {"limit": most})
    if not rows and execute("are_there_limits", {})[0][0]:
        return None
    in_order = sorted(rows, key=lambda row: (-row[5], row[6], row[0]))
    return Claimed(in_order, [(row[5], row[6]) for row in rows], None, is_alone)


def look_for_tasks(execute: Execute, look: Look, wanted: Wanted, lane: QueueHost) -> Seen:
    """Look, decide and take. To be run within a transaction.

    Args:
        execute: In the transaction.
        look: Where tasks begin.
        wanted: How many, and for whom.
        lane: After which the lanes are looked at.
    """
    execute("lock_looks", {})
    priorities, since = look.bounds()
    most = max(_LOOKED_AT_EACH * wanted.limit, _LEAST_LOOKED_AT)
    bounds = {"priorities": priorities, "since": since, "limit": most}
    in_order = _candidates(execute("due_in_order", bounds))
    by_age: list[Candidate] = []
    if wanted.by_age:
        by_age = _candidates(execute("due_by_age", bounds | {"limit": 2 * wanted.by_age}))
    decision = _decide(execute, wanted, by_age, in_order, [])
    is_all, following = True, lane
    if decision.selector.remaining and len(in_order) == most:
        rows = execute(
            "due_by_lane",
            {
                "queue": lane.queue,
                "host": lane.host,
                "lanes": LANES,
                "most": wanted.limit,
                "rows": _MOST_ROWS,
            },
        )
        following = _following(rows)
        is_all = lane == following == _FIRST
        decision = _decide(execute, wanted, by_age, in_order, _candidates(rows))
    decision.selector.fill()
    return Seen(
        rows=_take(execute, decision, wanted),
        limiter=decision.limiter,
        places=_places(in_order, decision.selector.selected),
        lane=following,
        is_all=is_all or not decision.selector.remaining,
        is_needed=not decision.state.is_unlimited or wanted.max_per_host is not None,
        wait_seconds=_seconds_to_next_start(decision),
    )


class _Decision(NamedTuple):
    state: LimiterState
    limiter: Limiter
    selector: ClaimSelector


def state_of(
    execute: Execute, lanes: Collection[QueueHost], max_per_host: int | None
) -> LimiterState:
    """How things stand for these lanes.

    Args:
        execute: Best in the transaction of what follows from it.
        lanes: Which.
        max_per_host: How many tasks of a host may run at once, if that is limited.
    """
    queues = {lane.queue for lane in lanes}
    [(now, settings, hosts, paces)] = execute(
        "state",
        {
            "queues": list(queues),
            "hosts": list({lane.host for lane in lanes}),
            "paces": [*map(queue_rate_key, queues), *map(host_rate_key, lanes)],
        },
    )
    state = LimiterState(
        now=now,
        queues=_settings_of(settings) if settings else {},
        hosts=_HOSTS.decode(hosts) if hosts else {},
        next_starts=_PACES.decode(paces) if paces else {},
    )
    if max_per_host is None and not state.needs_counts:
        return state
    running = {QueueHost(queue, host): count for queue, host, count in execute("running", {})}
    return msgspec.structs.replace(state, running=running)


def _settings_of(text: str) -> dict[str, QueueSettings]:
    """By queue, what is asked of it."""
    try:
        return _QUEUES.decode(text)
    except UNREADABLE:
        return {name: readable_part(one, QueueSettings) for name, one in fields_of(text).items()}


def _decide(
    execute: Execute,
    wanted: Wanted,
    by_age: Sequence[Candidate],
    in_order: Sequence[Candidate],
    by_lane: Sequence[Candidate],
) -> _Decision:
    lanes = {one.queue_host for some in (by_age, in_order, by_lane) for one in some}
    state = state_of(execute, lanes, wanted.max_per_host)
    limiter = Limiter(state, max_per_host=wanted.max_per_host)
    selector = ClaimSelector(wanted.limit, limiter, wanted.shares)
    selector.offer(by_age, limit=wanted.by_age)
    selector.offer(in_order)
    selector.offer(sorted(by_lane, key=lambda one: one.order))
    return _Decision(state, limiter, selector)


def _candidates(rows: Iterable[Row]) -> list[Candidate]:
    """Of rows of priority, ``run_at``, id, queue and host; without an id there is none."""
    return [
        Candidate(priority, run_at, task_id, QueueHost(queue, host))
        for priority, run_at, task_id, queue, host in rows
        if task_id is not None
    ]


def _following(rows: Sequence[Row]) -> QueueHost:
    """After which lane the next look goes on: from the beginning if this one came to the end."""
    lanes = {QueueHost(queue, host) for *_, queue, host in rows}
    has_more = len(lanes) == LANES or len(rows) == _MOST_ROWS
    return max(lanes) if has_more else _FIRST


def _take(execute: Execute, decision: _Decision, wanted: Wanted) -> list[Row]:
    chosen, paces = decision.selector.selected, decision.limiter.next_starts
    if not chosen:
        return []
    rows = execute(
        "take_if_alive",
        {
            "node_id": wanted.node_id,
            "token": wanted.token,
            "ids": list(chosen),
            "keys": list(paces),
            "next_ats": list(paces.values()),
        },
    )
    places = {task_id: place for place, task_id in enumerate(decision.selector.ordered_ids())}
    return sorted(rows, key=lambda row: places[row[0]])


def _places(in_order: Iterable[Candidate], chosen: Collection[uuid.UUID]) -> list[Place]:
    """Those before the first task that was passed over, of each priority."""
    passed_over: set[int] = set()
    places = []
    for one in in_order:
        if one.task_id not in chosen:
            passed_over.add(one.priority)
        elif one.priority not in passed_over:
            places.append((one.priority, one.run_at))
    return places


def _seconds_to_next_start(decision: _Decision) -> float | None:
    start = decision.selector.next_start()
    return None if start is None else max(0.0, (start - decision.state.now).total_seconds())
