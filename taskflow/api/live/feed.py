"""The feed: one reader of events for all waiting requests and streams of a process.

However many there are, a batch of events costs one query for the events, and one for the tasks
that requests wait for. Without requests and streams there are no queries.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import msgspec
import trio

from taskflow.api.access.sessions import EndedSessions
from taskflow.api.live.snapshot import Snapshot
from taskflow.checkpoints import Checkpoints
from taskflow.model.errors import StoreUnavailable
from taskflow.model.event import EventFilter, TaskEvent
from taskflow.model.queue_scope import QueueScope
from taskflow.store.base.events import EventPage
from taskflow.store.base.partial_reads import partial_reads
from taskflow.store.base.store import TaskStore
from taskflow.wakeup import WakeUp

Key = TypeVar("Key")
Member = TypeVar("Member")

BATCH: Final = 1000
# Enough that a burst does not drop a stream that is being read. Streams share the event objects.
MAX_UNREAD_EVENTS: Final = 5000
# Maximum of events that are taken from the channel at once.
_MAX_EVENTS_AT_ONCE: Final = 200
# Cost of sending an event to a watcher, as amount of work between two checkpoints.
_SEND_BYTES: Final = 64
# Recording continues for ten times as long after the last renewal.
_RENEWAL_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.5


class Watcher:
    """The subscription of one stream.

    Attributes:
        wanted: The events that it gets.
        start: The position after which it gets events; ``None`` before it has started.
        is_behind: Whether it was dropped because it was read too slowly.
        has_gap: Whether it was dropped because events were deleted before they were read.
    """

    def __init__(self, wanted: EventFilter) -> None:
        self.wanted: Final = wanted
        self._send, self._receive = trio.open_memory_channel[TaskEvent](MAX_UNREAD_EVENTS)
        self._started = trio.Event()
        self._read_to = 0
        self._sent_to = 0
        self.start: int | None = None
        self.is_behind = False
        self.has_gap = False

    @property
    def position(self) -> int:
        """The position up to which it has read all of its events."""
        is_anything_unread = self._receive.statistics().current_buffer_used > 0
        # It may have read events of a batch that is still being dispatched.
        return self._read_to if is_anything_unread else max(self._read_to, self._sent_to)

    async def started(self) -> None:
        """Wait until it has started, or has ended before."""
        await self._started.wait()

    async def next_events(self) -> list[TaskEvent]:
        """Wait for events and return them; return none at the end."""
        events = []
        with contextlib.suppress(trio.EndOfChannel, trio.WouldBlock):
            events.append(await self._receive.receive())
            while len(events) < _MAX_EVENTS_AT_ONCE:
                events.append(self._receive.receive_nowait())
        self._read_to = events[-1].id if events else self._read_to
        return events

    def begin(self, position: int) -> None:
        """Start after this position, unless it has started."""
        if not self._started.is_set():
            self.start = self._read_to = self._sent_to = position
            self._started.set()

    def advance(self, position: int) -> None:
        """Record that all events up to this position were sent."""
        if self.start is not None and not (self.is_behind or self.has_gap):
            self._sent_to = position

    def send(self, event: TaskEvent) -> None:
        """Send an event, if the stream wants it; end the stream if it is too far behind."""
        # A stream without a start joined while this batch was being read.
        if self.start is None or not self.wanted.accepts(event):
            return
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self.is_behind = True
            self.end()
        except trio.ClosedResourceError:
            pass

    def end(self) -> None:
        """End the stream: it gets no more events."""
        self._send.close()
        self._started.set()


class Waiter:
    """A request that waits for a task.

    Attributes:
        seen: The task as it was last read; ``None`` if it was not read yet, or does not exist.
    """

    def __init__(
        self, is_awaited: Callable[[Snapshot], bool], scope: QueueScope | None = None
    ) -> None:
        self._is_awaited = is_awaited
        self._scope = scope
        self._is_over = trio.Event()
        self.seen: Snapshot | None = None

    async def wait(self, seconds: float) -> Snapshot | None:
        """Return the task as soon as it is as awaited, or after this time."""
        with trio.move_on_after(seconds):
            await self._is_over.wait()
        return self.seen

    def see(self, snapshot: Snapshot | None) -> None:
        """Receive the current state of the task."""
        if snapshot and self._scope and not self._scope.allows(snapshot.task.queue):
            snapshot = None
        self.seen = snapshot
        if snapshot is None or self._is_awaited(snapshot):
            self.end()

    def end(self) -> None:
        """End the wait."""
        self._is_over.set()


class Feed:
    """Reads events while there are waiters or watchers, and dispatches them.

    Args:
        store: The source of the events.
        poll_seconds: The interval of polling between notifications.
    """

    def __init__(self, store: TaskStore, poll_seconds: float) -> None:
        self._store: Final = store
        # For streams of the dashboard, which end with their session.
        self.ended_sessions: Final[EndedSessions] = store
        self._poll_seconds: Final = poll_seconds
        # By the task or the group that they watch; other watchers have the key None.
        self._watchers: defaultdict[uuid.UUID | None, set[Watcher]] = defaultdict(set)
        self._waiters: defaultdict[uuid.UUID, set[Waiter]] = defaultdict(set)
        self._unread: set[uuid.UUID] = set()
        self._batch_size = BATCH
        self._joined = WakeUp()
        self._scope: Final = trio.CancelScope()
        self._over: Final = trio.Event()
        self._scope_of_caller: QueueScope | None = None

    def within(self, scope: QueueScope) -> Feed:
        """Return this feed for a caller that sees some queues alone; it is run by this one."""
        view = copy.copy(self)
        view._scope_of_caller = scope  # noqa: SLF001 - its own class
        return view

    async def run(self) -> None:
        """Run until ``end``; then end all waits and streams."""
        with self._scope:
            try:
                while True:
                    await self._joined.wait()
                    await self._serve()
            finally:
                self._over.set()
                self._end_all()

    def end(self) -> None:
        """Stop."""
        self._scope.cancel()

    async def wait_until_over(self) -> None:
        """Wait until the feed has stopped, because of the shutdown."""
        await self._over.wait()

    @contextlib.contextmanager
    def watching(self, wanted: EventFilter) -> Iterator[Watcher]:
        """Subscribe to events within the block."""
        if self._scope_of_caller is not None:
            wanted = msgspec.structs.replace(wanted, scope=self._scope_of_caller)
        watcher = Watcher(wanted)
        with _member(self._watchers, wanted.task_id or wanted.group, watcher):
            self._join()
            yield watcher

    @contextlib.contextmanager
    def awaiting(
        self, task_id: uuid.UUID, is_awaited: Callable[[Snapshot], bool]
    ) -> Iterator[Waiter]:
        """Wait for a task within the block: it is read once, and after each of its events."""
        waiter = Waiter(is_awaited, self._scope_of_caller)
        with _member(self._waiters, task_id, waiter):
            self._unread.add(task_id)
            self._join()
            yield waiter

    def _join(self) -> None:
        self._joined.notify()
        if self._over.is_set():
            self._end_all()

    def _end_all(self) -> None:
        for watcher in self._all_watchers():
            watcher.end()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.end()

    def _all_watchers(self) -> Iterator[Watcher]:
        return itertools.chain.from_iterable(self._watchers.values())

    async def _serve(self) -> None:
        """Read events while there are watchers or waiters, through outages, too."""
        position: int | None = None
        renewed_at = -math.inf
        while self._watchers or self._waiters:
            try:
                if trio.current_time() - renewed_at > _RENEWAL_SECONDS:
                    now = await self._store.record_events()
                    position = now if position is None else position
                    renewed_at = trio.current_time()
                assert position is not None
                page = await self._read(position)
                position = page.events[-1].id if page.events else position
                await self._read_awaited_tasks()
            except StoreUnavailable:
                await trio.sleep(_PAUSE_SECONDS)
            else:
                if len(page.events) < BATCH:
                    await self._wait_for_events()

    async def _read(self, position: int) -> EventPage:
        """Read the events after a position, and dispatch them."""
        for watcher in self._all_watchers():
            watcher.begin(position)
        page = await self._store.events_after(position, limit=BATCH)
        if not page.is_complete:
            self._end_with_a_gap()
        checkpoints = Checkpoints()
        for event in page.events:
            keys = {event.task_id, event.group, None}
            watchers = [watcher for key in keys for watcher in self._watchers.get(key, ())]
            for watcher in watchers:
                watcher.send(event)
            if event.task_id in self._waiters:
                self._unread.add(event.task_id)
            await checkpoints.after(len(watchers) * _SEND_BYTES)
        for watcher in self._all_watchers():
            watcher.advance(page.events[-1].id if page.events else position)
        return page

    def _end_with_a_gap(self) -> None:
        for watcher in self._all_watchers():
            if watcher.start is not None:
                watcher.has_gap = True
                watcher.end()
        self._unread |= self._waiters.keys()

    async def _read_awaited_tasks(self) -> None:
        """Read the awaited tasks that changed or were not read yet."""
        self._unread &= self._waiters.keys()
        unknown: set[uuid.UUID] = set()
        checkpoints = Checkpoints()
        while wanted := set(itertools.islice(self._unread, self._batch_size)):
            # A waiter that joins during the query may know a newer version than it returns.
            waiters = [(task_id, waiter) for task_id in wanted for waiter in self._waiters[task_id]]
            self._unread -= wanted
            try:
                with partial_reads() as missing:
                    tasks = await self._store.get_many(wanted)
                found = {task.id: Snapshot(task) for task in tasks}
            except StoreUnavailable:
                self._unread |= wanted
                # Large tasks may exceed the timeout together.
                self._batch_size = max(1, self._batch_size // 2)
                raise
            self._batch_size = min(BATCH, self._batch_size * 2)
            self._unread &= self._waiters.keys()
            for task_id, waiter in waiters:
                snapshot = found.get(task_id)
                if snapshot is None and missing:  # it may be in the part that does not answer
                    unknown.add(task_id)
                    continue
                waiter.see(snapshot)
                await checkpoints.after(snapshot.task.size_bytes if snapshot else 0)
        self._unread |= unknown

    async def _wait_for_events(self) -> None:
        with trio.move_on_after(self._poll_seconds):
            async with trio.open_nursery() as nursery:
                for wait in (self._store.wait_for_events, self._joined.wait):
                    nursery.start_soon(_end_after, wait, nursery.cancel_scope)


async def _end_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


@contextlib.contextmanager
def _member(groups: defaultdict[Key, set[Member]], key: Key, member: Member) -> Iterator[None]:
    """Add a member to a group within the block; remove empty groups."""
    groups[key].add(member)
    try:
        yield
    finally:
        groups[key].discard(member)
        if not groups[key]:
            del groups[key]
