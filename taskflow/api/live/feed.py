"""The feed: one reader of events for all who wait or watch in a process.

However many there are, a batch of events costs one query for the events, and one more for the
tasks among them that somebody waits for. While nobody does, nothing is asked.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import trio

from taskflow.api.access.sessions import EndedSessions
from taskflow.model.errors import StoreUnavailable
from taskflow.model.event import EventFilter, TaskEvent
from taskflow.model.task import Task
from taskflow.store.base.events import EventPage
from taskflow.store.base.tasks import TaskStore
from taskflow.wakeup import WakeUp

Key = TypeVar("Key")
Member = TypeVar("Member")

BATCH: Final = 1000
# How many events a watcher may be behind: a burst is no reason to drop one who reads. All watchers
# have the same ones.
MAX_UNREAD_EVENTS: Final = 5000
# How many it reads at once.
_PORTION: Final = 200
# Recording goes on for ten times as long.
_RENEWAL_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.5


class Watcher:
    """Somebody who watches events.

    Attributes:
        wanted: Which ones.
        start: After which event it is told of them; ``None`` as long as it is not.
        is_behind: Whether it was dropped since it did not keep up.
        has_gap: Whether it was dropped since some events cannot be told any more.
    """

    def __init__(self, wanted: EventFilter) -> None:
        self.wanted: Final = wanted
        self._send, self._receive = trio.open_memory_channel[TaskEvent](MAX_UNREAD_EVENTS)
        self._begun = trio.Event()
        self._read_to = 0
        self._told_to = 0
        self.start: int | None = None
        self.is_behind = False
        self.has_gap = False

    @property
    def position(self) -> int:
        """Up to where it has read all that it wants."""
        is_anything_unread = self._receive.statistics().current_buffer_used > 0
        return self._read_to if is_anything_unread else self._told_to

    async def begun(self) -> None:
        """Wait until there is a start, or there will be none."""
        await self._begun.wait()

    async def next_events(self) -> list[TaskEvent]:
        """The next ones, as soon as there are any; none when no more will come."""
        events = []
        with contextlib.suppress(trio.EndOfChannel, trio.WouldBlock):
            events.append(await self._receive.receive())
            while len(events) < _PORTION:
                events.append(self._receive.receive_nowait())
        self._read_to = events[-1].id if events else self._read_to
        return events

    def begin(self, position: int) -> None:
        """Events after this position will come."""
        if not self._begun.is_set():
            self.start = self._read_to = self._told_to = position
            self._begun.set()

    def told_to(self, position: int) -> None:
        """All up to there was told."""
        if self.start is not None and not (self.is_behind or self.has_gap):
            self._told_to = position

    def tell(self, event: TaskEvent) -> None:
        """Something happened."""
        # What was being read when it came is before its start.
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
        """No more will come."""
        self._send.close()
        self._begun.set()


class Waiter:
    """Somebody who waits for a task.

    Attributes:
        task: As it was last seen; ``None`` if it has not been seen yet, or is not there.
    """

    def __init__(self, is_awaited: Callable[[Task], bool]) -> None:
        self._is_awaited = is_awaited
        self._is_over = trio.Event()
        self.task: Task | None = None

    async def wait(self, seconds: float) -> Task | None:
        """The task as soon as it is as awaited, or as it is when so much time is over."""
        with trio.move_on_after(seconds):
            await self._is_over.wait()
        return self.task

    def see(self, task: Task | None) -> None:
        """This is how it stands now."""
        self.task = task
        if task is None or self._is_awaited(task):
            self.end()

    def end(self) -> None:
        """Wait no longer."""
        self._is_over.set()


class Feed:
    """Reads events while somebody wants them, and tells whom they concern.

    Args:
        store: Where they come from.
        poll_seconds: How often to look when nobody says that there are any.
    """

    def __init__(self, store: TaskStore, poll_seconds: float) -> None:
        self._store: Final = store
        # Streams of people who sign out end, too.
        self.ended_sessions: Final[EndedSessions] = store
        self._poll_seconds: Final = poll_seconds
        # By the task that they watch; with None those who watch many.
        self._watchers: defaultdict[uuid.UUID | None, set[Watcher]] = defaultdict(set)
        self._waiters: defaultdict[uuid.UUID, set[Waiter]] = defaultdict(set)
        self._unseen: set[uuid.UUID] = set()
        self._at_once = BATCH
        self._joined = WakeUp()
        self._scope: Final = trio.CancelScope()
        self._over: Final = trio.Event()

    async def run(self) -> None:
        """Serve until ``end``; then whoever waits or watches is let go."""
        with self._scope:
            try:
                while True:
                    await self._joined.wait()
                    await self._serve()
            finally:
                self._over.set()
                self._let_go()

    def end(self) -> None:
        """Serve no longer."""
        self._scope.cancel()

    async def wait_until_over(self) -> None:
        """Return when nobody is served any more, for the shutdown has begun."""
        await self._over.wait()

    @contextlib.contextmanager
    def watching(self, wanted: EventFilter) -> Iterator[Watcher]:
        """Be told of these events within the block, once that has begun."""
        watcher = Watcher(wanted)
        with _member(self._watchers, wanted.task_id, watcher):
            self._join()
            yield watcher

    @contextlib.contextmanager
    def awaiting(self, task_id: uuid.UUID, is_awaited: Callable[[Task], bool]) -> Iterator[Waiter]:
        """Wait for a task within the block: it is looked at once, and whenever it changed."""
        waiter = Waiter(is_awaited)
        with _member(self._waiters, task_id, waiter):
            self._unseen.add(task_id)
            self._join()
            yield waiter

    def _join(self) -> None:
        self._joined.notify()
        if self._over.is_set():
            self._let_go()

    def _let_go(self) -> None:
        for watcher in self._all_watchers():
            watcher.end()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.end()

    def _all_watchers(self) -> Iterator[Watcher]:
        return itertools.chain.from_iterable(self._watchers.values())

    async def _serve(self) -> None:
        """Follow the events for as long as somebody wants them, through outages, too."""
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
                await self._look()
            except StoreUnavailable:
                await trio.sleep(_PAUSE_SECONDS)
            else:
                if len(page.events) < BATCH:
                    await self._wait_for_news()

    async def _read(self, position: int) -> EventPage:
        """Read on from a position, and tell whom it concerns."""
        for watcher in self._all_watchers():
            watcher.begin(position)
        page = await self._store.events_after(position, limit=BATCH)
        if not page.is_complete:
            self._end_with_a_gap()
        for event in page.events:
            for watched in (event.task_id, None):
                for watcher in self._watchers.get(watched, ()):
                    watcher.tell(event)
            if event.task_id in self._waiters:
                self._unseen.add(event.task_id)
        for watcher in self._all_watchers():
            watcher.told_to(page.events[-1].id if page.events else position)
        return page

    def _end_with_a_gap(self) -> None:
        for watcher in self._all_watchers():
            if watcher.start is not None:
                watcher.has_gap = True
                watcher.end()
        self._unseen |= self._waiters.keys()

    async def _look(self) -> None:
        """Look at the tasks that somebody waits for and that changed, or are new here."""
        self._unseen &= self._waiters.keys()
        while wanted := set(itertools.islice(self._unseen, self._at_once)):
            # Who comes while the store is looking may know more by then than it has seen.
            waiters = [(task_id, waiter) for task_id in wanted for waiter in self._waiters[task_id]]
            self._unseen -= wanted
            try:
                found = {task.id: task for task in await self._store.get_many(wanted)}
            except StoreUnavailable:
                self._unseen |= wanted
                # They may be so large that not all of them come in time.
                self._at_once = max(1, self._at_once // 2)
                raise
            self._at_once = min(BATCH, self._at_once * 2)
            self._unseen &= self._waiters.keys()
            for task_id, waiter in waiters:
                waiter.see(found.get(task_id))

    async def _wait_for_news(self) -> None:
        with trio.move_on_after(self._poll_seconds):
            async with trio.open_nursery() as nursery:
                for wait in (self._store.wait_for_events, self._joined.wait):
                    nursery.start_soon(_end_after, wait, nursery.cancel_scope)


async def _end_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


@contextlib.contextmanager
def _member(groups: defaultdict[Key, set[Member]], key: Key, member: Member) -> Iterator[None]:
    """Be in a group within the block; groups without members are dropped."""
    groups[key].add(member)
    try:
        yield
    finally:
        groups[key].discard(member)
        if not groups[key]:
            del groups[key]
