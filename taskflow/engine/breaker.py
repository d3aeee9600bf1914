"""The circuit breaker: stops fetches to a host that fails repeatedly.

Each node counts consecutive failures per host. When there are enough, the node opens the breaker
in the store, and no node sends requests to that host. After a pause the breaker is half-open: one
task at a time may probe the host. A response closes the breaker; a failure opens it again for a
longer pause.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from taskflow.engine.context import EngineContext
from taskflow.engine.worker import Attempt
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import ErrorType, Failed, Fetched, Parked
from taskflow.telemetry import Event, emit

# There was no connection, hence no response; later errors are left to the task's retries.
_NO_CONNECTION: Final = frozenset({ErrorType.CONNECT, ErrorType.DNS, ErrorType.TLS})
# Statuses of an overloaded host (RFC 6585 section 4, RFC 9110 section 15.6.4).
_OVERLOADED: Final = (429, 503)
# Errors that say nothing about the host.
_OF_THE_TASK: Final = frozenset(
    {ErrorType.BLOCKED, ErrorType.INVALID_URL, ErrorType.INTERNAL, ErrorType.TOKEN}
)
_MAX_HOSTS: Final = 10_000


class Breaker:
    """Opens and closes circuit breakers according to the outcomes of attempts."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._queues = context.store.queues
        self._max_failures = context.settings.breaker_failures
        self._failures: dict[str, int] = {}

    async def update(self, attempts: Iterable[Attempt]) -> None:
        """Open and close breakers; to be called before the outcomes are written.

        So the breaker is open before the next task of the host can be claimed. If the store is
        unavailable, the next attempts will show the same.
        """
        for attempt in attempts:
            if self._max_failures and attempt.claim.authority:
                try:
                    await self._update(attempt)
                except StoreUnavailable as error:
                    self._context.outage.begin(error)
                    return

    async def _update(self, attempt: Attempt) -> None:
        claim, outcome = attempt.claim, attempt.outcome
        host = claim.authority
        if isinstance(outcome, Failed) and _is_host_failure(outcome, is_probe=claim.is_probe):
            count = self._failures.pop(host, 0) + 1
            if count >= self._max_failures or claim.is_probe:
                await self._open(host, outcome)
            else:
                self._count(host, count)
        elif _is_response(outcome):
            self._failures.pop(host, None)
            if claim.is_probe:
                await self._queues.close_circuit(host)
                self._context.metrics.breaker_closed()
                emit(Event.BREAKER_CLOSED, host=host)

    def _count(self, host: str, count: int) -> None:
        self._failures[host] = count
        if len(self._failures) > _MAX_HOSTS:
            self._failures.pop(next(iter(self._failures)))

    async def _open(self, host: str, failure: Failed) -> None:
        seconds = failure.retry_after_seconds
        if seconds is not None:
            seconds = min(seconds, self._context.settings.max_retry_after_seconds)
        await self._queues.open_circuit(host, reason=failure.error, retry_after_seconds=seconds)
        self._context.metrics.breaker_opened()
        emit(Event.BREAKER_OPENED, host=host, reason=failure.error)


def _is_host_failure(outcome: Failed, *, is_probe: bool) -> bool:
    """Return whether the host failed; for a probe, a timeout counts as well."""
    return (
        outcome.error_type in _NO_CONNECTION
        or outcome.status_code in _OVERLOADED
        or (is_probe and outcome.error_type is ErrorType.TIMEOUT)
    )


def _is_response(outcome: object) -> bool:
    return isinstance(outcome, Fetched | Parked) or (
        isinstance(outcome, Failed)
        and outcome.error_type not in _OF_THE_TASK
        and outcome.error_type is not ErrorType.TIMEOUT
    )
