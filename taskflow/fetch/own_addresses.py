"""Which addresses are this machine's own, public ones included.

What comes from the machine itself passes most packet filters, and may reach what listens on all
addresses but is meant for the inside.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from typing import Final

from taskflow.model.hostname import Address

# For documentation (RFC 5737, RFC 3849): nobody has them.
_NOBODYS: Final = {
    4: ipaddress.ip_address("192.0.2.1"),
    6: ipaddress.ip_address("2001:db8::1"),
}


def family_of(address: Address) -> socket.AddressFamily:
    """The kind of socket that connects to an address."""
    return socket.AF_INET if isinstance(address, ipaddress.IPv4Address) else socket.AF_INET6


def is_own_address(address: Address) -> bool:
    """Whether this machine has the address: only then can a socket be bound to it."""
    return _can_bind(address) and not _binds_to_any(address.version)


@functools.cache
def _binds_to_any(version: int) -> bool:
    """Whether the system lets sockets be bound to addresses that it has not."""
    return _can_bind(_NOBODYS[version])


def _can_bind(address: Address) -> bool:
    try:
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
