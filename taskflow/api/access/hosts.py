"""The names and addresses that the service answers to, as a defense against DNS rebinding.

A page can point its own host name to 127.0.0.1, and then send requests to whatever listens there
as if it were its own server. The browser sends the name of the page in ``Host``, so the service
rejects names that are not its own. Addresses cannot be rebound.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final

from taskflow.model.errors import Misdirected

ANY_HOST: Final = "*"
_PORT: Final = re.compile(r":[0-9]*$")


class Hosts:
    """The values that ``Host`` may have: any address, localhost, and configured names.

    Args:
        names: The configured names; ``*`` allows all names.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names: Final = frozenset(name.lower().rstrip(".") for name in names)

    def check(self, host: str) -> None:
        """Check a value of ``Host``.

        Raises:
            Misdirected: It is the name of another service.
        """
        if ANY_HOST in self._names:
            return
        name = name_of(host)
        # Every browser sends a name.
        is_allowed = not name or name in self._names or is_local_name(name) or address_of(name)
        if not is_allowed:
            raise Misdirected(
                "this service does not serve the name in Host; TASKFLOW_ALLOWED_HOSTS lists "
                "its names"
            )


def allowed_hosts(names: Collection[str], *, bind: str, has_keys: bool) -> Hosts:
    """Return the names that the service answers to.

    Args:
        names: The configured names. By default, all names if there are keys, since a page that
            rebinds its name has no key; otherwise the name in ``bind``.
        bind: The address that the service listens on.
        has_keys: Whether requests need a key.
    """
    return Hosts(names or ([ANY_HOST] if has_keys else [name_of(bind)]))


def name_of(host: str) -> str:
    """Return the name or address in ``Host`` or in a bind address, without the port."""
    return _PORT.sub("", host).strip("[]").rstrip(".").lower()


def is_local_name(name: str) -> bool:
    """Return whether a name is a loopback name (RFC 6761, section 6.3)."""
    return name == "localhost" or name.endswith(".localhost")


def is_loopback(name: str) -> bool:
    """Return whether only this machine can reach a name or an address."""
    address = address_of(name)
    return is_local_name(name) if address is None else address.is_loopback


def is_loopback_bind(bind: str) -> bool:
    """Return whether only this machine can reach a bind address."""
    return bind.startswith("unix:") or is_loopback(name_of(bind))


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in a text; an IPv4 address that is mapped to IPv6 as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
