"""Whether the egress proxy works: delays, logs and counts its failures."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.fetch.egress import Egress, Proxy
from taskflow.fetch.errors import ProxyFailed
from taskflow.fetch.tunnel import Refused
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import ProxyResult
from taskflow.model.outcome import Postponed, failed
from taskflow.model.url import Target
from taskflow.telemetry import Event, emit

PAUSE_SECONDS: Final = 0.1
"""Pause of a worker before it postpones a task: it must not postpone the whole backlog."""


async def pause() -> None:
    """Pause a worker, for less than the remaining time of the fetch."""
    left = trio.current_effective_deadline() - trio.current_time()
    await trio.sleep(min(PAUSE_SECONDS, max(0.0, left / 2)))


class EgressHealth:
    """Follows the results of fetches through the proxy.

    Args:
        egress: The proxy.
        metrics: Counts the results.
    """

    def __init__(self, egress: Egress, metrics: Metrics) -> None:
        self._egress = egress
        self._metrics = metrics

    def forwarding_proxy_for(self, target: Target) -> Proxy | None:
        """Return the proxy that forwards requests to a target; ``None`` if none does."""
        return self._egress.proxy_for(target) if target.scheme == "http" else None

    def succeeded(self, target: Target) -> None:
        """Record a response that came through the proxy."""
        self._egress.connected(target.origin)
        self._metrics.proxied(ProxyResult.RESPONSE)
        self._answered()

    async def postponed(self, error: ProxyFailed) -> Postponed:
        """Record a failure, and return the outcome of the attempt after a pause."""
        if isinstance(error, Refused):
            self._answered()
            self._metrics.proxied(ProxyResult.REFUSED)
            delay = self._egress.delay_of_refusal(error.origin)
        else:
            if self._egress.is_working:
                emit(Event.PROXY_FAILED, reason=error.reason)
            self._metrics.proxied(ProxyResult.FAILED)
            delay = self._egress.delay_of_failure()
        text = failed(error.error_type, str(error)).error
        await pause()
        return Postponed(error.error_type, text, delay, error.may_have_been_sent)

    def _answered(self) -> None:
        if not self._egress.is_working:
            self._egress.works()
            emit(Event.PROXY_BACK)
