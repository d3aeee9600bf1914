"""Streams: pages of tasks, submissions, and events."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import AsyncIterable, Iterable
from http import HTTPStatus
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

from taskflow.client import calls
from taskflow.client.asynchronous.native import iterator_of, sleep
from taskflow.client.asynchronous.transport import Incoming, Transport
from taskflow.client.batches import BATCH_TASKS, Batch, Submitted
from taskflow.client.calls import Call
from taskflow.client.errors import (
    ClientError,
    EventsMissed,
    Rejected,
    UnexpectedResponse,
    Unreachable,
    broken_off,
)
from taskflow.client.listing import missing_cells_of
from taskflow.client.sse import Message, Parser
from taskflow.client.task import Group, Schedule, Task
from taskflow.model.audit import AuditEntry
from taskflow.model.event import TaskEvent
from taskflow.model.heartbeat_monitors import Heartbeat
from taskflow.model.topics import Endpoint, Topic

T = TypeVar("T")

_RECONNECT_SECONDS: Final = 1.0
_EVENT: Final = msgspec.json.Decoder(TaskEvent)
_END: Final = object()


class Stream(abc.ABC, Generic[T]):
    """An iterator; after an error, iterating again continues where it stopped."""

    def __init__(self) -> None:
        self._ready: deque[T | ClientError] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            if not await self._more():
                raise StopAsyncIteration
        one = self._ready.popleft()
        if isinstance(one, ClientError):
            raise one
        return one

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release its resources; needed only if it is left before its end."""

    @abc.abstractmethod
    async def _more(self) -> bool:
        """Load more items, if there are any now; return false at the end."""


class PageStream(Stream[T]):
    """Items that are loaded page by page.

    Attributes:
        missing_cells: Names of the cells whose items are missing from the pages so far, because
            they did not answer; empty if the pages are complete.
    """

    def __init__(self, transport: Transport, call: Call, kind: type[T]) -> None:
        super().__init__()
        self.missing_cells: frozenset[str] = frozenset()
        self._transport = transport
        self._next: Call | None = call
        self._kind = kind

    async def _more(self) -> bool:
        if self._next is None:
            return False
        answer = await self._transport.ask(self._next)
        page = answer.read_all(self._kind)
        self.missing_cells |= page.missing_cells
        self._ready.extend(page)
        query = answer.next_page
        self._next = None if query is None else msgspec.structs.replace(self._next, query=query)
        return True


class TaskStream(PageStream[Task]):
    """Tasks, newest first, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, Task)


class ScheduleStream(PageStream[Schedule]):
    """Schedules by name, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, Schedule)


class HeartbeatStream(PageStream[Heartbeat]):
    """Heartbeats by name, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, Heartbeat)


class GroupStream(PageStream[Group]):
    """Groups, newest first, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, Group)


class TopicStream(PageStream[Topic]):
    """Topics by name, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, Topic)


class EndpointStream(PageStream[Endpoint]):
    """Endpoints by name, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, Endpoint)


class AuditStream(PageStream[AuditEntry]):
    """Entries of the audit log, newest first, page by page."""

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__(transport, call, AuditEntry)


class LineStream(Stream[bytes]):
    """The lines of one long response, each JSON without a line end.

    Attributes:
        missing_cells: Names of the cells that did not answer when the response began, whose items
            are missing; known with the first line.
    """

    def __init__(self, transport: Transport, call: Call) -> None:
        super().__init__()
        self.missing_cells: frozenset[str] = frozenset()
        self._transport = transport
        self._call = call
        self._incoming: Incoming | None = None
        self._rest = b""
        self._is_over = False

    async def aclose(self) -> None:
        """Close the connection."""
        self._is_over = True
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            await incoming.aclose()

    async def _more(self) -> bool:
        if self._is_over:
            return False
        if self._incoming is None:
            self._incoming = await self._transport.open(self._call)
            self.missing_cells = missing_cells_of(self._incoming.headers)
        chunk = await self._incoming.next()
        if chunk is None:
            await self.aclose()
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._ready.extend(broken_off(line) or line for line in lines)
        return True


class SubmittedStream(Stream[Submitted]):
    """The results of many submissions, in order; tasks are submitted as results are consumed.

    Args:
        transport: The connection to the service.
        items: Payloads; a ``Submission`` for a task with options.
        at_once: Maximum number of tasks per request.
    """

    def __init__(
        self, transport: Transport, items: Iterable[Any] | AsyncIterable[Any], *, at_once: int
    ) -> None:
        super().__init__()
        self._transport = transport
        self._items = iterator_of(items)
        self._at_once = min(at_once, BATCH_TASKS)
        self._index = 0
        self._gathered = Batch()
        # The current batch: results that are known, and tasks that are still to be sent.
        self._submitted: list[Submitted] = []
        self._unsent: list[Batch] = []

    async def _more(self) -> bool:
        if not self._unsent and not await self._gather():
            return False
        while self._unsent:
            batch = self._unsent[0]
            rest: list[Batch] = []
            try:
                answer = await self._transport.ask(batch.call())
            except Rejected as error:
                submitted, rest = batch.sorted_out(error)
            else:
                submitted = batch.submitted(answer.read(list[Task]))
            self._submitted += submitted
            self._unsent[:1] = rest
        submitted, self._submitted = sorted(self._submitted, key=lambda one: one.index), []
        self._ready.extend(submitted)
        return True

    async def _gather(self) -> bool:
        """Return whether there are more items."""
        while not self._gathered.is_full(self._at_once):
            item = await anext(self._items, _END)
            if item is _END:
                break
            self._gathered.add(self._index, item)
            self._index += 1
        if not self._gathered:
            return False
        self._unsent, self._gathered = [self._gathered], Batch()
        return True


class EventStream(Stream[TaskEvent]):
    """Events as they happen; a broken connection is opened again.

    Args:
        transport: The connection to the service.
        call: The request.
        after: The id of the event after which to continue.
        is_of_task: Whether the stream ends when a task is finished.
    """

    def __init__(
        self, transport: Transport, call: Call, *, after: int | None, is_of_task: bool
    ) -> None:
        super().__init__()
        self._transport = transport
        self._call = call
        self._is_of_task = is_of_task
        self._parser = Parser(after)
        self._incoming: Incoming | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        """Connect: events from here on are received."""
        while not (self._ready or self._is_over) and self._parser.position is None:
            await self._more()
        return self

    @property
    def position(self) -> int | None:
        """The id after which another stream continues, once all received events are processed."""
        for one in self._ready:
            if isinstance(one, TaskEvent):
                return one.id - 1
        return self._parser.position

    async def aclose(self) -> None:
        """Close the connection."""
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            await incoming.aclose()

    async def _more(self) -> bool:
        if self._is_over:
            return False
        if self._incoming is None:
            return await self._connect()
        try:
            chunk = await self._incoming.next()
        except Unreachable:
            chunk = None
        if chunk is None:
            await self.aclose()
            await sleep(self._parser.retry_seconds or _RECONNECT_SECONDS)
            return True
        ended = [self._take(message) for message in self._parser.feed(chunk)]
        if any(ended):
            self._is_over = True
            await self.aclose()
        return True

    async def _connect(self) -> bool:
        position, retry_seconds = self._parser.position, self._parser.retry_seconds
        self._incoming = await self._transport.open(calls.resuming(self._call, position))
        self._parser = Parser(position)
        self._parser.retry_seconds = retry_seconds
        if self._incoming.status_code == HTTPStatus.NO_CONTENT:
            self._is_over = True
            await self.aclose()
        return True

    def _take(self, message: Message) -> bool:
        """Add the event of a message; return whether it is the last one."""
        if message.name == "dropped":
            self._parser.retry_seconds = 0.001  # the client was too slow, not the service
        elif message.name == "reset":
            self._ready.append(EventsMissed())
        elif message.name == "group":
            return True  # it has finished
        elif message.name == "message":
            try:
                event = _EVENT.decode(message.data)
            except msgspec.DecodeError as error:
                raise UnexpectedResponse(f"this is not an event: {error}") from None
            self._ready.append(event)
            return self._is_of_task and event.status.is_final
        return False
