"""The claim position: where, in the order of tasks, claims begin.

A claimed task leaves a dead entry in the index of claims, which only VACUUM can remove, and VACUUM
cannot while any transaction in the database is older than the claim. Claims from the beginning of
the index would read all of these entries each time: a report that runs for an hour would slow
claims to a crawl. So a store remembers, for each priority, the due time up to which tasks have been
claimed, and begins there.

A write that makes a task PENDING before that position announces it: within this process by a call,
to other nodes in the notification that wakes them. Tasks whose announcement was lost (with its
connection, say) are found by a periodic survey from the beginning.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import trio

from taskflow.model.completion import PARKED_NODE
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.session import EARLIEST
from taskflow.wakeup import WakeUp

# Seconds between two surveys: the maximum delay of a task whose announcement was lost ...
SURVEY_SECONDS: Final = 1.0
# ... unless surveys are slow: then they take about this share of the time ...
SURVEY_SHARE: Final = 0.05
# ... up to this pause.
MAX_PAUSE_SECONDS: Final = 30.0

# Notification that there are no new tasks, but that held ones may start.
ROOM: Final = "room"
# Notification that a task with an order key was enqueued.
ORDER: Final = "order"
# Notification that a task with parents was enqueued.
GRAPH: Final = "graph"
# Notification that members of a group are to be canceled.
CANCEL: Final = "cancel"

# What may start because a task has finished, in the second column of statements.
_ORDER_KEYS: Final = 1
_CHILDREN: Final = 2

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Point = tuple[int, dt.datetime]
"""A point in the order of claims: a priority, and a due time."""


class Pass:
    """One pass over the due tasks: where it begins, and how far it got."""

    def __init__(self, since: dict[int, dt.datetime], *, needs_survey: bool) -> None:
        self._since = since
        self.needs_survey: Final = needs_survey
        self.announced: Final[dict[int, dt.datetime]] = {}

    def begin(self) -> tuple[list[int], list[dt.datetime]]:
        """Return the priorities to claim from, highest first, and the due time to begin at each."""
        priorities = sorted(self._since, reverse=True)
        return priorities, [self._since[priority] for priority in priorities]

    def bounds(self) -> tuple[list[int], list[dt.datetime | None]]:
        """Return the same as parameters: ``None`` is the beginning."""
        priorities, since = self.begin()
        return priorities, [None if at <= EARLIEST else at for at in since]

    def surveyed(self, points: Iterable[Point]) -> None:
        """Begin at these points, the first of each priority that has tasks."""
        self._since = dict(points)

    def claimed(self, points: Iterable[Point]) -> None:
        """Record that all due tasks up to these points were claimed."""
        for priority, run_at in points:
            self._since[priority] = max(self._since[priority], run_at)


class ClaimPosition:
    """The position up to which a store has claimed tasks. Belongs to the Trio thread."""

    def __init__(self) -> None:
        self._since: dict[int, dt.datetime] = {}
        self._passes: list[Pass] = []
        self._survey_due_at = -math.inf
        self._failed_surveys = 0

    def announce(self, points: Iterable[Point]) -> None:
        """Go back to these points, where there may be new tasks."""
        for priority, run_at in points:
            for since in (self._since, *(one.announced for one in self._passes)):
                since[priority] = min(since.get(priority, run_at), run_at)

    def distrust(self) -> None:
        """Survey in the next pass, because announcements may have been missed."""
        self._survey_due_at = -math.inf

    def priorities(self) -> list[int]:
        """Return the priorities that had tasks recently."""
        return list(self._since)

    @contextlib.contextmanager
    def passing(self) -> Iterator[Pass]:
        """Claim tasks within the block; the position moves if the block succeeds."""
        began_at = trio.current_time()
        one = Pass(dict(self._since), needs_survey=began_at >= self._survey_due_at)
        if one.needs_survey:
            self._survey_due_at = math.inf
        self._passes.append(one)
        is_done = False
        try:
            yield one
            # Announcements during the pass may have been too late for it.
            self._since = dict(zip(*one.begin(), strict=True))
            self.announce(one.announced.items())
            is_done = True
        finally:
            self._passes.remove(one)
            if one.needs_survey:
                self._failed_surveys = 0 if is_done else self._failed_surveys + 1
            if self._survey_due_at == math.inf:
                self._survey_due_at = trio.current_time() + self._pause_seconds(began_at)

    def _pause_seconds(self, began_at: float) -> float:
        """Return the pause after a survey.

        How long one took that failed says nothing: the database was away, and announcements may
        have been lost. Surveys that fail again and again, maybe because they are slow, are rarer.
        """
        if self._failed_surveys:
            return min(SURVEY_SECONDS * 2.0 ** min(self._failed_surveys, 9), MAX_PAUSE_SECONDS)
        took_seconds = trio.current_time() - began_at
        return min(max(took_seconds / SURVEY_SHARE, SURVEY_SECONDS), MAX_PAUSE_SECONDS)


class Announcements:
    """Announcements of claimable tasks, between this store and the other nodes.

    Attributes:
        sender: Name of this store in notifications, which it ignores when they come back.
        nodes: Nodes of this process, which need no notifications of it.
        position: Where claims begin.
        work: Notified when there is something to claim.
        order_steps: Notified when the next task of an order key may have to be started.
        graph_steps: Notified when children of tasks may have to be started.
        group_cancellations: Notified when members of a group are to be canceled.
    """

    def __init__(self) -> None:
        self.sender: Final = uuid.uuid4().hex
        self.nodes: Final[set[uuid.UUID]] = set()
        self.position: Final = ClaimPosition()
        self.work: Final = WakeUp()
        self.order_steps: Final = WakeUp()
        self.graph_steps: Final = WakeUp()
        self.group_cancellations: Final = WakeUp()

    @property
    def own_nodes(self) -> list[uuid.UUID]:
        """Nodes that need no notifications: of this process, and of parked attempts."""
        return [*self.nodes, PARKED_NODE]

    def announce(self, rows: Sequence[Row]) -> None:
        """Announce, in this process, tasks that are PENDING now.

        Args:
            rows: They begin with the id, the priority and ``run_at``.
        """
        if rows:
            self.position.announce((priority, run_at) for _, priority, run_at, *_ in rows)
            self.work.notify()

    def note_waiting(self) -> None:
        """Wake the promoters, because tasks were stored that wait for others."""
        self.note_freed(_ORDER_KEYS | _CHILDREN)

    def note_freed(self, frees: int) -> None:
        """Wake the promoters of what may start now.

        Args:
            frees: As in the statements: 1 for order keys, 2 for the children of tasks, or both.
        """
        if frees & _ORDER_KEYS:
            self.order_steps.notify()
        if frees & _CHILDREN:
            self.graph_steps.notify()

    def receive(self, payload: str) -> None:
        """Process a notification of another node; it is empty if some may have been missed."""
        sender, points = parse(payload)
        if sender == self.sender:
            return
        steps = {
            ORDER: self.order_steps,
            GRAPH: self.graph_steps,
            CANCEL: self.group_cancellations,
        }
        for word, wake_up in steps.items():
            if payload == f"{sender} {word}" or not payload:
                wake_up.notify()
                if payload:
                    return
        if payload == f"{sender} {ROOM}":
            pass  # no new tasks
        elif points:
            self.position.announce(points)
        else:
            self.position.distrust()
        self.work.notify()


def parse(payload: str) -> tuple[str, list[Point]]:
    """Return the sender of a notification and its points (see ``taskflow_announce``), if any."""
    sender, *points = payload.split(" ")
    try:
        return sender, [_point(text) for text in points]
    except (ValueError, OverflowError):  # from another program
        return sender, []


def _point(text: str) -> Point:
    priority, microseconds = text.split("@")
    return int(priority), _EPOCH + dt.timedelta(microseconds=int(microseconds))
