"""The seam to name resolution: a name in, addresses out."""

from __future__ import annotations

import abc
import ipaddress
import socket

import trio

from taskflow.fetch.errors import NameNotResolved
from taskflow.fetch.hostname import Address


class Resolver(abc.ABC):
    """Finds the addresses of a name. ``SystemResolver`` asks the system; tests bring a fake."""

    @abc.abstractmethod
    async def resolve(self, name: str) -> tuple[Address, ...]:
        """The addresses of a name, the preferred first.

        Raises:
            socket.gaierror: The name does not resolve.
            NameNotResolved: It does, but to nothing.
        """


class SystemResolver(Resolver):
    """Asks ``getaddrinfo``, which reads hosts files and resolv.conf as the system does.

    Its threads have a limiter of their own: names that hang must not hold up the threads of
    anything else. A lookup that is cancelled is abandoned, and its thread stays counted
    until the system gives up on the name.

    Args:
        threads: How many names may be looked up at once.
    """

    def __init__(self, threads: int) -> None:
        self._limiter = trio.CapacityLimiter(threads)

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """See ``Resolver``."""
        addresses = await trio.to_thread.run_sync(
            _look_up, name, abandon_on_cancel=True, limiter=self._limiter
        )
        if not addresses:
            raise NameNotResolved(f"{name}: there is no address")
        return addresses


def _look_up(name: str) -> tuple[Address, ...]:
    # As bytes, or Python would run its own, older IDNA over a name that is ready.
    answers = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    found = (_address_of(family, str(sockaddr[0])) for family, _, _, _, sockaddr in answers)
    return tuple(dict.fromkeys(address for address in found if address))


def _address_of(family: int, text: str) -> Address | None:
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(text)
    # A zone would make it link-local, which no public name has.
    return ipaddress.IPv6Address(text) if family == socket.AF_INET6 and "%" not in text else None
