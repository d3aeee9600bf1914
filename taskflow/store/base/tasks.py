"""The seam between TaskFlow and the place where its tasks live: read this first.

A store speaks the domain's verbs. Each verb is atomic, and each write that ends a claim
carries the claim's token: it changes a task only while the task is RUNNING under just
that token, and the verb returns the ids that it changed. So a late write of a node that
was presumed dead changes nothing.

The store's clock decides, never a node's. Every verb may raise ``StoreUnavailable`` when
the store cannot be reached; then nothing is known about whether the write was done. None
of them waits for ever by itself, but callers who promised an answer in time open a cancel
scope of their own.
"""

from __future__ import annotations

import abc
import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from taskflow.model.claim_selection import Shares
from taskflow.model.event import ALL_EVENTS, EventFilter, TaskEvent
from taskflow.model.filter import NO_FILTER, TaskFilter
from taskflow.model.outcome import ErrorType
from taskflow.model.task import (
    AttemptRecord,
    Claim,
    ClaimKey,
    IdempotencyKey,
    NewTask,
    Task,
    TaskStatus,
)
from taskflow.model.task_statistics import TaskStatistics
from taskflow.store.base.monitoring import MonitoringStore
from taskflow.store.base.queues import QueueStore
from taskflow.store.base.schedules import ScheduleStore

EXPIRED: Final = "expired: it was still waiting at its expires_at"

# Events are recorded so much longer than anybody asked for them, and kept for so long.
RECORDED_SECONDS: Final = 600.0
EVENTS_KEPT_SECONDS: Final = 330.0

SECRET_BYTES: Final = 32

# Of how many attempts at a task the responses are read at once: together they may have 10 MiB.
MAX_RESPONSES: Final = 100

# What a page may have to hold in memory, documents only. A page always has a task, if there
# is one; further ones come while there is room.
PAGE_BUDGET_BYTES: Final = 16 * 2**20
# How many tasks are looked at for a page, about: those that a filter has hardly any of would be
# looked for in vain for minutes otherwise.
MAX_SCANNED: Final = 50_000
# Of a task: what can be large, and is left out of a page if nobody asks for it.
LARGE_FIELDS: Final = frozenset(("payload", "result"))
# How many tasks are moved by hand in one call, at most.
MAX_PER_ACTION: Final = 1000


class Settlement(msgspec.Struct, frozen=True):
    """What to write when a claim ends for good.

    ``result`` is JSON text; COMPLETED ones have one, FAILED ones have an error.
    ``elapsed_ms`` is how long the fetch took. ``makes_room`` says that others may have waited for
    it to end, as in ``Claim.is_limited``. ``response`` is a ``KeptResponse`` as JSON text; only
    FAILED ones have one.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    status: TaskStatus
    result: bytes | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    status_code: int | None = None
    elapsed_ms: float | None = None
    makes_room: bool = False
    response: bytes | None = None


class Retry(msgspec.Struct, frozen=True):
    """What to write when a claim failed and the task is to be run again.

    ``response`` is a ``KeptResponse`` as JSON text.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    delay_seconds: float
    error: str
    error_type: ErrorType
    status_code: int | None = None
    elapsed_ms: float | None = None
    makes_room: bool = False
    response: bytes | None = None


class Release(msgspec.Struct, frozen=True):
    """What to write when a claim is given back.

    ``elapsed_ms`` is how long its fetch ran until it was cut off; ``None`` if it never began.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    elapsed_ms: float | None = None
    makes_room: bool = False


class AddedOnce(msgspec.Struct, frozen=True):
    """What a request with an idempotency key came to.

    Attributes:
        tasks: Those that it made, or that the first one with this key made, as they stand now;
            of these the ones that were deleted since are missing.
        is_replay: Whether there was a first one.
        is_same: Whether that one had the same fingerprint; the tasks are not told if not.
    """

    tasks: list[Task]
    is_replay: bool = False
    is_same: bool = True


class Page(msgspec.Struct, frozen=True):
    """Some tasks, newest first, and the id to ask from next (``None`` at the end).

    There may be fewer tasks than asked for, even none, and yet a next page: a page ends where
    enough was walked through.
    """

    tasks: list[Task]
    next_before: uuid.UUID | None


class EventPage(msgspec.Struct, frozen=True):
    """Some events in order, and whether those that were asked for are all there still."""

    events: list[TaskEvent]
    is_complete: bool = True


class Rescued(msgspec.Struct, frozen=True):
    """The tasks taken from nodes that died: those to run again, those given up."""

    pending: list[uuid.UUID]
    poisoned: list[uuid.UUID]


class PoolStatistics(msgspec.Struct, frozen=True):
    """How a pool of connections stands: in use and free, and how many calls wait for one."""

    name: str
    used: int
    free: int
    waiting: int


class StoreStatistics(msgspec.Struct, frozen=True):
    """What a store would say of itself.

    Attributes:
        kind: What it is.
        place: Where it is.
        version: Which one it is.
        pools: Its connections.
        is_listening: Whether it hears other nodes; ``None`` if it does not mean to.
    """

    kind: str
    place: str
    version: str = ""
    pools: tuple[PoolStatistics, ...] = ()
    is_listening: bool | None = None


class Reservation(msgspec.Struct, frozen=True):
    """Room that a node keeps for tasks that are just being stored.

    Attributes:
        node_id: Whose.
        token: What the claims carry.
        count: For how many tasks.
        deliver: Takes the claims once they are made, in the order in which they are to run.
    """

    node_id: uuid.UUID
    token: uuid.UUID
    count: int
    deliver: Callable[[Sequence[Claim]], None]


class IdleNode(abc.ABC):
    """A node that waits for work, and would run new tasks at once."""

    @abc.abstractmethod
    def reserve(self, most: int) -> contextlib.AbstractContextManager[Reservation]:
        """Keep room for up to so many tasks within the block.

        If the block fails nobody knows whether the claims were made; the taker has to see to it.
        """


class TaskStore(abc.ABC):
    """Where tasks live. ``memory`` and ``postgres`` implement it.

    Whichever verb ends a task whose end is to be told makes the task that tells of it, too, both or
    neither (see ``model.callback``).
    """

    @property
    @abc.abstractmethod
    def queues(self) -> QueueStore:
        """What keeps tasks waiting."""

    @property
    @abc.abstractmethod
    def schedules(self) -> ScheduleStore:
        """The schedules that live there, too."""

    @property
    @abc.abstractmethod
    def monitoring(self) -> MonitoringStore:
        """How nodes, hosts and endings stand."""

    # Handing in and looking up

    @abc.abstractmethod
    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Keep new tasks, all or none, and return them in order with their ids, as PENDING.

        A node that waits for work may have claimed them by then (see ``wait_for_work``). When
        this returns the tasks survive a crash of any process (where the store is
        durable at all), and whoever waits for work has been woken.
        """

    @abc.abstractmethod
    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        """Keep new tasks like ``add``, unless a request with this key has come before.

        Of several at the same moment, on whatever nodes, one makes the tasks.
        """

    @abc.abstractmethod
    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        """What a request with this key has made before; ``None`` if none came."""

    @abc.abstractmethod
    async def get(self, task_id: uuid.UUID) -> Task | None:
        """The task, or ``None`` if there is none with this id."""

    @abc.abstractmethod
    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        """The task with its credentials, from which this service makes another one.

        Nothing of it may be shown: tasks and schedules that the other verbs return are as they
        are shown, with their credentials masked (``model/masking.py``).
        """

    @abc.abstractmethod
    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        """Those of the tasks that there are, in any order."""

    @abc.abstractmethod
    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        """The attempts at a task in order, one that runs included; ``None`` if there is no task.

        The last ``MAX_RESPONSES`` have the response that they ended with.

        Those that did not count (cut off by a shutdown, or their node died) are among them.
        """

    @abc.abstractmethod
    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
    ) -> Page:
        """A page of tasks, newest first, at the same cost however many there are.

        Args:
            limit: How many at most. Fewer come when their documents are large, or when few of
                those that were walked through are wanted.
            before: Only tasks older than this id (which need not exist any more).
            filter: Only these.
            without: Large fields that are not asked for: what stands there then is nobody's
                business, and does not make the page shorter.
        """

    @abc.abstractmethod
    async def count_pending(self, *, limit: int) -> int:
        """How many tasks are PENDING, due or not; counted no further than ``limit``.

        So it costs no more than that, however many there are.
        """

    @abc.abstractmethod
    async def count(
        self, *, limit: int, queue: str | None = None, is_after_write: bool = False
    ) -> TaskStatistics:
        """How tasks stand, at the same cost however many there are.

        Args:
            limit: How many queues to list at most.
            queue: Only list this one, be there tasks in it or not. The total is that of all.
            is_after_write: Whether it belongs to the answer to a write: it does not wait for
                searches.
        """

    @abc.abstractmethod
    async def fold_counts(self, *, limit: int) -> int:
        """Put some of what changed into the counts, and return how many changes it were.

        What ``count`` answers does not depend on it, but how long it takes does.
        """

    # Nodes: who runs tasks

    @abc.abstractmethod
    async def register(
        self,
        name: str,
        lease_seconds: float,
        *,
        version: str = "",
        workers: int = 1,
        tz_version: str | None = None,
    ) -> uuid.UUID:
        """Make a node that may claim tasks until its lease ends, and return its id.

        Args:
            name: Its host and process.
            lease_seconds: How long a lease is.
            version: The version of TaskFlow that it runs.
            workers: How many tasks it runs at once.
            tz_version: The version of its time zone database, if known.
        """

    @abc.abstractmethod
    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        """Start the node's lease again from now, and return when that was, by the store's clock.

        Raises:
            LeaseLost: It had ended already; the node must register anew.
        """

    @abc.abstractmethod
    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        """Put back what the node holds by other tokens than these, and return how many it were.

        A claim whose answer was lost may have been made all the same: the node knows nothing
        of it, and nobody would rescue it while the node lives.

        Args:
            node_id: Who asks.
            tokens: Of all claims that the node has in hand, and of those it is waiting for;
                read after the renewal that ``before`` comes from.
            before: Later claims are left alone.
        """

    @abc.abstractmethod
    async def retire(self, node_id: uuid.UUID) -> None:
        """Forget the node, and put what it still holds back as if never claimed."""

    @abc.abstractmethod
    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        """Take up to ``limit`` RUNNING tasks from nodes whose lease is over.

        They go back to PENDING with the attempt not counted, or end FAILED as poison when
        it is the ``max_rescues``-th time.
        """

    # Running

    @abc.abstractmethod
    async def claim(
        self,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int = 0,
        token: uuid.UUID | None = None,
        shares: Shares | None = None,
    ) -> list[Claim]:
        """Take up to ``limit`` due tasks that may start: by priority, then ``run_at``, then id.

        No task is claimed twice at once; nothing is claimed for a node whose lease is over. What
        is asked of queues holds over all nodes (see ``model.flow``). Tasks of hosts that have more
        than their share come last (see ``model.choice``).

        Args:
            node_id: For whom.
            limit: How many at most.
            by_age: How many of them go to the tasks that have been due for the longest,
                whatever their priority.
            token: What the claims carry; made up if not given.
            shares: What the node has in hand for each host; without them hosts need not share.
        """

    @abc.abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        """End claims for good, where still held."""

    @abc.abstractmethod
    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        """Put tasks back for another attempt later, where still held."""

    @abc.abstractmethod
    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        """Put tasks back as if they had never been claimed, where still held.

        Attempts that had begun are recorded as interrupted.
        """

    # By hand

    @abc.abstractmethod
    async def cancel(self, task_id: uuid.UUID) -> Task | None:
        """Call a PENDING or RUNNING task off; ``None`` if there is no such task.

        The node that runs it, in whatever process, is told (see ``wait_for_cancellations``).

        Raises:
            IllegalMove: It is at its end already.
        """

    @abc.abstractmethod
    async def retry(self, task_id: uuid.UUID) -> Task | None:
        """Run a FAILED or CANCELED task again from the start; ``None`` if there is none.

        Raises:
            IllegalMove: It is not at such an end.
        """

    @abc.abstractmethod
    async def delete(self, task_id: uuid.UUID) -> bool:
        """Delete a task that is at its end, with its attempts; false if there is no such task.

        Raises:
            IllegalMove: It is not at its end.
        """

    @abc.abstractmethod
    async def cancel_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Cancel up to ``MAX_PER_ACTION`` tasks; return those that were not finished."""

    @abc.abstractmethod
    async def retry_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Retry up to ``MAX_PER_ACTION`` tasks; return those that were FAILED or CANCELED."""

    @abc.abstractmethod
    async def delete_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Delete up to ``MAX_PER_ACTION`` tasks; return those that were finished."""

    # By the clock

    @abc.abstractmethod
    async def expire(self, *, limit: int) -> int:
        """End up to ``limit`` PENDING tasks whose time is over as FAILED; return how many."""

    @abc.abstractmethod
    async def seconds_to_expiry(self) -> float | None:
        """How long until the next PENDING task expires; ``None`` if none will."""

    @abc.abstractmethod
    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        """Delete some tasks that were kept long enough, with their attempts; return how many.

        Args:
            age_seconds: How long the end of tasks that do not say so themselves must be past;
                ``None`` if these are kept for ever.
            limit: How many at most of each kind. Fewer go when they are large.
        """

    @abc.abstractmethod
    async def delete_expired_keys(self, *, limit: int) -> int:
        """Forget up to ``limit`` idempotency keys that are old enough; return how many."""

    # Waiting and watching

    @abc.abstractmethod
    async def wait_for_work(self, taker: IdleNode | None = None) -> None:
        """Return when there may be something to claim that was not there before.

        Until then new tasks are claimed for the taker as they are stored, as far as it has room.
        For these this does not return.

        That is when tasks were handed in or put back, when one becomes due, and when one may start
        that was kept waiting. Returns at
        once if that happened since the last call. One task at a time may wait. It is a hint:
        it may come for nothing, and may (rarely) not come at all, so callers look by
        themselves from time to time.
        """

    @abc.abstractmethod
    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        """Return claims of this node whose tasks were canceled, as soon as there are any.

        Nothing is missed between two calls, from ``register`` to ``retire``. One task at a time
        may wait. It is a hint, too: it may not come at all, so a node asks ``lost_claims`` as well.
        """

    @abc.abstractmethod
    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        """Which of these claims are over, because somebody canceled the task or took it."""

    @abc.abstractmethod
    async def record_events(self) -> int:
        """Record what happens to tasks for ``RECORDED_SECONDS`` from now on, at least.

        Returns:
            A position in the order of events: whatever happens from now on is after it.
        """

    @abc.abstractmethod
    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        """What happened after a position, in the order in which it did.

        Events are kept for ``EVENTS_KEPT_SECONDS`` at least.

        Args:
            position: Whatever came up to there is passed over.
            limit: How many at most.
            until: Whatever comes after that is passed over.
            wanted: Which of them.
        """

    @abc.abstractmethod
    async def wait_for_events(self) -> None:
        """Return when there may be events that were not there before.

        Returns at once if that happened since the last call. One task at a time may wait. It is a
        hint, as with ``wait_for_work``.
        """

    @abc.abstractmethod
    async def delete_old_events(self, *, limit: int) -> int:
        """Delete some events that were kept long enough, and return how many it were."""

    @abc.abstractmethod
    async def shared_secret(self, name: str) -> bytes:
        """Random bytes that all nodes share by this name, made when they are first asked for."""

    @abc.abstractmethod
    async def end_session(self, session_id: str, *, seconds: float) -> None:
        """End a session of the dashboard on all nodes, and forget those that ended long ago.

        Args:
            session_id: Which.
            seconds: Time to remember it: the longest that its cookie could still be valid.
        """

    @abc.abstractmethod
    async def is_session_ended(self, session_id: str) -> bool:
        """Return whether a session was ended by ``end_session``."""

    @abc.abstractmethod
    async def check(self) -> None:
        """Return if the store answers.

        Raises:
            StoreUnavailable: It does not.
        """

    @abc.abstractmethod
    def statistics(self) -> StoreStatistics:
        """What the store would say of itself, without asking it."""
