"""Which proxy the environment names for an address: plain functions.

As curl reads the variables: ``http_proxy`` or ``https_proxy`` by the scheme of the address, else
``all_proxy``, in small letters before capitals, except for what ``no_proxy`` lists. Unlike curl,
loopback addresses never go through a proxy.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from taskflow.client.errors import InvalidEnvironment

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_PORTS: Final = {"http": 80, "https": 443}
_ENTRY: Final = re.compile(r"(?:([a-z]+)://)?(.*)")
_WITH_PORT: Final = re.compile(r"(\[[^]]*\]|[^:\[\]]*):([0-9]{1,5})")
_SEPARATORS: Final = re.compile(r"[\s,]+")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(NamedTuple):
    """A proxy, and what named it.

    Attributes:
        url: Its address, with its password if it has one.
        variable: The variable of the environment.
    """

    url: str
    variable: str

    def __str__(self) -> str:
        """For errors: without user and password."""
        parts = urlsplit(self.url)
        return f"the proxy {parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.variable})"

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, which needs a package of its own."""
        return self.url.startswith("socks")


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an address; ``None`` to connect directly.

    Args:
        url: A valid address of the scheme http or https.
        environ: The variables of the environment.

    Raises:
        InvalidEnvironment: A variable that matters here is not the address of a proxy.
    """
    if is_loopback(url):
        return None
    scheme = urlsplit(url).scheme
    variable, value = _named(scheme, environ)
    if not value or _is_exempt(url, _value(environ, "no_proxy")[1]):
        return None
    proxy = Proxy(value if "://" in value else f"http://{value}", variable)
    if not _is_usable(proxy.url):
        raise InvalidEnvironment(
            f"{variable} is not the address of a proxy, such as http://proxy.example:3128; "
            f"correct or unset it, or add the host of TaskFlow to NO_PROXY"
        )
    return proxy


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine without leaving it."""
    try:
        host = _host_of(urlsplit(url))
    except ValueError:
        return False
    address = _address_of(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _named(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names a proxy, and its value, which may be empty."""
    found = _value(environ, f"{scheme}_proxy")
    if found[0] == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        found = ("", "")  # under CGI the header `Proxy` of a request would be this variable
    return found if found[0] else _value(environ, "all_proxy")


def _value(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """The first of a variable's spellings that is set, and its value."""
    for variable in (name, name.upper()):
        if variable in environ:
            return variable, environ[variable].strip()
    return "", ""


def _is_usable(proxy_url: str) -> bool:
    try:
        parts = urlsplit(proxy_url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as sockets do: no label is empty or too long
    except ValueError:
        return False
    is_plain = proxy_url.isascii() and proxy_url.isprintable() and " " not in proxy_url
    return is_plain and parts.scheme in _SCHEMES and bool(parts.hostname) and port != 0


def _is_exempt(url: str, no_proxy: str) -> bool:
    parts = urlsplit(url)
    return any(_matches(entry, parts) for entry in _SEPARATORS.split(no_proxy.lower()) if entry)


def _matches(entry: str, parts: SplitResult) -> bool:
    """Whether an entry of NO_PROXY is for an address; one that makes no sense is for none."""
    if entry == "*":
        return True
    found = _ENTRY.fullmatch(entry)
    scheme, rest = (found[1], found[2].rstrip("/")) if found else (None, entry)
    if scheme not in (None, "all", parts.scheme):
        return False
    if with_port := _WITH_PORT.fullmatch(rest):
        if int(with_port[2]) != (parts.port or _PORTS[parts.scheme]):
            return False
        rest = with_port[1]
    host = _host_of(parts)
    address = _address_of(host)
    if address is not None:
        return _holds(rest, address)
    name = rest.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _holds(entry: str, address: _Address) -> bool:
    """Whether an entry is this address, or a network that it is in."""
    written, slash, prefix = entry.partition("/")
    written = written.removeprefix("[").removesuffix("]")
    with contextlib.suppress(ValueError):
        return address in ipaddress.ip_network(f"{written}{slash}{prefix}", strict=False)
    return False


def _host_of(parts: SplitResult) -> str:
    return unquote(parts.hostname or "").lower().rstrip(".").partition("%")[0]


def _address_of(host: str) -> _Address | None:
    """The IP address that a host is, also in the old forms such as 127.1."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return mapped or address
    return _old_form_of(host) if host[:1].isdigit() and host.isascii() else None


def _old_form_of(host: str) -> _Address | None:
    """An IPv4 address with fewer than four numbers, of which the last fills the rest."""
    with contextlib.suppress(ValueError):
        *first, last = [int(number, 0) for number in host.split(".")]
        if len(first) <= 3 and all(number <= 0xFF for number in first):  # noqa: PLR2004 - a byte
            high = int.from_bytes(bytes([*first, 0, 0, 0, 0][:4]), "big")
            return ipaddress.IPv4Address(high + last)
    return None
