"""Which addresses, names and ports may be fetched from. Pure decisions; no I/O.

URLs come from strangers, who get to see what was fetched. So only what anybody on the
internet could reach as well is fetched, unless the operator opens more:

- *ports*: ``ports.py`` says which belong to services that are no targets;
- *names*: an operator may deny some, and allow some to have any address;
- *addresses*: ``special.py`` knows those that are not global unicast. Of a name *every*
  address must be allowed: one that also leads inside is a trap, whichever is tried first.

``transport.py`` asks before it looks a name up, asks again with the addresses that came
back, connects to just these, and compares whom it is connected to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from taskflow.fetch.errors import Blocked, NameNotResolved
from taskflow.fetch.hostname import Address
from taskflow.fetch.ports import Ports
from taskflow.fetch.special import Special, embedded_ipv4, special_of
from taskflow.fetch.target import Target
from taskflow.settings import Settings

MAX_ADDRESSES: Final = 64
"""A name with more addresses is no service, but an attempt to make work."""


class Hosts:
    """A set of names: each by itself, or all under a suffix (``*.example.com``)."""

    def __init__(self, patterns: Iterable[str]) -> None:
        lowered = [pattern.lower().removesuffix(".") for pattern in patterns]
        self._names = frozenset(one for one in lowered if not one.startswith("*."))
        self._suffixes = tuple(one[1:] for one in lowered if one.startswith("*."))

    def __contains__(self, host: str) -> bool:
        """Whether the name is one of them."""
        return host in self._names or host.endswith(self._suffixes)


class Guard:
    """The operator's rules; nothing but the public internet by default.

    Args:
        settings: What is open besides, and what is closed.

    Raises:
        SettingsError: A setting makes no sense.
    """

    def __init__(self, settings: Settings) -> None:
        self._networks = [ipaddress.ip_network(text) for text in settings.allow_networks]
        self._allow_hosts = Hosts(settings.allow_hosts)
        self._deny_hosts = Hosts(settings.deny_hosts)
        self._ports = Ports(settings.allow_ports)

    def admit(self, target: Target) -> None:
        """Judge what the URL itself says, before any look-up.

        Raises:
            Blocked: Its host is denied, or its port is no target.
        """
        if target.host in self._deny_hosts:
            raise Blocked("the host is denied by TASKFLOW_DENY_HOSTS")
        if target.port not in self._ports:
            raise Blocked(f"port {target.port} is not fetched from; TASKFLOW_ALLOW_PORTS opens it")
        if target.address is not None and not self._is_open(target.address, target.host):
            special = special_of(target.address)
            assert special is not None
            raise Blocked(f"{target.host} is {special.meaning}; TASKFLOW_ALLOW_NETWORKS opens it")

    def judge(self, target: Target, addresses: Sequence[Address]) -> None:
        """Judge all addresses of a target, which ``admit`` has let through.

        Raises:
            Blocked: One of them is not to be connected to. It does not say which, or what it
                is: that would tell strangers about names of the inside.
            NameNotResolved: There are too many.
        """
        if target.address is not None:
            return
        if len(addresses) > MAX_ADDRESSES:
            raise NameNotResolved(f"{target.host}: it has more than {MAX_ADDRESSES} addresses")
        if not all(self._is_open(address, target.host) for address in addresses):
            raise Blocked(
                f"{target.host} does not resolve to public addresses only; "
                "TASKFLOW_ALLOW_HOSTS or TASKFLOW_ALLOW_NETWORKS opens it"
            )

    def _is_open(self, address: Address, host: str) -> bool:
        special = special_of(address)
        if special is None or self._is_open_network(address, special):
            return True
        return host in self._allow_hosts and not _must_be_named(address, special)

    def _is_open_network(self, address: Address, special: Special) -> bool:
        """Whether the operator opened it, and what it carries if it embeds another address."""
        inside = embedded_ipv4(address)
        if inside is not None and not self._is_open_inside(inside):
            return False
        return any(
            address in network and (not special.is_sensitive or special.covers(network))
            for network in self._networks
            if network.version == address.version
        )

    def _is_open_inside(self, address: ipaddress.IPv4Address) -> bool:
        special = special_of(address)
        return special is None or self._is_open_network(address, special)


def _must_be_named(address: Address, special: Special) -> bool:
    """Whether only its network opens it: link-local, metadata, and what leads there."""
    inside = embedded_ipv4(address)
    hidden = None if inside is None else special_of(inside)
    return special.is_sensitive or (hidden is not None and hidden.is_sensitive)
