"""How a client connects: where the service is, through which proxy, and when to ask again.

The one place beside ``taskflow.settings`` that reads the environment: those settings are the
service's, and need packages that are not there where only the client is.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypedDict
from urllib.parse import urlsplit

import httpx

from taskflow.client.calls import Call
from taskflow.client.errors import (
    ClientError,
    InvalidEnvironment,
    Problem,
    TooManyRequests,
    Unavailable,
    Unreachable,
)
from taskflow.client.proxies import Proxy, proxy_for

_MAX_IDLE_CONNECTIONS: Final = 20
# One step of an attempt: connecting, sending a part, the next part of the answer. The service
# promises to answer within 5 s.
STEP_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 3.0


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
    """Return the trusted certificates, from SSL_CERT_FILE, SSL_CERT_DIR or certifi."""
    if path := variables().get("SSL_CERT_FILE"):
        return _trust_of("SSL_CERT_FILE", path, is_folder=False)
    if path := variables().get("SSL_CERT_DIR"):
        return _trust_of("SSL_CERT_DIR", path, is_folder=True)
    return httpx.create_ssl_context(trust_env=False)


def _trust_of(variable: str, path: str, *, is_folder: bool) -> ssl.SSLContext:
    try:
        if is_folder:
            for folder in path.split(os.pathsep):  # OpenSSL accepts folders that are not there
                os.scandir(folder).close()
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        kind = "folder (or several, with colons between them)" if is_folder else "file"
        raise InvalidEnvironment(
            f"{variable}={path!r} cannot be used: {why}; it must be a {kind} of PEM certificates"
        ) from None


class Address(NamedTuple):
    """Where the service is, and the key to it, if it wants one."""

    url: str
    api_key: str | None


def variables() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ


def address_of(
    environ: Mapping[str, str] | None = None, defaults: Mapping[str, str | None] | None = None
) -> Address:
    """Read TASKFLOW_URL and TASKFLOW_API_KEY.

    Args:
        environ: The environment; the process's own if not given.
        defaults: What stands for what is not set there.

    Raises:
        InvalidEnvironment: TASKFLOW_URL is not set.
    """
    found = variables() if environ is None else environ

    def value_of(variable: str) -> str:
        return found.get(variable, "").strip() or ((defaults or {}).get(variable) or "").strip()

    if not (url := value_of("TASKFLOW_URL")):
        raise InvalidEnvironment("TASKFLOW_URL is not set: where is TaskFlow to be found?")
    return Address(url, value_of("TASKFLOW_API_KEY") or None)


def pause_seconds(call: Call, trouble: ClientError, *, attempt: int, chance: float) -> float | None:
    """How long to wait before asking again; ``None`` if that makes no sense, or is not safe.

    Args:
        call: What was requested.
        trouble: What came of it.
        attempt: How often it was requested, from 1.
        chance: From 0 to 1, drawn anew each time.
    """
    if not _is_passing(call, trouble):
        return None
    grown: float = min(_FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 16), _LONGEST_PAUSE_SECONDS)
    requested = trouble.retry_after_seconds if isinstance(trouble, Problem) else None
    return max(requested or 0.0, grown * (0.5 + chance / 2))


def _is_passing(call: Call, trouble: ClientError) -> bool:
    """Whether the same may go better later, and nothing is done twice by it."""
    if isinstance(trouble, TooManyRequests):  # nothing was done
        return True
    if isinstance(trouble, Unreachable):
        return not trouble.is_untrusted and (call.is_repeatable or not trouble.is_sent)
    return isinstance(trouble, Unavailable) and call.is_repeatable
