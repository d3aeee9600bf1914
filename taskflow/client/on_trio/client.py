"""TaskFlow's client on Trio."""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, Self, Unpack

import httpx
import trio

from taskflow.client import arguments, calls
from taskflow.client.connecting import route_to
from taskflow.client.environment import address_of
from taskflow.client.errors import NotEnded, Unreachable
from taskflow.client.filters import Filters
from taskflow.client.on_trio.monitoring import Monitoring
from taskflow.client.on_trio.queues import Queues
from taskflow.client.on_trio.schedules import Schedules
from taskflow.client.on_trio.streams import EventStream, LineStream, SubmittedStream, TaskStream
from taskflow.client.on_trio.task_actions import ByHand
from taskflow.client.on_trio.transport import Transport
from taskflow.client.options import Options, document_of, document_of_item
from taskflow.client.portions import PORTION_TASKS
from taskflow.client.task import Download, Task
from taskflow.model.task import AttemptRecord, TagValue

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT_SECONDS: Final = 30.0
PAGE_TASKS: Final = 100
# Before asking again a service that does not wait for as long as it was asked to.
_PAUSE_SECONDS: Final = 0.25


class Client(ByHand, Monitoring):
    """A client of one service, for as many tasks of Trio at once as there are.

    What passes (no connection, a 503, a 429) is tried again within ``timeout_seconds``, if
    nothing can be done twice by it: what is handed in has an ``Idempotency-Key``.

    Every call may raise ``ClientError`` (the tree is in ``taskflow.client.errors``).

    Args:
        url: Where the service is.
        api_key: Its key, if it wants one.
        timeout_seconds: For how long a request is tried. One that waits for a task gets its time
            on top.
        transport: What makes the connections, in place of httpx's own: for certificates, proxies
            or sockets of your own. Without it ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and
            ``NO_PROXY`` name the proxy (never for loopback addresses), and ``SSL_CERT_FILE`` or
            ``SSL_CERT_DIR`` the certificates to trust.

    Attributes:
        queues: Its queues: how they stand, and what is asked of them.
        schedules: Its schedules.

    Raises:
        InvalidArgument: The address, the key or the time cannot be used.
        InvalidEnvironment: A variable that names a proxy or certificates cannot be used.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        tried = arguments.seconds("timeout_seconds", timeout_seconds, may_be_zero=False)
        base_url, headers = calls.base_url_of(url), calls.credentials(api_key)
        route = route_to(base_url, transport)
        http = httpx.AsyncClient(base_url=base_url, headers=headers, **route.options)
        self._transport = Transport(http, timeout_seconds=tried, via=route.via)
        self.queues: Final = Queues(self._transport)
        self.schedules: Final = Schedules(self._transport)

    @classmethod
    def from_environment(cls, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """A client of the service at TASKFLOW_URL, with the key TASKFLOW_API_KEY if that is set.

        Raises:
            InvalidEnvironment: TASKFLOW_URL is not set.
            InvalidArgument: One of them cannot be used.
        """
        address = address_of()
        return cls(address.url, api_key=address.api_key, timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections, those of streams too."""
        await self._transport.aclose()

    async def submit(
        self,
        payload: Any,
        *,
        idempotency_key: str | None = None,
        wait_seconds: float | None = None,
        **options: Unpack[Options],
    ) -> Task:
        """Hand a task in.

        Args:
            payload: The URL to fetch, or a whole request as an object.
            idempotency_key: What makes the request known if it is made again by another call, of
                up to 255 printable characters; each call has its own otherwise.
            wait_seconds: For how long to wait for its end, 60 at most; whole seconds, rounded up.
            options: How it is to be run.

        Returns:
            The task; the first one, as it stands now, if the request is known already.

        Raises:
            Unprocessable: It cannot be used; ``faults`` tells all that is wrong.
            Gone: The request is known, and its task was deleted since.
        """
        call = calls.submission(document_of(payload, options), idempotency_key, wait_seconds)
        return (await self._transport.ask(call)).read(Task)

    async def submit_all(
        self, items: Iterable[Any], *, idempotency_key: str | None = None
    ) -> list[Task]:
        """Hand some tasks in, all or none: up to 10,000, in one request.

        Args:
            items: Payloads, or a ``Submission`` for each that is to have options.
            idempotency_key: As for ``submit``, of all together.

        Raises:
            Unprocessable: Some cannot be used; ``faults`` tells which, and all that is wrong.
        """
        documents = b",".join(map(document_of_item, arguments.items_of("items", items)))
        call = calls.submission(b"[%b]" % documents, idempotency_key)
        return (await self._transport.ask(call)).read(list[Task])

    def submit_many(
        self, items: Iterable[Any] | AsyncIterable[Any], *, at_once: int = PORTION_TASKS
    ) -> SubmittedStream:
        """Hand any number of tasks in, and tell what became of each, in order.

        They are taken from ``items`` and sent as the answers are asked for, so memory is that of
        one request. What cannot be used is told and holds nobody up. When an error ends it, going
        on with the same stream hands nothing in twice.

        Args:
            items: Payloads, or a ``Submission`` for each that is to have options.
            at_once: How many go in one request, 500 at most; fewer where they come slowly.
        """
        most = arguments.whole_number("at_once", at_once, minimum=1)
        wanted = arguments.items_of("items", items)
        return SubmittedStream(self._transport, wanted, at_once=most)

    async def get(self, task_id: uuid.UUID | str) -> Task:
        """The task as it stands.

        Raises:
            NotFound: There is none with this id.
        """
        return (await self._transport.ask(calls.of_task("GET", task_id))).read(Task)

    async def wait(self, task_id: uuid.UUID | str, timeout_seconds: float | None = None) -> Task:
        """The task at its end, whichever that is; the service tells it when it comes.

        Args:
            task_id: Whose.
            timeout_seconds: For how long to wait; for ever if not given.

        Raises:
            NotEnded: It has not ended in time.
            NotFound: There is none with this id, or not any more.
        """
        wanted = calls.of_task("GET", task_id)
        given = math.inf if timeout_seconds is None else timeout_seconds
        deadline = trio.current_time() + arguments.seconds("timeout_seconds", given)
        task = None
        while (left := deadline - (asked_at := trio.current_time())) > 0:
            seconds = calls.whole_wait(min(left, calls.LONGEST_WAIT_SECONDS))
            try:
                answer = await self._transport.ask(calls.waiting(wanted, seconds), within=left)
            except Unreachable:
                if trio.current_time() < deadline:
                    raise
                break
            task = answer.read(Task)
            if task.is_final:
                return task
            if trio.current_time() - asked_at < seconds / 2:
                await trio.sleep(min(_PAUSE_SECONDS, left))
        raise NotEnded(task)

    async def attempts(self, task_id: uuid.UUID | str) -> list[AttemptRecord]:
        """How each attempt at a task went, in order.

        Raises:
            NotFound: There is none with this id.
        """
        call = calls.of_task("GET", task_id, "/attempts")
        return (await self._transport.ask(call)).read(list[AttemptRecord])

    async def list_tasks(
        self,
        *,
        limit: int = PAGE_TASKS,
        fields: Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> list[Task]:
        """Up to so many tasks, newest first.

        Args:
            limit: How many at most.
            fields: What is wanted of each, beside what no task is without (``id``, ``payload``,
                ``status``, ``created_at`` and ``run_at``); what is not asked for is as if it had
                not been set. All if not given.
            filters: Which.
        """
        found: list[Task] = []
        limit = arguments.whole_number("limit", limit, minimum=0)
        stream = self.iter_tasks(page=min(limit, 1000) or 1, fields=fields, **filters)
        while len(found) < limit and (task := await anext(stream, None)) is not None:
            found.append(task)
        return found

    def iter_tasks(
        self,
        *,
        page: int = PAGE_TASKS,
        fields: Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> TaskStream:
        """All tasks, newest first, so many of them with each request; see ``list_tasks``."""
        size = arguments.whole_number("page", page, minimum=1)
        named = None if fields is None else arguments.texts_of("fields", fields)
        wanted = None if named is None else [*dict.fromkeys((*calls.NEEDED_FIELDS, *named))]
        return TaskStream(self._transport, calls.page(size, filters, wanted))

    def export(
        self,
        *,
        limit: int | None = None,
        fields: Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> LineStream:
        """All tasks, newest first, each as the JSON that the service shows, without a line end.

        They come in one answer, which is read as they are asked for. Who leaves before the end
        wants a block, or ``aclose``.

        Args:
            limit: How many at most; all if not given.
            fields: What is wanted of each; all if not given.
            filters: Which.
        """
        most = None if limit is None else arguments.whole_number("limit", limit, minimum=0)
        wanted = None if fields is None else arguments.texts_of("fields", fields)
        return LineStream(self._transport, calls.lines(most, filters, wanted))

    async def download(self, task_id: uuid.UUID | str) -> Download:
        """What a task's target answered, in bytes.

        Raises:
            NotFound: There is no task with this id, or it has no result.
        """
        answer = await self._transport.ask(calls.of_task("GET", task_id, "/result"))
        return Download(answer.headers.get("content-type", ""), answer.body)

    def iter_events(
        self,
        task_id: uuid.UUID | str | None = None,
        *,
        queue: str | None = None,
        tags: Mapping[str, TagValue] | None = None,
        after: int | None = None,
    ) -> EventStream:
        """What happens to tasks, as it happens: to one up to its end, or to some without end.

        A connection that breaks is made again, and nothing is missed by that. It begins when the
        first event is asked for, or with a block: ``async with client.iter_events() as events``.
        Who leaves before the end wants a block too, or ``aclose``.

        Args:
            task_id: Of which task; begins with how it stands.
            queue: Only of tasks in this queue.
            tags: Only of tasks with all of these.
            after: The id of an event to go on after.

        Raises:
            EventsMissed: Some of them are not kept any more; going on with the stream tells the
                next ones.
        """
        call = calls.events(task_id, queue, {} if tags is None else tags)
        place = None if after is None else arguments.whole_number("after", after, minimum=0)
        return EventStream(self._transport, call, after=place, is_of_task=task_id is not None)
