"""Which targets go through an egress proxy, and what is known of its failures. No I/O."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

import trio

from taskflow.model.errors import SettingsError
from taskflow.model.hostname import Address, canonical_host, unmapped
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.proxy import Proxy, parse_proxy
from taskflow.model.url import Target, is_loopback
from taskflow.settings import Settings

MAX_PROXY_DELAY_SECONDS: Final = 30.0
"""Maximum delay of a task after a failure of the proxy itself."""

MAX_REFUSED_ORIGINS: Final = 10_000
"""Number of origins that the proxy did not connect to, of which the time is remembered."""

_RULE: Final = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+)(?::([1-9][0-9]{0,4}))?")
_MAX_PORT: Final = 65_535

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class NoProxy:
    """The targets that are fetched without the proxy.

    Args:
        rules: Names (``example.com`` with all names below it, ``.example.com`` or
            ``*.example.com`` for the names below it only), addresses, networks, or ``*`` for all;
            names and addresses with a port if they are for that port only.

    Raises:
        SettingsError: A rule is invalid.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self._names: set[tuple[str, int | None]] = set()
        self._suffixes: list[tuple[str, int | None]] = []
        self._networks: list[tuple[_Network, int | None]] = []
        self._is_all = False
        for rule in rules:
            try:
                self._add(rule)
            except (ValueError, InvalidUrl):
                raise SettingsError(
                    f"TASKFLOW_EGRESS_NO_PROXY: {rule!r} is neither a name such as example.com, "
                    ".example.com or *.example.com, nor an address, a network such as 10.0.0.0/8, "
                    "or *; a port such as :8080 may follow a name or an address"
                ) from None

    def __contains__(self, target: Target) -> bool:
        """Return whether a target is fetched without the proxy."""
        if self._is_all:
            return True
        if target.address is not None:
            return self._has_address(target.address, target.port)
        ports = (None, target.port)
        if any((target.host, port) in self._names for port in ports):
            return True
        return any(port in ports and target.host.endswith(end) for end, port in self._suffixes)

    def _has_address(self, address: Address, port: int) -> bool:
        plain = unmapped(address)
        return any(
            only in (None, port) and (address in network or plain in network)
            for network, only in self._networks
        )

    def _add(self, rule: str) -> None:
        if rule == "*":
            self._is_all = True
            return
        if (network := _network_of(rule)) is not None:
            self._networks.append((network, None))
            return
        found = _RULE.fullmatch(rule)
        if found is None or int(found[2] or 1) > _MAX_PORT:
            raise ValueError(rule)
        port = int(found[2]) if found[2] else None
        if (network := _network_of(found[1].strip("[]"))) is not None:
            self._networks.append((network, port))
            return
        name = canonical_host(found[1].removeprefix("*").removeprefix("."))
        self._suffixes.append((f".{name}", port))
        if found[1][0] not in "*.":
            self._names.add((name, port))


def _network_of(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


class Egress:
    """A proxy, the targets that go through it, and the delays after its failures.

    Loopback targets never go through it: there, they would lead to the proxy's own machine.

    Args:
        proxy: The proxy.
        no_proxy: Targets that are fetched without it.
        initial_delay_seconds: Maximum delay of a task after a first failure.
        max_delay_seconds: Maximum delay while the proxy does not connect to an origin.
    """

    def __init__(
        self,
        proxy: Proxy,
        no_proxy: NoProxy,
        *,
        initial_delay_seconds: float,
        max_delay_seconds: float,
    ) -> None:
        self.proxy = proxy
        self._no_proxy = no_proxy
        self._initial_delay_seconds = initial_delay_seconds
        self._max_delay_seconds = max_delay_seconds
        self._failing_since: float | None = None
        self._refused_since: dict[str, float] = {}

    def proxy_for(self, target: Target) -> Proxy | None:
        """Return the proxy for a target; ``None`` to connect directly."""
        return None if is_loopback(target) or target in self._no_proxy else self.proxy

    @property
    def is_working(self) -> bool:
        """True if the proxy has not failed since it answered last."""
        return self._failing_since is None

    def works(self) -> None:
        """Record that the proxy answered."""
        self._failing_since = None

    def connected(self, origin: str) -> None:
        """Record that the proxy connected to an origin."""
        self._refused_since.pop(origin, None)

    def delay_of_failure(self) -> float:
        """Record that the proxy failed; return the delay of the task in seconds."""
        now = trio.current_time()
        if self._failing_since is None:
            self._failing_since = now
        return self._delay(now - self._failing_since, MAX_PROXY_DELAY_SECONDS)

    def delay_of_refusal(self, origin: str) -> float:
        """Record that the proxy did not connect to an origin; return the delay of the task."""
        now = trio.current_time()
        since = self._refused_since.setdefault(origin, now)
        if len(self._refused_since) > MAX_REFUSED_ORIGINS:
            del self._refused_since[next(iter(self._refused_since))]
        return self._delay(now - since, self._max_delay_seconds)

    def _delay(self, failing_seconds: float, maximum: float) -> float:
        """Return a delay with jitter that grows with the time since the first failure.

        So it doubles from one failure of a task to the next, however many tasks fail together.
        """
        delay = min(max(self._initial_delay_seconds, failing_seconds), maximum)
        return delay * (0.5 + random.random() / 2)  # noqa: S311 - not for secrets


def egress_of(settings: Settings) -> Egress | None:
    """Return the proxy of the settings; ``None`` if none is set.

    Raises:
        SettingsError: The proxy, or a target to fetch without it, is invalid.
    """
    no_proxy = NoProxy(settings.egress_no_proxy)
    if not settings.egress_proxy:
        return None
    try:
        return egress_through(settings.egress_proxy, settings, no_proxy)
    except ValueError as error:
        raise SettingsError(f"TASKFLOW_EGRESS_PROXY {error}") from None


def egress_through(url: str, settings: Settings, no_proxy: NoProxy) -> Egress:
    """Return the egress through the proxy at a URL.

    Raises:
        ValueError: The URL is invalid. The message does not contain it.
    """
    return Egress(
        parse_proxy(url),
        no_proxy,
        initial_delay_seconds=settings.backoff_seconds,
        max_delay_seconds=settings.max_backoff_seconds,
    )
