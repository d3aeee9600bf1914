"""Names and addresses of this service: which are of this machine, and which it answers to.

A page in a browser can have its own name point to 127.0.0.1 and then ask whatever listens
there, as if it were its own server (DNS rebinding). The browser says the page's name in
``Host``, so a name that is not this service's is refused. Addresses cannot be rebound.
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
    """The names that ``Host`` may be. Addresses and localhost always are.

    Args:
        names: Further ones; ``*`` among them stands for all.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names: Final = frozenset(name.lower().rstrip(".") for name in names)

    def check(self, host: str) -> None:
        """Let a value of ``Host`` pass.

        Raises:
            Misdirected: It names another service.
        """
        if ANY_HOST in self._names:
            return
        name = name_of(host)
        # No browser leaves it out.
        is_ours = not name or name in self._names or is_local_name(name) or address_of(name)
        if not is_ours:
            raise Misdirected(
                "this service does not go by the name in Host; TASKFLOW_ALLOWED_HOSTS has its names"
            )


def allowed_hosts(names: Collection[str], *, bind: str, has_keys: bool) -> Hosts:
    """The names that are answered to.

    Args:
        names: As they are set; without any, all of them where there are keys (a page that
            rebinds its name has no key), and else that of ``bind``.
        bind: Where the service listens.
        has_keys: Whether keys are needed.
    """
    return Hosts(names or ([ANY_HOST] if has_keys else [name_of(bind)]))


def name_of(host: str) -> str:
    """The name or address in a ``Host`` or an address to listen on, without the port."""
    return _PORT.sub("", host).strip("[]").rstrip(".").lower()


def is_local_name(name: str) -> bool:
    """Whether a name is this machine's by definition (RFC 6761, section 6.3)."""
    return name == "localhost" or name.endswith(".localhost")


def is_loopback(name: str) -> bool:
    """Whether a name or an address can be reached from this machine only."""
    address = address_of(name)
    return is_local_name(name) if address is None else address.is_loopback


def is_loopback_bind(bind: str) -> bool:
    """Whether only this machine can reach who listens there."""
    return bind.startswith("unix:") or is_loopback(name_of(bind))


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is; one of IPv4 also as who listens for both kinds sees it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
