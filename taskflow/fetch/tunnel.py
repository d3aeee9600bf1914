"""Connections to a proxy, and tunnels through it to targets (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final

import trio

from taskflow.fetch.dialing import dial, secure, start_tls
from taskflow.fetch.errors import (
    MAPPED,
    NotConnected,
    ProxyFailed,
    is_file_descriptor_shortage,
    mapped_errors,
)
from taskflow.fetch.resolver import Resolver
from taskflow.fetch.stream import RECEIVE_BYTES, TlsStream
from taskflow.http1.events import ResponseHead
from taskflow.http1.readers import ResponseReader
from taskflow.http1.writing import request_head
from taskflow.model.hostname import Address, bracketed
from taskflow.model.invalid_url import FetchError
from taskflow.model.outcome import reason_phrase
from taskflow.model.proxy import Proxy
from taskflow.model.url import Target

MAX_PROXY_SECONDS: Final = 30.0
"""Timeout of a proxy, from the lookup of its name until it has connected to a target."""

SHARE_OF_TIME: Final = 0.9
"""Maximum share of the remaining time of a fetch, so that its timeout is not reached first."""

PROBE_SECONDS: Final = 1.0
"""Timeout of the connection that shows whether a proxy still accepts connections."""

HOLD_SECONDS: Final = 0.5
"""Time for which a proxy that works does not close a new connection.

The kernel closes the sockets of a killed process one by one, the listening socket last: until then
it still accepts connections, and resets them when the listening socket is closed.
"""

_SUCCESS: Final = range(200, 300)
_UNREACHABLE: Final = frozenset(
    (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
)


class Refused(ProxyFailed):
    """The proxy answers, but did not connect to the target.

    Args:
        reason: What the proxy answered.
        target: The target.
    """

    def __init__(self, reason: str, target: Target) -> None:
        super().__init__(reason)
        self.origin = target.origin


class Unreachable(NotConnected):
    """The proxy answers, and could not connect to the target either."""


async def connect_to(
    proxy: Proxy, resolver: Resolver, context: ssl.SSLContext
) -> trio.SocketStream | trio.SSLStream[trio.abc.Stream]:
    """Connect to a proxy, with TLS if its URL is https.

    Raises:
        ProxyFailed: The connection failed.
    """
    with _failing():
        target = proxy.target
        stream = await dial(await _addresses(proxy, resolver), target.port)
        is_secure = target.scheme == "https"
        return await start_tls(stream, target.host, context) if is_secure else stream


async def open_tunnel(stream: trio.abc.Stream, proxy: Proxy, target: Target) -> None:
    """Let the proxy connect a stream to a target; the stream is closed if that fails.

    Raises:
        Unreachable: The proxy could not connect to the target.
        Refused: The proxy did not connect to the target.
        ProxyFailed: The proxy did not answer, or not with valid HTTP.
    """
    try:
        with _failing():
            await stream.send_all(_connect_request(proxy, target))
            await _receive_consent(stream, target)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def secure_through(
    stream: trio.abc.Stream, target: Target, context: ssl.SSLContext
) -> TlsStream:
    """Do the TLS handshake with a target through a tunnel.

    Raises:
        ProxyFailed: The connection broke.
        TlsFailed: The handshake failed, or the certificate is not trusted.
    """
    try:
        with mapped_errors(target.host_header):
            return await secure(stream, target.host, context)
    except FetchError as error:
        if isinstance(error, NotConnected) or _is_end_of_stream(error):
            raise ProxyFailed(
                f"{target.host_header}: the connection through the egress proxy broke in the "
                "TLS handshake"
            ) from error
        raise


def _is_end_of_stream(error: FetchError) -> bool:
    cause = error.__cause__
    return isinstance(cause, ssl.SSLEOFError) or isinstance(
        cause and cause.__cause__, ssl.SSLEOFError
    )


async def is_accepting(proxy: Proxy, resolver: Resolver) -> bool:
    """Return whether a proxy accepts a connection, and does not close it at once."""
    probe = trio.CancelScope(deadline=_deadline(PROBE_SECONDS))
    with probe, contextlib.suppress(*MAPPED, FetchError):
        stream = await dial(await _addresses(proxy, resolver), proxy.target.port)
        async with stream:
            with trio.CancelScope(deadline=_deadline(HOLD_SECONDS)):
                return bool(await stream.receive_some(1))
            return True
    return False


async def _addresses(proxy: Proxy, resolver: Resolver) -> Sequence[Address]:
    if proxy.target.address is not None:
        return (proxy.target.address,)
    return await resolver.resolve(proxy.target.host)


def _connect_request(proxy: Proxy, target: Target) -> bytes:
    authority = f"{bracketed(target.host)}:{target.port}"
    return request_head("CONNECT", authority, [("Host", authority), *proxy.credentials])


async def _receive_consent(stream: trio.abc.Stream, target: Target) -> None:
    # A response to CONNECT has no body that could be framed, like the response to a HEAD.
    reader = ResponseReader("HEAD")
    while not isinstance(event := reader.next_event(), ResponseHead):
        data = bytes(await stream.receive_some(RECEIVE_BYTES))
        if not data:
            raise ProxyFailed("the egress proxy closed the connection before its response")
        reader.feed(data)
    if event.status not in _SUCCESS:
        raise refusal_of(event.status, target)
    if reader.has_data:  # it would be taken for data of the target
        raise ProxyFailed("the egress proxy sent data after its response to CONNECT")


def refusal_of(status: int, target: Target) -> FetchError:
    """Return the error for a status with which a proxy refused a request.

    RFC 9209 section 2.3 recommends 502, 503 and 504 for targets whose name does not resolve, that
    refuse connections or do not answer. Squid sends 503 for all of these (``ERR_CONNECT_FAIL``,
    ``ERR_DNS_FAIL``), Envoy sends 503, and nginx with proxy_connect 502 and 504. These count as
    failures of the target, as if TaskFlow had connected directly: otherwise, a task whose target no
    longer exists would be started again forever.

    All other statuses are failures of the proxy, and use no attempt: 407, 403, and 500, an internal
    error of the proxy. tinyproxy also sends 500 for targets that are down.
    """
    text = f"{status} {reason_phrase(status)}".rstrip()  # its own phrase is not trusted
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ProxyFailed(f"the egress proxy does not accept its credentials: {text}")
    if status in _UNREACHABLE:
        return Unreachable(f"{target.host_header}: the egress proxy could not connect: {text}")
    return Refused(f"the egress proxy did not connect to {target.host_header}: {text}", target)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Turn all errors and the timeout of the block into ``ProxyFailed``.

    Raises:
        Unreachable: The block raised it.
        FetchError: This process has no file descriptors left.
    """
    with trio.CancelScope(deadline=_deadline(MAX_PROXY_SECONDS)) as scope:
        try:
            with mapped_errors("the egress proxy"):
                yield
        except (ProxyFailed, Unreachable):
            raise
        except FetchError as error:
            if is_file_descriptor_shortage(error):
                raise
            raise ProxyFailed(error.reason) from error
    if scope.cancelled_caught:
        raise ProxyFailed("the egress proxy did not answer in time")


def _deadline(seconds: float) -> float:
    """Return the end of this time, or of a share of the remaining time if that is earlier."""
    now = trio.current_time()
    left = trio.current_effective_deadline() - now
    return now + min(seconds, max(0.0, left) * SHARE_OF_TIME)
