"""The egress proxies and their health: delays, logs and counts their failures."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import trio

from taskflow.fetch.egress import Egress, NoProxy, egress_of, egress_through
from taskflow.fetch.errors import ProxyFailed
from taskflow.fetch.tunnel import Refused
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import ProxyResult
from taskflow.model.outcome import Postponed, failed
from taskflow.model.proxy import DIRECT, Proxy
from taskflow.model.url import Target
from taskflow.settings import Settings
from taskflow.telemetry import Event, emit

PAUSE_SECONDS: Final = 0.1
"""Pause of a worker before it postpones a task: it must not postpone the whole backlog."""

MAX_PROXIES: Final = 1_000
"""Number of proxies of queues whose health is remembered."""


async def pause() -> None:
    """Pause a worker, for less than the remaining time of the fetch."""
    left = trio.current_effective_deadline() - trio.current_time()
    await trio.sleep(min(PAUSE_SECONDS, max(0.0, left / 2)))


class EgressRoutes:
    """The proxy of the settings and the proxies of queues, each with its own health.

    Args:
        settings: The settings.
        metrics: Counts the results.

    Raises:
        SettingsError: The proxy, or a target to fetch without it, is invalid.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._no_proxy = NoProxy(settings.egress_no_proxy)
        egress = egress_of(settings)
        self._default = None if egress is None else EgressHealth(egress, metrics)
        self._of_queues: dict[str, EgressHealth] = {}

    def route_of(self, url: str | None) -> EgressHealth | None:
        """Return the proxy for a request; ``None`` if it uses none.

        Args:
            url: The ``egress_proxy`` of the queue of its task; ``None`` for the setting.

        Raises:
            ValueError: It is invalid.
        """
        if url is None or url == self._settings.egress_proxy:
            return self._default
        if url == DIRECT:
            return None
        if (found := self._of_queues.get(url)) is None:
            egress = egress_through(url, self._settings, self._no_proxy)
            found = self._of_queues[url] = EgressHealth(egress, self._metrics)
            if len(self._of_queues) > MAX_PROXIES:
                del self._of_queues[next(iter(self._of_queues))]
        return found

    @property
    def proxy_hosts(self) -> Container[str]:
        """The hosts of the proxies."""
        known = [*self._of_queues.values(), *([self._default] if self._default else ())]
        return {one.proxy.target.host for one in known}


class EgressHealth:
    """Follows the results of fetches through a proxy.

    Args:
        egress: The proxy.
        metrics: Counts the results.
    """

    def __init__(self, egress: Egress, metrics: Metrics) -> None:
        self._egress = egress
        self._metrics = metrics

    @property
    def proxy(self) -> Proxy:
        """The proxy."""
        return self._egress.proxy

    def proxy_for(self, target: Target) -> Proxy | None:
        """Return the proxy for a target; ``None`` to connect directly."""
        return self._egress.proxy_for(target)

    def succeeded(self, target: Target) -> None:
        """Record a response that came through the proxy."""
        self._egress.connected(target.origin)
        self._metrics.proxied(ProxyResult.RESPONSE)
        self._answered()

    def could_not_connect(self) -> None:
        """Record that the proxy answered, and could not connect to a target."""
        self._metrics.proxied(ProxyResult.REFUSED)
        self._answered()

    async def postponed(self, error: ProxyFailed) -> Postponed:
        """Record a failure, and return the outcome of the attempt after a pause."""
        if isinstance(error, Refused):
            self._answered()
            self._metrics.proxied(ProxyResult.REFUSED)
            delay = self._egress.delay_of_refusal(error.origin)
        else:
            if self._egress.is_working:
                emit(Event.PROXY_FAILED, proxy=self._name, reason=error.reason)
            self._metrics.proxied(ProxyResult.FAILED)
            delay = self._egress.delay_of_failure()
        text = failed(error.error_type, str(error)).error
        await pause()
        return Postponed(error.error_type, text, delay, error.may_have_been_sent)

    def _answered(self) -> None:
        if not self._egress.is_working:
            self._egress.works()
            emit(Event.PROXY_BACK, proxy=self._name)

    @property
    def _name(self) -> str:
        return self.proxy.target.host_header
