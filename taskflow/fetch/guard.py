"""The guard: decides which hosts, ports and addresses may be fetched from. Pure decisions; no I/O.

URLs come from strangers, who can read the responses. So only targets that anyone on the internet
could reach as well are fetched, unless an operator allows more:

- *ports*: ``ports.py`` lists the ports of services that are not web servers;
- *hosts*: an operator can deny hosts, and allow hosts to have any address;
- *loopback names*: ``localhost`` and the names below it are this machine (RFC 6761), whatever a
  resolver says: they get credentials without TLS, and never go through a proxy;
- *addresses*: ``special_addresses.py`` knows addresses that are not global unicast, and the
  addresses of this machine. *Every* address of a name must be allowed: a name with one internal
  address is a trap, whichever address is tried first.

``connection_pool.py`` checks the URL before the lookup and all addresses after it, connects to
exactly these addresses, and compares the peer with them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

from taskflow.fetch.errors import Blocked, NameNotResolved
from taskflow.fetch.ports import Ports
from taskflow.fetch.special_addresses import (
    Special,
    embedded_ipv4,
    is_own_address,
    own_block,
    special_of,
)
from taskflow.model.host_patterns import Hosts
from taskflow.model.hostname import INTERNAL_SUFFIXES, Address, is_local_name, unmapped
from taskflow.model.outcome import Refusal
from taskflow.model.url import Target
from taskflow.settings import Settings

MAX_ADDRESSES: Final = 64
"""A name with more addresses is an attack, not a service."""


class Guard:
    """The operator's rules; nothing but the public internet by default.

    Args:
        settings: What is open besides, and what is closed.
        is_own: Whether an address is one of this machine's: what listens on it may be meant for
            the inside only, whatever kind of address it is.

    Attributes:
        allow_hosts: The hosts that an operator allowed by name.

    Raises:
        SettingsError: A setting makes no sense.
    """

    def __init__(
        self, settings: Settings, is_own: Callable[[Address], bool] = is_own_address
    ) -> None:
        self._networks = [ipaddress.ip_network(text) for text in settings.allow_networks]
        self.allow_hosts: Final = Hosts(settings.allow_hosts, "TASKFLOW_ALLOW_HOSTS")
        self._deny_hosts = Hosts(settings.deny_hosts, "TASKFLOW_DENY_HOSTS")
        self._ports = Ports(settings.allow_ports)
        self._is_own = is_own

    def admit(self, target: Target) -> None:
        """Check the URL itself, before the lookup of its name.

        Raises:
            Blocked: The host is denied, or its port or literal address is not allowed.
        """
        self._check_denied(target.host)
        if target.port not in self._ports:
            raise Blocked(
                f"port {target.port} is not allowed; TASKFLOW_ALLOW_PORTS can allow it",
                Refusal.PORT,
            )
        if target.address is None:
            return
        if (closed := self._closed_block(target.address, target.host)) is not None:
            raise Blocked(
                f"{target.host} is {closed.meaning}; TASKFLOW_ALLOW_NETWORKS can allow it",
                Refusal.ADDRESS,
            )

    def admit_name(self, target: Target) -> None:
        """Check the name of a target whose addresses only a proxy will see.

        Raises:
            Blocked: The name is internal, and not allowed.
        """
        host = target.host
        if target.address is not None or host in self.allow_hosts:
            return
        if "." not in host or host.endswith(INTERNAL_SUFFIXES):
            raise Blocked(
                f"{host} is an internal name; TASKFLOW_ALLOW_HOSTS can allow it",
                Refusal.INTERNAL_NAME,
            )

    def judge(self, target: Target, addresses: Sequence[Address]) -> None:
        """Check all addresses of a target that ``admit`` allowed.

        Raises:
            Blocked: An address is not allowed. The message does not name it, because that would
                reveal internal names to strangers.
            NameNotResolved: There are too many addresses.
        """
        if target.address is not None:
            return
        if len(addresses) > MAX_ADDRESSES:
            raise NameNotResolved(f"{target.host}: more than {MAX_ADDRESSES} addresses")
        if is_local_name(target.host) and not all(map(_is_local, addresses)):
            raise Blocked(
                f"{target.host} does not resolve to a loopback address, as it must (RFC 6761)",
                Refusal.RESOLVED_ADDRESS,
            )
        for address in addresses:
            if self._closed_block(address, target.host) is not None:
                raise Blocked(
                    f"{target.host} does not resolve to public addresses only; "
                    "TASKFLOW_ALLOW_HOSTS or TASKFLOW_ALLOW_NETWORKS can allow it",
                    Refusal.RESOLVED_ADDRESS,
                )

    def _check_denied(self, host: str) -> None:
        if host in self._deny_hosts:
            raise Blocked("the host is denied by TASKFLOW_DENY_HOSTS", Refusal.DENIED_HOST)

    def _closed_block(self, address: Address, host: str) -> Special | None:
        """Return the special block that blocks an address of a host; ``None`` if it is allowed.

        Raises:
            Blocked: The address, or one that it embeds, is denied.
        """
        for one in (address, *embedded_ipv4(address)):
            self._check_denied(str(one))
        special = self._special_of(address)
        is_open = special is None or self._is_open(address, special, host)
        return None if is_open else special

    def _special_of(self, address: Address) -> Special | None:
        special = special_of(address)
        if special is None and self._is_own(address):
            return own_block(address)
        return special

    def _is_open(self, address: Address, special: Special, host: str) -> bool:
        """Return whether the operator allowed a special address, by network or for this host."""
        if self._is_open_network(address, special):
            return True
        return host in self.allow_hosts and not _must_be_named(address, special)

    def _is_open_network(self, address: Address, special: Special) -> bool:
        """Return whether the operator allowed the network of an address and of those it embeds."""
        return all(self._is_open_inside(inside) for inside in embedded_ipv4(address)) and any(
            address in network
            and network.prefixlen >= special.min_prefix_length
            and (not special.is_sensitive or special.covers(network))
            for network in self._networks
            if network.version == address.version
        )

    def _is_open_inside(self, address: ipaddress.IPv4Address) -> bool:
        special = self._special_of(address)
        return special is None or self._is_open_network(address, special)


def _is_local(address: Address) -> bool:
    plain = unmapped(address)
    return plain.is_loopback or plain.is_unspecified


def _must_be_named(address: Address, special: Special) -> bool:
    """Return whether only its network can allow it: link-local, metadata, or embedding such."""
    inside = [special_of(one) for one in embedded_ipv4(address)]
    return any(one is not None and one.is_sensitive for one in (special, *inside))
