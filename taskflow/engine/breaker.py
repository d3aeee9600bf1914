"""The breaker: a host that fails again and again is left alone for a while.

Failures are counted by node, in a row; whoever has counted enough tells the store, and from then on
nothing goes to that host, from whatever node. When its time is over one task at a time may try it.
The first answer ends that; another failure makes the next pause longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from taskflow.engine.outage import Outage
from taskflow.engine.worker import Attempt
from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit

# Without a connection there is no answer; what comes after it is for the task to deal with.
_NO_CONNECTION: Final = frozenset({ErrorType.CONNECT, ErrorType.DNS, ErrorType.TLS})
# What a host says that wants to be left alone (RFC 6585 section 4, RFC 9110 section 15.6.4).
_LEAVE_ALONE: Final = (429, 503)
# These say nothing about the host.
_OF_THE_TASK: Final = frozenset({ErrorType.BLOCKED, ErrorType.INVALID_URL, ErrorType.INTERNAL})
_MOST_COUNTED: Final = 10_000


class Breaker:
    """Judges hosts by how attempts went.

    Args:
        store: Where hosts are held back.
        outage: Told whether the store can be reached.
        failures: After how many in a row; 0 is never.
        longest_retry_after_seconds: How much of a ``Retry-After`` is honoured.
        metrics: What is told of hosts that are held back and freed.
    """

    def __init__(
        self,
        *,
        store: TaskStore,
        outage: Outage,
        failures: int,
        longest_retry_after_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._queues = store.queues
        self._outage = outage
        self._most = failures
        self._longest_retry_after_seconds = longest_retry_after_seconds
        self._metrics = metrics
        self._in_a_row: dict[str, int] = {}

    async def judge(self, attempts: Iterable[Attempt]) -> None:
        """Hold back and free hosts. To be called before the attempts are written.

        A task that shows how a host is must not be followed by the next one before that is known.
        If the store cannot be reached the next attempts show the same.
        """
        for attempt in attempts:
            if self._most and attempt.claim.authority:
                try:
                    await self._judge(attempt)
                except StoreUnavailable as error:
                    self._outage.began(error)
                    return

    async def _judge(self, attempt: Attempt) -> None:
        claim, outcome = attempt.claim, attempt.outcome
        host = claim.authority
        if isinstance(outcome, Failed) and _fails(outcome, is_probe=claim.is_probe):
            count = self._in_a_row.pop(host, 0) + 1
            if count >= self._most or claim.is_probe:
                await self._hold(host, outcome)
            else:
                self._count(host, count)
        elif _answers(outcome):
            self._in_a_row.pop(host, None)
            if claim.is_probe:
                await self._queues.close_circuit(host)
                self._metrics.host_freed()
                emit(Event.BREAKER_CLOSED, host=host)

    def _count(self, host: str, count: int) -> None:
        self._in_a_row[host] = count
        if len(self._in_a_row) > _MOST_COUNTED:
            self._in_a_row.pop(next(iter(self._in_a_row)))

    async def _hold(self, host: str, failure: Failed) -> None:
        asked_seconds = failure.retry_after_seconds
        if asked_seconds is not None:
            asked_seconds = min(asked_seconds, self._longest_retry_after_seconds)
        await self._queues.open_circuit(host, why=failure.error, asked_seconds=asked_seconds)
        self._metrics.host_held()
        emit(Event.BREAKER_OPENED, host=host, reason=failure.error)


def _fails(outcome: Failed, *, is_probe: bool) -> bool:
    """Whether it is the host that failed. One that is being tried has to answer in time, too."""
    return (
        outcome.error_type in _NO_CONNECTION
        or outcome.status_code in _LEAVE_ALONE
        or (is_probe and outcome.error_type is ErrorType.TIMEOUT)
    )


def _answers(outcome: object) -> bool:
    return isinstance(outcome, Fetched) or (
        isinstance(outcome, Failed)
        and outcome.error_type not in _OF_THE_TASK
        and outcome.error_type is not ErrorType.TIMEOUT
    )
