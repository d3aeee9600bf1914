# Written by `python -m tools.blocking` from client/asynchronous/client.py: change that.

"""TaskFlow's client that blocks."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self, Unpack

import httpx

from taskflow.client import arguments, calls
from taskflow.client.batches import BATCH_TASKS
from taskflow.client.blocking.alerts import Alerts
from taskflow.client.blocking.configuration import Configuration
from taskflow.client.blocking.credentials import Credentials
from taskflow.client.blocking.groups import Groups
from taskflow.client.blocking.heartbeats import Heartbeats
from taskflow.client.blocking.native import current_time, sleep
from taskflow.client.blocking.queues import Monitoring, Queues
from taskflow.client.blocking.schedules import Schedules
from taskflow.client.blocking.streams import (
    EventStream,
    LineStream,
    SubmittedStream,
    TaskStream,
)
from taskflow.client.blocking.task_actions import ByHand
from taskflow.client.blocking.topics import Topics
from taskflow.client.blocking.transport import Transport
from taskflow.client.connecting import address_of, route_to
from taskflow.client.errors import NotFinished, Unreachable
from taskflow.client.listing import Listing
from taskflow.client.options import Filters, Options, document_of, document_of_item
from taskflow.client.task import Download, Task
from taskflow.model.task import AttemptRecord, TagValue

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT_SECONDS: Final = 30.0
PAGE_TASKS: Final = 100
# Before another request to a service that does not wait as long as requested.
_PAUSE_SECONDS: Final = 0.25
# The last request of a wait, which tells the status. The service promises to respond within 5 s.
_LAST_SECONDS: Final = 5


class BlockingClient(ByHand, Monitoring):
    """A client of one service; any number of threads may use it at once.

    Temporary errors (no connection, a 503, a 429) are retried within ``timeout_seconds`` if the
    request can be repeated: submissions have an ``Idempotency-Key``.

    Every call may raise ``ClientError`` (the tree is in ``taskflow.client.errors``).

    Args:
        url: The address of the service.
        api_key: The API key, if the service requires one.
        timeout_seconds: How long a request is retried. The time that it waits for a task is added.
        transport: A transport of httpx, for certificates, proxies or sockets of your own. Without
            it ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` name the proxy (never
            for loopback addresses), and ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` the certificates to
            trust.

    Attributes:
        queues: The queues of the service: their state and their settings.
        groups: The groups of tasks.
        topics: The topics, and the endpoints that their events are sent to.
        schedules: The schedules of the service.
        heartbeats: The heartbeats of jobs that the service watches.
        credentials: The credentials of the service, without their values.
        alerts: The alerts of the service.
        configuration: Changes of several of these, all or nothing.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        tried = arguments.seconds("timeout_seconds", timeout_seconds, may_be_zero=False)
        base_url, headers = calls.base_url_of(url), calls.credentials(api_key)
        route = route_to(base_url, transport)
        http = httpx.Client(base_url=base_url, headers=headers, **route.options)
        self._transport = Transport(http, timeout_seconds=tried, via=route.via)
        self.queues: Final = Queues(self._transport)
        self.groups: Final = Groups(self._transport)
        self.topics: Final = Topics(self._transport)
        self.schedules: Final = Schedules(self._transport)
        self.heartbeats: Final = Heartbeats(self._transport)
        self.credentials: Final = Credentials(self._transport)
        self.alerts: Final = Alerts(self._transport)
        self.configuration: Final = Configuration(self._transport)

    @classmethod
    def from_environment(cls, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """Return a client of the service at TASKFLOW_URL, with the API key TASKFLOW_API_KEY if set.

        Raises:
            InvalidEnvironment: TASKFLOW_URL is not set.
            InvalidArgument: One of them cannot be used.
        """
        address = address_of()
        return cls(address.url, api_key=address.api_key, timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, including streams."""
        self._transport.close()

    def submit(
        self,
        payload: Any,
        *,
        idempotency_key: str | None = None,
        wait_seconds: float | None = None,
        **options: Unpack[Options],
    ) -> Task:
        """Submit a task.

        Args:
            payload: The URL to fetch, or a whole request as an object.
            idempotency_key: Calls with the same key, of up to 255 printable characters, submit one
                task. Default: a new key for each call.
            wait_seconds: How long to wait for the task to finish; at most 60, rounded up.
            options: The options of the task.

        Returns:
            The task; if the key is known, the task of the first call in its current state.

        Raises:
            Unprocessable: The task is invalid; ``errors`` has all reasons.
            Gone: The key is known, and its task has been deleted.
        """
        call = calls.submission(document_of(payload, options), idempotency_key, wait_seconds)
        return (self._transport.ask(call)).read(Task)

    def submit_all(self, items: Iterable[Any], *, idempotency_key: str | None = None) -> list[Task]:
        """Submit up to 10,000 tasks in one request, all or none.

        Args:
            items: Payloads; a ``Submission`` for a task with options.
            idempotency_key: As for ``submit``, for all tasks together.

        Raises:
            Unprocessable: Some tasks are invalid; ``errors`` has all reasons.
        """
        documents = b",".join(map(document_of_item, arguments.items_of("items", items)))
        call = calls.submission(b"[%b]" % documents, idempotency_key)
        return (self._transport.ask(call)).read(list[Task])

    def submit_many(self, items: Iterable[Any], *, at_once: int = BATCH_TASKS) -> SubmittedStream:
        """Submit any number of tasks; yields the result of each, in order.

        Items are read and sent as results are consumed, so memory is limited to one request.
        Invalid tasks are reported and do not stop the others. After an error, iterating the same
        stream again submits no task twice.

        Args:
            items: Payloads; a ``Submission`` for a task with options.
            at_once: Maximum number of tasks per request, at most 500.
        """
        maximum = arguments.whole_number("at_once", at_once, minimum=1)
        wanted = arguments.items_of("items", items)
        return SubmittedStream(self._transport, wanted, at_once=maximum)

    def get(self, task_id: uuid.UUID | str) -> Task:
        """Return a task.

        Raises:
            NotFound: There is no task with this id.
        """
        return (self._transport.ask(calls.of_task("GET", task_id))).read(Task)

    def wait(self, task_id: uuid.UUID | str, timeout_seconds: float | None = None) -> Task:
        """Wait until a task is finished, and return it.

        Args:
            task_id: The id of the task.
            timeout_seconds: How long to wait; with 0, a finished task is returned at once.
                Default: without limit. A service that is slow can take 5 seconds more to tell
                the status.

        Raises:
            NotFinished: The task did not finish in time.
            NotFound: There is no task with this id, or it was deleted.
        """
        wanted = calls.of_task("GET", task_id)
        given = math.inf if timeout_seconds is None else timeout_seconds
        deadline = current_time() + arguments.seconds("timeout_seconds", given)
        task = None
        while (left := deadline - (sent_at := current_time())) > 0:
            seconds = calls.whole_wait(min(left, calls.LONGEST_WAIT_SECONDS))
            try:
                answer = self._transport.ask(calls.waiting(wanted, seconds), within=left)
            except Unreachable:
                if current_time() < deadline:
                    raise
                break
            task = answer.read(Task)
            if task.is_final:
                return task
            if current_time() - sent_at < seconds / 2:
                sleep(min(_PAUSE_SECONDS, left))
        return self._finished(wanted, task)

    def _finished(self, wanted: calls.Call, before: Task | None) -> Task:
        """Return a task if it is finished now."""
        task = before
        with contextlib.suppress(Unreachable):
            task = (self._transport.ask(wanted, within=_LAST_SECONDS)).read(Task)
        if task is None or not task.is_final:
            raise NotFinished(task)
        return task

    def attempts(self, task_id: uuid.UUID | str) -> list[AttemptRecord]:
        """Return the attempts of a task, in order.

        Raises:
            NotFound: There is no task with this id.
        """
        call = calls.of_task("GET", task_id, "/attempts")
        return (self._transport.ask(call)).read(list[AttemptRecord])

    def list_tasks(
        self,
        *,
        limit: int = PAGE_TASKS,
        fields: Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> Listing[Task]:
        """Return tasks, newest first.

        Args:
            limit: Maximum number of tasks.
            fields: The fields to load besides ``id``, ``payload``, ``status``, ``created_at`` and
                ``run_at``; other fields have their defaults. Default: all fields.
            filters: Filters; a task must match all of them.
        """
        found: list[Task] = []
        limit = arguments.whole_number("limit", limit, minimum=0)
        stream = self.iter_tasks(page=min(limit, 1000) or 1, fields=fields, **filters)
        while len(found) < limit and (task := next(stream, None)) is not None:
            found.append(task)
        return Listing(found, stream.missing_cells)

    def iter_tasks(
        self,
        *,
        page: int = PAGE_TASKS,
        fields: Iterable[str] | None = None,
        **filters: Unpack[Filters],
    ) -> TaskStream:
        """Return all tasks, newest first, ``page`` per request; see ``list_tasks``."""
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
        """Return all tasks, newest first, each as a line of JSON without a line end.

        One response is read as the lines are consumed. To stop before its end, use a ``with``
        block or ``close``.

        Args:
            limit: Maximum number of tasks. Default: all.
            fields: The fields of each task. Default: all.
            filters: Filters; a task must match all of them.
        """
        maximum = None if limit is None else arguments.whole_number("limit", limit, minimum=0)
        wanted = None if fields is None else arguments.texts_of("fields", fields)
        return LineStream(self._transport, calls.lines(maximum, filters, wanted))

    def download(self, task_id: uuid.UUID | str) -> Download:
        """Return the body of a task's response, in bytes.

        Raises:
            NotFound: There is no task with this id, or it has no result.
        """
        answer = self._transport.ask(calls.of_task("GET", task_id, "/result"))
        return Download(answer.headers.get("content-type", ""), answer.body)

    def iter_events(
        self,
        task_id: uuid.UUID | str | None = None,
        *,
        queue: str | None = None,
        tags: Mapping[str, TagValue] | None = None,
        after: int | None = None,
    ) -> EventStream:
        """Return events as they happen: of one task until it is finished, or of all without end.

        A broken connection is opened again, and no event is lost. The stream begins with the first
        event that is consumed, or with a block: ``with client.iter_events() as events``.
        To stop before its end, use a block or ``close``.

        Args:
            task_id: The id of a task; the first event has its current state.
            queue: Only events of tasks of this queue.
            tags: Only events of tasks with all of these tags.
            after: The id of the event after which to continue.

        Raises:
            EventsMissed: Some events are not stored any more; iterating again continues after
                them.
        """
        call = calls.events(task_id, queue, {} if tags is None else tags)
        place = None if after is None else arguments.whole_number("after", after, minimum=0)
        return EventStream(self._transport, call, after=place, is_of_task=task_id is not None)
