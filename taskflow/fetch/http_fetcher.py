"""``HttpFetcher``: fetches over HTTP/1.1, with redirects, limits and the guard."""

from __future__ import annotations

import contextlib
import http
import ssl
from collections.abc import AsyncIterator, Collection, Container
from functools import partial
from typing import Final

import trio
from msgspec import UNSET

from taskflow.fetch.authentication import Authenticator, ClientTls
from taskflow.fetch.body import kept_form
from taskflow.fetch.connection_pool import Dial, IdleConnections, Statistics, Transport
from taskflow.fetch.dialing import default_ssl_context
from taskflow.fetch.egress_health import EgressHealth, EgressRoutes, pause
from taskflow.fetch.errors import (
    BadResponse,
    Blocked,
    ConnectionLost,
    ProxyFailed,
    TokenUnavailable,
    TooManyRedirects,
    is_file_descriptor_shortage,
)
from taskflow.fetch.exchange import exchange
from taskflow.fetch.guard import Guard
from taskflow.fetch.hop import Hop, first_hop, is_redirect, next_hop, poll_url_of, with_headers
from taskflow.fetch.interface import Fetcher, FetchRequest
from taskflow.fetch.recording import Keeping, Recording, status_text
from taskflow.fetch.resolver import Resolver, SystemResolver
from taskflow.fetch.response import Bounds, Head, RawResponse, Want, retry_after_seconds
from taskflow.fetch.stream import Connection
from taskflow.fetch.tunnel import Unreachable, refusal_of
from taskflow.metrics import Metrics
from taskflow.model.completion import Completion, CompletionMode, poll_delay_seconds
from taskflow.model.invalid_url import FetchError
from taskflow.model.masking import Masking
from taskflow.model.outcome import (
    ErrorType,
    Failed,
    Fetched,
    Interrupted,
    Outcome,
    Parked,
    Postponed,
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
    dial: Dial | None = None,
) -> AsyncIterator[HttpFetcher]:
    """Open a fetcher, and close its connections at the end.

    Args:
        settings: The settings.
        resolver: Resolves names; by default with the system's resolver.
        ssl_context: The TLS configuration; by default with the system's certificate authorities.
        metrics: Counts blocked fetches.
        dial: Connects in place of the network.

    Raises:
        SettingsError: A rule of the guard is invalid.
    """
    metrics = metrics or Metrics()
    guard = Guard(settings)
    routes = EgressRoutes(settings, metrics)
    transport = Transport(
        resolver=resolver
        or SystemResolver(settings.resolver_threads, _RelativeNames(guard, routes)),
        ssl_context=ssl_context or default_ssl_context(),
        guard=guard,
        idle=IdleConnections(
            per_origin=settings.workers,
            overall=max(MIN_IDLE_CONNECTIONS, 2 * settings.workers),
        ),
        dial=dial,
    )
    try:
        yield HttpFetcher(settings, transport, metrics, routes)
    finally:
        transport.close()


class _RelativeNames(Container[str]):
    """The names to which the search list of the system applies: an operator set them."""

    def __init__(self, guard: Guard, routes: EgressRoutes) -> None:
        self._guard = guard
        self._routes = routes

    def __contains__(self, name: object) -> bool:
        return name in self._guard.allow_hosts or name in self._routes.proxy_hosts


class HttpFetcher(Fetcher):
    """Fetches over HTTP/1.1. ``open_fetcher`` creates it.

    Args:
        settings: The settings.
        transport: The connection pool.
        metrics: Counts blocked fetches.
        routes: The egress proxies.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        metrics: Metrics,
        routes: EgressRoutes,
    ) -> None:
        self._max_redirects = settings.max_redirects
        self._bounds = Bounds(settings.max_result_bytes, settings.failed_body_bytes)
        self._masking = Masking(settings.masked_headers)
        self._keeping = Keeping(self._masking, settings.failed_body_bytes)
        self._transport = transport
        self._metrics = metrics
        self._routes = routes

    async def fetch(self, request: FetchRequest) -> Outcome:
        """See ``Fetcher``. A cancellation closes the connection in use at once."""
        started = trio.current_time()
        route: EgressHealth | None = None
        try:
            route = self._routes.route_of(request.egress_proxy)
            hop, answer = await self._follow(request, route)
            if not request.is_success(answer.status):
                return _failure_of(answer)
            if request.completion is not None and answer.status == http.HTTPStatus.ACCEPTED:
                return _parked_of(request.completion, request.poll_url, hop, answer)
            if request.recorder is not None:
                request.recorder.last = None  # it may contain a large body
            return Fetched(self._response_of(request, hop, answer, started))
        except FetchError as error:
            return await self._outcome_of(error, route)
        except Exception as error:  # noqa: BLE001 - a bug must not end the worker
            emit_throttled(Event.FETCH_ERROR, error=error)
            return failed(ErrorType.INTERNAL, "internal error in TaskFlow; its log has the details")

    async def _outcome_of(self, error: FetchError, route: EgressHealth | None) -> Outcome:
        if isinstance(error, Blocked):
            self._metrics.refused(error.rule)
        if is_file_descriptor_shortage(error):
            emit_throttled(Event.FILE_DESCRIPTORS_EXHAUSTED)
            await trio.sleep(FILE_SHORTAGE_PAUSE_SECONDS)
            return Interrupted()  # the task is released: another node may fetch it
        if isinstance(error, ProxyFailed) and route is not None:
            return await route.postponed(error)
        if isinstance(error, Unreachable) and route is not None:
            route.could_not_connect()
        failure = failed(error.error_type, str(error))
        if isinstance(error, TokenUnavailable):
            await pause()
            return Postponed(failure.error_type, failure.error, error.delay_seconds)
        return failure

    def statistics(self) -> Statistics:
        """Return the counters of the connection pool."""
        return self._transport.statistics()

    async def _follow(
        self, request: FetchRequest, route: EgressHealth | None
    ) -> tuple[Hop, RawResponse]:
        """Follow redirects, and return the last request with its response."""
        hop = first_hop(request)
        for number in range(self._max_redirects + 1):
            try:
                answer = await (
                    self._send(hop, request, route)
                    if request.authenticator is None
                    else self._send_authenticated(hop, request, request.authenticator, route)
                )
            except Blocked as error:
                if number == 0:
                    raise
                raise Blocked(
                    f"redirected to a blocked target: {error.reason}", error.rule
                ) from None
            if not _is_followed(request, answer.status, answer.locations):
                return hop, answer
            hop = next_hop(hop, answer.status, answer.locations)
        raise TooManyRedirects(f"more than {self._max_redirects} redirects")

    async def _send_authenticated(
        self,
        hop: Hop,
        asked: FetchRequest,
        authenticator: Authenticator,
        route: EgressHealth | None,
    ) -> RawResponse:
        """Send a request with its credential, and again with a new one if a 401 asks for it."""
        authenticator.admit(hop.target)
        added = await authenticator.headers(hop)
        answer = await self._send(with_headers(hop, added), asked, route, authenticator.tls)
        if answer.status != http.HTTPStatus.UNAUTHORIZED or asked.is_success(answer.status):
            return answer
        if not await authenticator.rejected(added):
            return answer
        added = await authenticator.headers(hop)
        return await self._send(with_headers(hop, added), asked, route, authenticator.tls)

    async def _send(
        self,
        hop: Hop,
        asked: FetchRequest,
        route: EgressHealth | None,
        tls: ClientTls | None = None,
    ) -> RawResponse:
        """Send a request, and again if a reused connection turns out to be closed.

        A server may close an idle connection just when it is reused, which is not a failure of the
        target (RFC 9112 section 9.3.1). Requests that must not be sent twice use a new connection.
        """
        target = hop.target
        proxy = None if route is None else route.proxy_for(target)
        # It rejects invalid requests before a connection is opened.
        request = hop.head(proxy if target.scheme == "http" else None)
        connection = await self._transport.acquire(
            target, proxy, fresh=not hop.is_idempotent, tls=tls
        )
        try:
            return await self._send_over(connection, hop, request, asked, route)
        except ConnectionLost:
            if not connection.is_reused or connection.received:
                raise
        connection = await self._transport.acquire(target, proxy, fresh=True, tls=tls)
        return await self._send_over(connection, hop, request, asked, route)

    async def _send_over(
        self,
        connection: Connection,
        hop: Hop,
        request: bytes,
        asked: FetchRequest,
        route: EgressHealth | None,
    ) -> RawResponse:
        is_reusable = False
        try:
            answer = await exchange(
                connection,
                hop,
                request,
                plan=partial(self._plan, asked, hop, connection),
                bounds=self._bounds,
            )
        except FetchError as error:
            cause = await self._transport.cause_of(error, connection)
            raise cause from (error.__cause__ if cause is error else error)
        else:
            is_reusable = answer.is_reusable
            if route is not None and connection.proxy is not None:
                route.succeeded(hop.target)
            if asked.recorder is not None and asked.recorder.last is not None:
                asked.recorder.last.is_whole = answer.is_whole
            return answer
        finally:
            self._transport.release(connection, is_reusable=is_reusable)

    def _plan(
        self,
        asked: FetchRequest,
        hop: Hop,
        connection: Connection,
        head: Head,
        body: bytearray,
    ) -> Want:
        """Decide which part of a body to read, and record the response for a failed attempt.

        Raises:
            ProxyFailed: The response is the proxy's own.
        """
        if head.status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and connection.is_forwarded:
            raise refusal_of(head.status, hop.target)
        if asked.recorder is not None:
            asked.recorder.last = Recording(
                hop.target.url, head.status, head.reason, head.headers, body, self._keeping
            )
        if _is_followed(asked, head.status, head.locations):
            return Want.NOTHING
        if asked.is_success(head.status) and (
            asked.completion is None or head.status != http.HTTPStatus.ACCEPTED
        ):
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
            elapsed_seconds=round(trio.current_time() - started, 6),
            size=len(answer.body.data),
            not_modified=request.is_not_modified(answer.status) or UNSET,
            content_encoding=answer.body.content_encoding or UNSET,
            dropped_bytes=answer.body.dropped_bytes or UNSET,
        )


def _is_followed(request: FetchRequest, status: int, locations: Collection[str]) -> bool:
    return request.follows_redirects and is_redirect(status, locations)


def _parked_of(
    completion: Completion, poll_url: str | None, hop: Hop, answer: RawResponse
) -> Parked:
    """Return the outcome of a request that was answered with 202.

    Raises:
        InvalidUrl: ``Location`` is not a valid URL.
        BadResponse: The URL to poll is not known.
    """
    if completion.mode is CompletionMode.CALLBACK:
        return Parked(completion.within_seconds)
    if answer.locations:
        poll_url = poll_url_of(hop, answer.locations)
    if poll_url is None:
        raise BadResponse(
            f"{hop.target.host_header}: the 202 has no Location to poll (completion: mode poll)"
        )
    delay = poll_delay_seconds(retry_after_seconds(answer.headers))
    return Parked(completion.within_seconds, poll_url, delay)


def _failure_of(answer: RawResponse) -> Failed:
    return failed(
        ErrorType.HTTP_STATUS,
        f"http error: status: {status_text(answer.status, answer.reason)}",
        status_code=answer.status,
        retry_after_seconds=retry_after_seconds(answer.headers),
    )
