"""Requests sent and answers awaited, again where that may help and does nothing twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import httpx

from taskflow.client.arguments import checked_arguments
from taskflow.client.asynchronous.native import chunks_of, current_loop, current_time, end, sleep
from taskflow.client.calls import Answer, Call, mapped_errors
from taskflow.client.connecting import STEP_SECONDS, pause_seconds
from taskflow.client.errors import ClientUnusable, Problem, Unreachable, problem_of

T = TypeVar("T")

# Streams of events say every 15 s that they live.
SILENCE_SECONDS: Final = 40.0


class Transport:
    """How a client reaches the service.

    Args:
        http: Its connections; closed with this.
        timeout_seconds: For how long a request is tried.
        via: For errors: names the proxy that is asked, if there is one.
    """

    def __init__(self, http: httpx.AsyncClient, *, timeout_seconds: float, via: str = "") -> None:
        self._http = http
        self._via = via
        self._timeout_seconds = timeout_seconds
        self._incoming: set[Incoming] = set()
        self._loop: object = None

    async def ask(self, call: Call, *, within: float | None = None) -> Answer:
        """Ask, and return the answer.

        Args:
            call: What to ask.
            within: For how many seconds at most, if that is less than the client's time.

        Raises:
            ClientUnusable: It is closed, or was used on another event loop before.
            Problem: The answer says that it is not done.
            Unreachable: No answer came in time.
            UnexpectedResponse: What came is no answer.
        """
        return await self._persist(call, self._send_once, within)

    async def open(self, call: Call) -> Incoming:
        """Ask, and return the answer as it comes. Raises as ``ask`` does."""
        return await self._persist(call, self._opened, None)

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            for incoming in list(self._incoming):
                await incoming.aclose()
        finally:
            await self._http.aclose()

    async def _persist(
        self, call: Call, attempt: Callable[[Call, float], Awaitable[T]], within: float | None
    ) -> T:
        self._check_usable()
        seconds = self._timeout_seconds + call.wait_seconds
        deadline = current_time() + (seconds if within is None else min(seconds, within))
        number = 0
        while True:
            number += 1
            try:
                return await attempt(call, max(deadline - current_time(), 0.001))
            except (Problem, Unreachable) as error:
                pause = pause_seconds(call, error, attempt=number, chance=random.random())  # noqa: S311 - spreads clients
                if pause is None or current_time() + pause >= deadline:
                    raise
            await sleep(pause)

    def _check_usable(self) -> None:
        """Raise if the connections are closed, or cannot be used by this event loop."""
        if self._http.is_closed:
            raise ClientUnusable("the client is closed")
        loop = current_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise ClientUnusable(
                "the client was used on another event loop before: make one client for each"
            )

    async def _send_once(self, call: Call, seconds: float) -> Answer:
        step = httpx.Timeout(min(seconds, STEP_SECONDS))
        step.read = min(seconds, STEP_SECONDS + call.wait_seconds)
        with mapped_errors(self._via):
            response = await self._http.send(self._request(call, step))
        return self._checked(response)

    async def _opened(self, call: Call, seconds: float) -> Incoming:
        step = httpx.Timeout(min(seconds, STEP_SECONDS))
        step.read = SILENCE_SECONDS
        with mapped_errors(self._via):
            response = await self._http.send(self._request(call, step), stream=True)
            if response.is_error:
                await response.aread()
                self._checked(response)
        incoming = Incoming(response, self._incoming.discard, via=self._via)
        self._incoming.add(incoming)
        return incoming

    def _checked(self, response: httpx.Response) -> Answer:
        """The answer, if it is none that raises."""
        answer = Answer(response.status_code, response.headers, response.content, self._via)
        if problem := problem_of(answer.status_code, answer.headers, answer.body, self._via):
            raise problem
        return answer

    @checked_arguments()
    def _request(self, call: Call, step: httpx.Timeout) -> httpx.Request:
        return self._http.build_request(
            call.method,
            call.path,
            params=list(call.query) or None,
            headers=dict(call.headers),
            content=call.body,
            timeout=step,
        )


class Incoming:
    """An answer as it comes; to be closed.

    Attributes:
        status_code: What it says it is.
        headers: Its headers, by name in lower case.
    """

    def __init__(
        self, response: httpx.Response, forget: Callable[[Incoming], None], *, via: str
    ) -> None:
        self._via = via
        self.status_code: Final = response.status_code
        self.headers: Final[Mapping[str, str]] = response.headers
        self._response = response
        self._chunks: AsyncIterator[bytes] = chunks_of(response)
        self._forget = partial(forget, self)

    async def next(self) -> bytes | None:
        """What comes next; ``None`` at the end.

        Raises:
            Unreachable: The connection broke, or nothing has come for too long.
        """
        with mapped_errors(self._via):
            return await anext(self._chunks, None)

    async def aclose(self) -> None:
        """Read no more."""
        self._forget()
        try:
            await end(self._chunks)
        finally:
            await self._response.aclose()
