"""The head of a request: what access rules depend on, and the names that the service answers to.

Names are a defense against DNS rebinding: a page can point its own host name to 127.0.0.1, and then
send requests to whatever listens there as if it were its own server. The browser sends the name of
the page in ``Host``, so the service rejects names that are not its own. Addresses cannot be
rebound.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from taskflow.model.errors import Misdirected
from taskflow.model.hostname import is_local_name, unmapped

# What an ASGI app is called with.
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

ANY_HOST: Final = "*"
_PORT: Final = re.compile(r":[0-9]*$")


class RequestHead(msgspec.Struct, frozen=True):
    """The method, path, addresses and headers of a request.

    Attributes:
        method: The method, in capital letters.
        path: The decoded path, without the query.
        scheme: The scheme of the connection, which a proxy may have changed.
        server: The address that it was sent to; ``None`` for a Unix socket.
        client: The address that it was sent from; ``None`` for a Unix socket.
        headers: The headers, by names in lower case. Repeated headers are joined, so that no rule
            accepts one of several values.
    """

    method: str
    path: str
    scheme: str
    server: str | None
    client: str | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        """Omit the headers: a key may be among them."""
        return f"RequestHead({self.method} {self.path})"


def request_head_of(scope: Mapping[str, Any], path: str) -> RequestHead:
    """Return the head of the request of an ASGI scope."""
    return RequestHead(
        method=scope["method"],
        path=path,
        scheme=scope.get("scheme", "http"),
        server=_address(scope.get("server")),
        client=client_of(scope),
        headers=_headers(scope),
    )


def client_of(scope: Mapping[str, Any]) -> str | None:
    """Return the address of the client; ``None`` for a Unix socket."""
    return _address(scope.get("client"))


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1").strip(" \t"))
    return {name: ", ".join(several) for name, several in values.items()}


def _address(place: tuple[str, int | None] | None) -> str | None:
    # ASGI gives a Unix socket a path and no port; Hypercorn gives it nothing.
    if place is None or place[1] is None:
        return None
    return place[0]


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


@functools.lru_cache(maxsize=256)
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
    return unmapped(address)
