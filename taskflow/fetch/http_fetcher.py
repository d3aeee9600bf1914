"""``HttpFetcher``: the seam in ``base`` done over the network."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Collection
from functools import partial
from typing import Final

import h11
import trio
from msgspec import UNSET

from taskflow.fetch.body import kept_form
from taskflow.fetch.connection_pool import IdleConnections, Statistics, Transport
from taskflow.fetch.errors import (
    Blocked,
    ConnectionLost,
    TooManyRedirects,
    is_file_descriptor_shortage,
)
from taskflow.fetch.exchange import exchange
from taskflow.fetch.guard import Guard
from taskflow.fetch.hop import Hop, first_hop, is_redirect, next_hop
from taskflow.fetch.interface import Fetcher, FetchRequest
from taskflow.fetch.recording import Keeping, Recording, status_text
from taskflow.fetch.resolver import Resolver, SystemResolver
from taskflow.fetch.response import Bounds, Head, RawResponse, Want, retry_after_seconds
from taskflow.fetch.stream import Connection
from taskflow.metrics import Metrics
from taskflow.model.invalid_url import FetchError
from taskflow.model.masking import Masking
from taskflow.model.outcome import (
    ErrorType,
    Failed,
    Fetched,
    Interrupted,
    Outcome,
    Response,
    failed,
)
from taskflow.settings import Settings
from taskflow.telemetry import Event, emit_throttled

MIN_IDLE_CONNECTIONS: Final = 32
FILE_SHORTAGE_PAUSE_SECONDS: Final = 1.0
"""Pause before a task is released for lack of file descriptors: each release is recorded."""


@contextlib.asynccontextmanager
async def open_fetcher(
    settings: Settings,
    *,
    resolver: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[HttpFetcher]:
    """A fetcher whose connections are closed at the end.

    Args:
        settings: Bounds of the fetch, threads of the resolver, number of workers.
        resolver: What asks for addresses; the system if not given.
        ssl_context: How https is done; the system's authorities if not given.
        metrics: What is told of refusals.

    Raises:
        SettingsError: A rule of the guard makes no sense.
    """
    guard = Guard(settings)
    transport = Transport(
        resolver=resolver or SystemResolver(settings.resolver_threads, guard.allow_hosts),
        ssl_context=ssl_context or default_ssl_context(),
        guard=guard,
        idle=IdleConnections(
            per_origin=settings.workers,
            overall=max(MIN_IDLE_CONNECTIONS, 2 * settings.workers),
        ),
    )
    try:
        yield HttpFetcher(settings, transport, metrics)
    finally:
        transport.close()


def default_ssl_context() -> ssl.SSLContext:
    """TLS with the system's authorities, for HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class HttpFetcher(Fetcher):
    """Fetches over HTTP/1.1. ``open_fetcher`` makes one.

    Args:
        settings: Bounds of the fetch.
        transport: Its connections.
        metrics: What is told of refusals.
    """

    def __init__(
        self, settings: Settings, transport: Transport, metrics: Metrics | None = None
    ) -> None:
        self._max_redirects = settings.max_redirects
        self._bounds = Bounds(settings.max_result_bytes, settings.failed_body_bytes)
        self._masking = Masking(settings.masked_headers)
        self._keeping = Keeping(self._masking, settings.failed_body_bytes)
        self._transport = transport
        self._metrics = metrics or Metrics()

    async def fetch(self, request: FetchRequest) -> Outcome:
        """See ``Fetcher``. If it is cancelled, the connection in use is closed at once."""
        started = trio.current_time()
        try:
            hop, answer = await self._follow(request)
            if not request.is_success(answer.status):
                return _failure_of(answer)
            if request.recorder is not None:
                request.recorder.last = None  # it may hold a large body
            return Fetched(self._response_of(request, hop, answer, started))
        except FetchError as error:
            if isinstance(error, Blocked):
                self._metrics.refused(error.rule)
            if is_file_descriptor_shortage(error):
                emit_throttled(Event.FILE_DESCRIPTORS_EXHAUSTED)
                await trio.sleep(FILE_SHORTAGE_PAUSE_SECONDS)
                return Interrupted()  # the task is released: another node may fetch it
            return failed(error.error_type, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the worker
            emit_throttled(Event.FETCH_ERROR, error=error)
            return failed(
                ErrorType.INTERNAL, "internal error: a fault in TaskFlow; its log has the details"
            )

    def statistics(self) -> Statistics:
        """How its connections stand."""
        return self._transport.statistics()

    async def _follow(self, request: FetchRequest) -> tuple[Hop, RawResponse]:
        """The last request of a chain of redirects, and its answer."""
        hop = first_hop(request)
        for number in range(self._max_redirects + 1):
            try:
                answer = await self._ask(hop, request)
            except Blocked as error:
                if number == 0:
                    raise
                raise Blocked(
                    f"redirected to what is not fetched from: {error.reason}", error.rule
                ) from None
            if not _is_followed(request, answer.status, answer.locations):
                return hop, answer
            hop = next_hop(hop, answer.status, answer.locations)
        raise TooManyRedirects(f"more than {self._max_redirects} in a row")

    async def _ask(self, hop: Hop, asked: FetchRequest) -> RawResponse:
        """Ask once; twice if a connection that had been kept turns out to be dead.

        A server may close a kept connection in the moment in which it is used again; that is
        no failure of the target (RFC 9112 section 9.3.1). What must not be sent twice goes
        over a new connection from the start, where the question does not arise.
        """
        request = hop.as_h11()  # what cannot be sent is refused before anything is connected to
        connection = await self._transport.acquire(hop.target, fresh=not hop.is_idempotent)
        try:
            return await self._ask_over(connection, hop, request, asked)
        except ConnectionLost:
            if not connection.is_reused or connection.received:
                raise
        connection = await self._transport.acquire(hop.target, fresh=True)
        return await self._ask_over(connection, hop, request, asked)

    async def _ask_over(
        self, connection: Connection, hop: Hop, request: h11.Request, asked: FetchRequest
    ) -> RawResponse:
        is_reusable = False
        try:
            answer = await exchange(
                connection,
                hop,
                request,
                plan=partial(self._plan, asked, hop),
                bounds=self._bounds,
            )
            is_reusable = answer.is_reusable
            if asked.recorder is not None and asked.recorder.last is not None:
                asked.recorder.last.is_whole = answer.is_whole
            return answer
        finally:
            self._transport.release(connection, is_reusable=is_reusable)

    def _plan(self, asked: FetchRequest, hop: Hop, head: Head, body: bytearray) -> Want:
        """Decide what is wanted of a body, and record what came for a failed attempt to show."""
        if asked.recorder is not None:
            asked.recorder.last = Recording(
                hop.target.url, head.status, head.reason, head.headers, body, self._keeping
            )
        if _is_followed(asked, head.status, head.locations):
            return Want.NOTHING
        if asked.is_success(head.status):
            return Want.WHOLE
        return Want.NOTHING if asked.recorder is None else Want.BEGINNING

    def _response_of(
        self, request: FetchRequest, hop: Hop, answer: RawResponse, started: float
    ) -> Response:
        content_type = answer.headers.get("content-type")
        result, encoding = kept_form(answer.body.data, content_type)
        return Response(
            message="fetched",
            result=result,
            status=status_text(answer.status, answer.reason),
            status_code=answer.status,
            headers=self._masking.headers(answer.headers),
            content_type=content_type,
            encoding=encoding,
            url=self._masking.url(hop.target.url),
            elapsed_ms=round((trio.current_time() - started) * 1000, 3),
            size=len(answer.body.data),
            not_modified=request.is_not_modified(answer.status) or UNSET,
            content_encoding=answer.body.content_encoding or UNSET,
            dropped_bytes=answer.body.dropped_bytes or UNSET,
        )


def _is_followed(request: FetchRequest, status: int, locations: Collection[str]) -> bool:
    return request.follows_redirects and is_redirect(status, locations)


def _failure_of(answer: RawResponse) -> Failed:
    return failed(
        ErrorType.HTTP_STATUS,
        f"http error: status: {status_text(answer.status, answer.reason)}",
        status_code=answer.status,
        retry_after_seconds=retry_after_seconds(answer.headers),
    )
