"""Requests of tasks in a test: a function answers them, or the test does so later.

What is replaced is the network alone. The fetcher writes each request as it would be sent (with
redirects, credentials and signatures), and reads the response as if it had been received.
"""

from __future__ import annotations

import inspect
import threading
import uuid
from collections.abc import Callable
from typing import Final, TypeAlias

import httpx
import trio

from taskflow.fetch.errors import BadResponse, NotConnected
from taskflow.http1.events import RequestHead, Signal
from taskflow.http1.readers import RequestReader
from taskflow.http1.writing import ResponseWriter
from taskflow.model.url import Target

Handler: TypeAlias = Callable[[httpx.Request], httpx.Response | None]
"""Returns the response of a target, or ``None`` if the test responds later.

It may raise an error of httpx in place of a response, such as ``httpx.ConnectError``.
"""

TASK_FIELD: Final = "X-TaskFlow-Id"

_LEFT_OUT: Final = (b"content-length", b"transfer-encoding", b"content-encoding", b"connection")

Answer: TypeAlias = httpx.Response | httpx.TransportError
"""The response of a target, or what happened in place of one."""


class HandledTargets:
    """All targets of a service in a test.

    Args:
        handler: Answers the requests one after the other, in a thread; without one, the test
            answers all of them.

    Attributes:
        requests: The requests that were sent, in order.
        crash: What the handler raised that is no error of httpx.
    """

    def __init__(self, handler: Handler | None) -> None:
        if inspect.iscoroutinefunction(handler):
            raise TypeError("the handler must be a function without `async`")
        self._handler = handler
        self._of_thread = threading.local()
        self._waiting: dict[uuid.UUID, HandledStream] = {}
        self._in_hand = 0
        self._one_at_a_time = trio.CapacityLimiter(1)
        self.requests: Final[list[httpx.Request]] = []
        self.crash: BaseException | None = None
        self._is_idle = trio.Event()
        self._is_idle.set()

    def dial(self, target: Target) -> HandledStream:
        """Return a connection to a target."""
        return HandledStream(self, target)

    @property
    def is_idle(self) -> bool:
        """True if no handler runs."""
        return not self._in_hand

    @property
    def is_in_handler(self) -> bool:
        """True in a thread that runs the handler."""
        return getattr(self._of_thread, "is_in_handler", False)

    async def wait_until_idle(self) -> None:
        """Wait until no handler runs."""
        await self._is_idle.wait()

    async def answer(self, request: httpx.Request, stream: HandledStream) -> Answer:
        """Return the answer to a request: of the handler, or of ``respond``."""
        self.requests.append(request)
        if self._handler is not None:
            answer = await self._handled(request)
            if answer is not None:
                return answer
        if (text := request.headers.get(TASK_FIELD)) is None:
            return httpx.ReadError(f"there is no handler, and {request.url} is of no task")
        task_id = uuid.UUID(text)
        self._waiting[task_id] = stream
        try:
            return await stream.responded()
        finally:
            del self._waiting[task_id]

    def respond(self, task_id: uuid.UUID, answer: Answer) -> bool:
        """Answer the request of a task; return whether there is one without an answer."""
        stream = self._waiting.get(task_id)
        return stream is not None and stream.respond(answer)

    async def _handled(self, request: httpx.Request) -> Answer | None:
        if self.is_idle:
            self._is_idle = trio.Event()
        self._in_hand += 1
        try:
            return await trio.to_thread.run_sync(
                self._call_handler, request, abandon_on_cancel=True, limiter=self._one_at_a_time
            )
        except httpx.TransportError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the test raises it
            self.crash = self.crash or error
            return httpx.ReadError(f"the handler raised {error!r}")
        finally:
            self._in_hand -= 1
            if self.is_idle:
                self._is_idle.set()

    def _call_handler(self, request: httpx.Request) -> Answer | None:
        assert self._handler is not None
        self._of_thread.is_in_handler = True
        try:
            answer = self._handler(request)
        finally:
            self._of_thread.is_in_handler = False
        return None if answer is None else checked(answer)


class HandledStream:
    """A connection to a target, for one request; it implements ``Stream``."""

    def __init__(self, targets: HandledTargets, target: Target) -> None:
        self._targets = targets
        self._target = target
        self._reader = RequestReader()
        self._head: RequestHead | None = None
        self._body = bytearray()
        self._is_answered = False
        self._is_responded = trio.Event()
        self._given: Answer | None = None

    async def send(self, data: bytes) -> None:
        """See ``Stream``."""
        self._reader.feed(data)
        while not isinstance(event := self._reader.next_event(), Signal):
            if isinstance(event, RequestHead):
                self._head = event
            elif isinstance(event, bytes):
                self._body += event
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """See ``Stream``."""
        if self._is_answered:
            await trio.lowlevel.checkpoint()
            return b""
        self._is_answered = True
        assert self._head is not None
        request = _request_of(self._head, bytes(self._body), self._target)
        answer = await self._targets.answer(request, self)
        if isinstance(answer, httpx.TimeoutException):
            await trio.sleep_forever()  # until the timeout of the task
        if isinstance(answer, httpx.ConnectError):
            raise NotConnected(f"{self._target.host_header}: {answer}")
        if isinstance(answer, httpx.TransportError):
            raise BadResponse(f"{self._target.host_header}: {answer}")
        return _bytes_of(answer, self._head)

    def is_quiet(self) -> bool:
        """See ``Stream``: none is used again."""
        return False

    def close(self) -> None:
        """See ``Stream``."""

    def respond(self, answer: Answer) -> bool:
        """Answer the request; return whether that was still to be done."""
        if self._is_responded.is_set():
            return False
        self._given = answer
        self._is_responded.set()
        return True

    async def responded(self) -> Answer:
        """Wait for ``respond``."""
        await self._is_responded.wait()
        assert self._given is not None
        return self._given


def checked(answer: object) -> Answer:
    """Return what a test answered, with the body of a response read.

    Raises:
        TypeError: It is not an answer.
    """
    if isinstance(answer, httpx.Response):
        answer.read()
        return answer
    if isinstance(answer, httpx.TransportError):
        return answer
    raise TypeError(f"a target responds with an httpx.Response, not with {answer!r}")


def _request_of(head: RequestHead, body: bytes, target: Target) -> httpx.Request:
    return httpx.Request(head.method, target.url, headers=[*head.headers], content=body)


def _bytes_of(response: httpx.Response, request: RequestHead) -> bytes:
    """Return a response as it is sent: decoded, and with the length of its body."""
    content = response.content
    headers = [pair for pair in response.headers.raw if pair[0].lower() not in _LEFT_OUT]
    headers.append((b"content-length", b"%d" % len(content)))
    writer = ResponseWriter(request.method, request.version, keeps_alive=False)
    head = writer.head(response.status_code, headers)
    return head + (b"" if writer.is_bodiless else writer.data(content)) + writer.end()
