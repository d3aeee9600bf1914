"""``Metrics``: the methods that other parts call when something happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

import trio

from taskflow.metrics import catalogue
from taskflow.metrics.catalogue import NO_ROUTE, OTHER, AttemptEnd, ProxyResult, TokenResult
from taskflow.metrics.registry import Histogram, Registry, Scalar
from taskflow.model.alerts import NoticeKind
from taskflow.model.outcome import Refusal

SAMPLE_INTERVAL_SECONDS: Final = 1.0
_CODES: Final = (*(str(status.value) for status in HTTPStatus), OTHER)
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", OTHER)
# A lookup is cheaper than str() for each request.
_CODE_OF: Final = {status.value: str(status.value) for status in HTTPStatus}


class Metrics:
    """The metrics of one process.

    Attributes:
        registry: Holds the values.
        samplers: Functions that set the gauges; called before they are read.
    """

    def __init__(self) -> None:
        self.registry: Final = Registry()
        self.samplers: Final[list[Callable[[Metrics], None]]] = []
        self._accepted = self._scalar(catalogue.ACCEPTED)
        self._claimed = self._scalar(catalogue.CLAIMED)
        self._attempts = self._scalar(catalogue.ATTEMPTS)
        self._dropped = self._scalar(catalogue.DROPPED)
        self._wait = Histogram(self.registry, catalogue.WAIT)
        self._fetch = Histogram(self.registry, catalogue.FETCH)
        self._settle = Histogram(self.registry, catalogue.SETTLE)
        self._refusals = self._scalar(catalogue.REFUSALS)
        self._proxied = self._scalar(catalogue.PROXIED)
        self._token_requests = self._scalar(catalogue.TOKEN_REQUESTS)
        self._breaker_moves = self._scalar(catalogue.BREAKER_MOVES)
        self._endpoints_disabled = self._scalar(catalogue.ENDPOINTS_DISABLED)
        self._alert_notifications = self._scalar(catalogue.ALERT_NOTIFICATIONS)
        self._rescued = self._scalar(catalogue.RESCUED)
        self._leases_lost = self._scalar(catalogue.LEASES_LOST)
        self._outages = self._scalar(catalogue.OUTAGES)
        self.in_flight: Final = self._scalar(catalogue.HTTP_IN_FLIGHT)
        self.engines_running: Final = self._scalar(catalogue.ENGINES_RUNNING)
        self.stores_reached: Final = self._scalar(catalogue.STORES_REACHED)
        self.workers: Final = self._scalar(catalogue.WORKERS)
        self.claims_held: Final = self._scalar(catalogue.CLAIMS_HELD)
        self.max_claims: Final = self._scalar(catalogue.MAX_CLAIMS)
        self.database_connections: Final = self._scalar(catalogue.DATABASE_CONNECTIONS)
        self.database_waiting: Final = self._scalar(catalogue.DATABASE_WAITING)
        self.fetch_connections: Final = self._scalar(catalogue.FETCH_CONNECTIONS)
        self.listeners: Final = self._scalar(catalogue.LISTENERS)
        self._scalar(catalogue.PROCESSES).set(1.0)
        self._requests: Scalar | None = None
        self._request_seconds: Histogram | None = None

    def _scalar(self, family: catalogue.Family) -> Scalar:
        return Scalar(self.registry, family)

    def accepted(self, count: int) -> None:
        """Count tasks that were submitted."""
        self._accepted.add(amount=count)

    def claimed(self, count: int, *, is_direct: bool) -> None:
        """Count tasks that were claimed."""
        self._claimed.add("direct" if is_direct else "claim", amount=count)

    def attempt_ended(self, end: AttemptEnd, error_type: str = "") -> None:
        """Count a claim that has ended."""
        self._attempts.add(end, error_type)

    def waited(self, seconds: float) -> None:
        """Record the time from when a task was due until its fetch started."""
        self._wait.observe(seconds)

    def fetched(self, seconds: float) -> None:
        """Record the duration of a fetch."""
        self._fetch.observe(seconds)

    def settled(self, seconds: float) -> None:
        """Record the time from the end of a fetch until its outcome was written."""
        self._settle.observe(seconds)

    def dropped(self, *, is_canceled: bool) -> None:
        """Count an outcome that was dropped, because its claim was no longer held."""
        self._dropped.add("canceled" if is_canceled else "late")

    def refused(self, rule: Refusal) -> None:
        """Count a fetch that the guard refused."""
        self._refusals.add(rule)

    def proxied(self, result: ProxyResult) -> None:
        """Count a use of the egress proxy."""
        self._proxied.add(result)

    def token_requested(self, result: TokenResult) -> None:
        """Count a request to a token endpoint."""
        self._token_requests.add(result)

    def breaker_opened(self) -> None:
        """Count a circuit breaker that this node opened."""
        self._breaker_moves.add("opened")

    def breaker_closed(self) -> None:
        """Count a circuit breaker that this node closed."""
        self._breaker_moves.add("closed")

    def endpoint_disabled(self) -> None:
        """Count an endpoint that this node disabled."""
        self._endpoints_disabled.add()

    def alert_notified(self, kind: NoticeKind) -> None:
        """Count a notification of an alert."""
        self._alert_notifications.add(kind)

    def rescued(self, *, pending: int, poisoned: int) -> None:
        """Count tasks rescued from dead nodes."""
        self._rescued.add("pending", amount=pending)
        self._rescued.add("poison", amount=poisoned)

    def lease_lost(self) -> None:
        """Count a lost lease."""
        self._leases_lost.add()

    def store_lost(self) -> None:
        """Count an outage of the store."""
        self._outages.add()

    def declare_routes(self, routes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Allocate the series of all routes and their methods; once, before the first request."""
        pairs = {(method, route) for route, methods in routes for method in methods}
        pairs |= {(method, NO_ROUTE) for method in _METHODS}
        series = tuple(sorted(pairs))
        self._request_seconds = Histogram(self.registry, catalogue.HTTP_SECONDS, series)
        self._requests = Scalar(
            self.registry,
            catalogue.HTTP_REQUESTS,
            tuple((*pair, code) for pair in series for code in _CODES),
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record a response.

        Args:
            method: Method of the request.
            route: The declared route, or ``NO_ROUTE``.
            status: Status of the response.
            seconds: Time from request to response.
        """
        if self._requests is None or self._request_seconds is None:
            return
        code = _CODE_OF.get(status, OTHER)
        if (method, route, code) not in self._requests:
            method = method if method in _METHODS else OTHER
            route = NO_ROUTE
        self._requests.add(method, route, code)
        self._request_seconds.observe(seconds, method, route)

    def sample(self) -> None:
        """Set the gauges to current values."""
        for sampler in self.samplers:
            sampler(self)

    async def sample_periodically(self) -> None:
        """Set the gauges every second, for other processes to read; runs until cancelled."""
        while True:
            self.sample()
            await trio.sleep(SAMPLE_INTERVAL_SECONDS)
