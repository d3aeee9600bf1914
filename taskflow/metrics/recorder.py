"""``Metrics``: what the other parts tell what happens to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

import trio

from taskflow.metrics import catalogue
from taskflow.metrics.board import Board, Durations, Numbers
from taskflow.metrics.catalogue import NO_ROUTE, OTHER, AttemptEnd
from taskflow.model.outcome import Refusal

SAMPLE_SECONDS: Final = 1.0
_CODES: Final = (*(str(status.value) for status in HTTPStatus), OTHER)
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", OTHER)
# Looked up for each request: a text costs more to make than to find.
_CODE_OF: Final = {status.value: str(status.value) for status in HTTPStatus}


class Metrics:
    """What one process has counted.

    Attributes:
        board: Where it stands.
        samplers: Called before the gauges are read, to set them.
    """

    def __init__(self) -> None:
        self.board: Final = Board()
        board = self.board
        self.samplers: Final[list[Callable[[Metrics], None]]] = []
        self._accepted = Numbers(board, catalogue.ACCEPTED)
        self._claimed = Numbers(board, catalogue.CLAIMED)
        self._attempts = Numbers(board, catalogue.ATTEMPTS)
        self._dropped = Numbers(board, catalogue.DROPPED)
        self._wait = Durations(board, catalogue.WAIT)
        self._fetch = Durations(board, catalogue.FETCH)
        self._settle = Durations(board, catalogue.SETTLE)
        self._refusals = Numbers(board, catalogue.REFUSALS)
        self._breaker_moves = Numbers(board, catalogue.BREAKER_MOVES)
        self._rescued = Numbers(board, catalogue.RESCUED)
        self._leases_lost = Numbers(board, catalogue.LEASES_LOST)
        self._outages = Numbers(board, catalogue.OUTAGES)
        self.in_flight: Final = Numbers(board, catalogue.HTTP_IN_FLIGHT)
        self.engines_running: Final = Numbers(board, catalogue.ENGINES_RUNNING)
        self.stores_reached: Final = Numbers(board, catalogue.STORES_REACHED)
        self.workers: Final = Numbers(board, catalogue.WORKERS)
        self.claims_held: Final = Numbers(board, catalogue.CLAIMS_HELD)
        self.max_claims: Final = Numbers(board, catalogue.MAX_CLAIMS)
        self.database_connections: Final = Numbers(board, catalogue.DATABASE_CONNECTIONS)
        self.database_waiting: Final = Numbers(board, catalogue.DATABASE_WAITING)
        self.fetch_connections: Final = Numbers(board, catalogue.FETCH_CONNECTIONS)
        self.listeners: Final = Numbers(board, catalogue.LISTENERS)
        Numbers(board, catalogue.PROCESSES).put(1.0)
        self._requests: Numbers | None = None
        self._request_seconds: Durations | None = None

    def accepted(self, count: int) -> None:
        """Tasks were handed in."""
        self._accepted.add(amount=count)

    def claimed(self, count: int, *, is_direct: bool) -> None:
        """Tasks were claimed."""
        self._claimed.add("direct" if is_direct else "claim", amount=count)

    def attempt_ended(self, end: AttemptEnd, error_type: str = "") -> None:
        """A claim is over."""
        self._attempts.add(end, error_type)

    def waited(self, seconds: float) -> None:
        """So long after a task was due its fetch began."""
        self._wait.observe(seconds)

    def fetched(self, seconds: float) -> None:
        """So long took a fetch."""
        self._fetch.observe(seconds)

    def settled(self, seconds: float) -> None:
        """So long after the end of the fetch the outcome is written."""
        self._settle.observe(seconds)

    def dropped(self, *, is_canceled: bool) -> None:
        """An outcome was not kept, for the claim was over."""
        self._dropped.add("canceled" if is_canceled else "late")

    def refused(self, rule: Refusal) -> None:
        """The guard refused a fetch."""
        self._refusals.add(rule)

    def breaker_opened(self) -> None:
        """A host is left alone from now on."""
        self._breaker_moves.add("opened")

    def breaker_closed(self) -> None:
        """A host is well again."""
        self._breaker_moves.add("closed")

    def rescued(self, *, pending: int, poisoned: int) -> None:
        """Tasks were taken from dead nodes."""
        self._rescued.add("pending", amount=pending)
        self._rescued.add("poison", amount=poisoned)

    def lease_lost(self) -> None:
        """The node lost its lease."""
        self._leases_lost.add()

    def store_lost(self) -> None:
        """The store cannot be reached."""
        self._outages.add()

    def declare_routes(self, routes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Say which routes there are, each with its methods; once, before any is asked for."""
        pairs = {(method, route) for route, methods in routes for method in methods}
        pairs |= {(method, NO_ROUTE) for method in _METHODS}
        series = tuple(sorted(pairs))
        self._request_seconds = Durations(self.board, catalogue.HTTP_SECONDS, series)
        self._requests = Numbers(
            self.board,
            catalogue.HTTP_REQUESTS,
            tuple((*pair, code) for pair in series for code in _CODES),
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            method: Its method.
            route: As it was declared, or ``NO_ROUTE``.
            status: Of the answer.
            seconds: How long that took.
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
        """Set the gauges."""
        for sampler in self.samplers:
            sampler(self)

    async def keep_current(self) -> None:
        """Set the gauges now and then, for other processes to read; until cancelled."""
        while True:
            self.sample()
            await trio.sleep(SAMPLE_SECONDS)
