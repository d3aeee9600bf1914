"""How a client connects to a service: through which proxy, and which certificates it trusts."""

from __future__ import annotations

import importlib.util
import os
import ssl
from typing import Any, Final, NamedTuple, TypedDict
from urllib.parse import urlsplit

import httpx

from taskflow.client.environment import variables
from taskflow.client.errors import InvalidEnvironment
from taskflow.client.proxies import Proxy, proxy_for

_MAX_IDLE_CONNECTIONS: Final = 20


class HttpOptions(TypedDict, total=False):
    """Arguments of ``httpx.Client`` and ``httpx.AsyncClient``."""

    trust_env: bool
    limits: httpx.Limits
    transport: Any
    proxy: httpx.Proxy | None
    verify: ssl.SSLContext


class Route(NamedTuple):
    """How to connect.

    Attributes:
        options: Arguments of the HTTP client.
        via: For errors: names the proxy, if there is one.
    """

    options: HttpOptions
    via: str


def route_to(url: str, transport: Any = None) -> Route:
    """Return how to connect to a service.

    Args:
        url: Where it is.
        transport: What makes the connections instead; then the environment does not matter.

    Raises:
        InvalidEnvironment: A variable of the environment cannot be used.
    """
    options: HttpOptions = {
        "trust_env": False,  # httpx would raise errors of its own, and use proxies for loopback
        "limits": httpx.Limits(
            max_connections=None, max_keepalive_connections=_MAX_IDLE_CONNECTIONS
        ),
    }
    if transport is not None:
        return Route({**options, "transport": transport}, "")
    proxy = proxy_for(url, variables())
    needs_trust = urlsplit(url).scheme == "https"
    options["verify"] = _trust() if needs_trust else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if proxy is None:
        return Route(options, "")
    return Route({**options, "proxy": _client_proxy(proxy)}, f" through {proxy}")


def _client_proxy(proxy: Proxy) -> httpx.Proxy:
    if proxy.is_socks and importlib.util.find_spec("socksio") is None:
        raise InvalidEnvironment(
            f"{proxy.variable} names a SOCKS proxy, which needs a package: "
            "run `pip install 'httpx[socks]'`, or use an HTTP proxy"
        )
    context = _trust() if proxy.url.startswith("https:") else None
    return httpx.Proxy(proxy.url, ssl_context=context)


def _trust() -> ssl.SSLContext:
    """The certificates to trust: those of SSL_CERT_FILE or SSL_CERT_DIR, or certifi's."""
    if path := variables().get("SSL_CERT_FILE"):
        return _trust_of("SSL_CERT_FILE", path, is_folder=False)
    if path := variables().get("SSL_CERT_DIR"):
        return _trust_of("SSL_CERT_DIR", path, is_folder=True)
    return httpx.create_ssl_context(trust_env=False)


def _trust_of(variable: str, path: str, *, is_folder: bool) -> ssl.SSLContext:
    try:
        if is_folder:
            with os.scandir(path):
                pass  # OpenSSL accepts a folder that is not there
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        kind = "folder" if is_folder else "file"
        raise InvalidEnvironment(
            f"{variable}={path!r} cannot be used: {why}; it must be a {kind} of PEM certificates"
        ) from None
