"""The connection pool: opens connections to origins, keeps idle ones, and reuses them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
import trio

from taskflow.fetch.authentication import ClientTls
from taskflow.fetch.dialing import dial, secure
from taskflow.fetch.errors import BadResponse, NotConnected, ProxyFailed, mapped_errors
from taskflow.fetch.guard import Guard
from taskflow.fetch.resolver import Resolver
from taskflow.fetch.stream import Connection, PlainStream, PoolKey, Stream, TlsStream, pool_key_of
from taskflow.fetch.tunnel import connect_to, is_accepting, open_tunnel, secure_through
from taskflow.model.hostname import Address
from taskflow.model.invalid_url import FetchError
from taskflow.model.proxy import Proxy
from taskflow.model.url import Target

IDLE_SECONDS: Final = 30.0
"""Idle timeout of a connection."""

Dial: TypeAlias = Callable[[Target], Stream]
"""Returns a connection to a target in place of the network."""


class Statistics(msgspec.Struct, frozen=True):
    """Counters of a connection pool.

    Attributes:
        opened: Connections opened so far.
        reused: Requests that reused a connection.
        idle: Idle connections.
        in_use: Connections that serve a request.
    """

    opened: int
    reused: int
    idle: int
    in_use: int


class IdleConnections:
    """Idle connections, limited in number and time.

    Expired connections are closed whenever one is added or taken, so no background task is needed.

    Args:
        per_origin: Maximum number of idle connections per origin and proxy.
        overall: Maximum number of idle connections.
    """

    def __init__(self, per_origin: int, overall: int) -> None:
        self._per_origin = per_origin
        self._overall = overall
        self._by_key: dict[PoolKey, list[Connection]] = {}
        self._idle_since: dict[Connection, float] = {}  # the oldest first

    def __len__(self) -> int:
        """Return the number of idle connections."""
        return len(self._idle_since)

    def take(self, key: PoolKey) -> Connection | None:
        """Return the most recently used connection with this key that is still usable, if any."""
        self._close_expired()
        while connections := self._by_key.get(key):
            connection = connections[-1]
            self._forget(connection)
            if connection.is_quiet:
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Add a connection; at a limit, close the one that has been idle for the longest."""
        self._close_expired()
        siblings = self._by_key.get(connection.pool_key, [])
        if len(siblings) >= self._per_origin:
            self._drop(siblings[0])
        elif len(self) >= self._overall:
            self._drop(next(iter(self._idle_since)))
        self._by_key.setdefault(connection.pool_key, []).append(connection)
        self._idle_since[connection] = trio.current_time()

    def close(self) -> None:
        """Close all idle connections."""
        for connection in list(self._idle_since):
            self._drop(connection)

    def _close_expired(self) -> None:
        if not self._idle_since:
            return
        latest = trio.current_time() - IDLE_SECONDS
        while self._idle_since:
            oldest, since = next(iter(self._idle_since.items()))
            if since > latest:
                return
            self._drop(oldest)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        del self._idle_since[connection]
        siblings = self._by_key[connection.pool_key]
        siblings.remove(connection)
        if not siblings:
            del self._by_key[connection.pool_key]


class Transport:
    """Acquires and releases connections, within the rules of the guard.

    Args:
        resolver: Resolves names to addresses.
        ssl_context: The TLS configuration; for HTTP/1.1 only.
        guard: Decides which targets are allowed.
        idle: The idle connections.
        dial: Connects in place of the network: no guard, name, certificate or proxy matters.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        ssl_context: ssl.SSLContext,
        guard: Guard,
        idle: IdleConnections,
        dial: Dial | None = None,
    ) -> None:
        self._dial = dial
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._guard = guard
        self._idle = idle
        self._in_use: set[Connection] = set()
        self._is_closed = False
        self._opened = 0
        self._reused = 0

    async def acquire(
        self,
        target: Target,
        proxy: Proxy | None = None,
        *,
        fresh: bool = False,
        tls: ClientTls | None = None,
    ) -> Connection:
        """Return a connection to the target's origin. The caller must release it.

        Args:
            target: The target.
            proxy: The proxy to connect through; ``None`` for a direct connection.
            fresh: True to open a new connection.
            tls: The TLS configuration of a credential.

        Raises:
            FetchError: The target is blocked, its name does not resolve, the connection fails, or
                its certificate is not trusted.
        """
        if self._dial is not None:
            dialed = Connection(self._dial(target), target)
            self._in_use.add(dialed)
            return dialed
        key = pool_key_of(target, proxy, "" if tls is None else tls.name)
        connection = None if fresh else self._idle.take(key)
        if connection is None:
            self._guard.admit(target)  # idle connections lead to admitted origins only
            context = self._ssl_context if tls is None else tls.context
            connection = await (
                self._open(target, context)
                if proxy is None
                else self._open_through(proxy, target, context)
            )
            connection.pool_key = key
            self._opened += 1
        else:
            connection.reuse()
            self._reused += 1
        self._in_use.add(connection)
        return connection

    def release(self, connection: Connection, *, is_reusable: bool) -> None:
        """Release a connection: keep it if it is reusable, otherwise close it."""
        self._in_use.discard(connection)
        if is_reusable and connection.is_open and not self._is_closed:
            self._idle.put(connection)
        else:
            connection.close()

    def statistics(self) -> Statistics:
        """Return the counters."""
        return Statistics(
            opened=self._opened,
            reused=self._reused,
            idle=len(self._idle),
            in_use=len(self._in_use),
        )

    def close(self) -> None:
        """Close all connections, including those in use, and keep none from now on."""
        self._is_closed = True
        self._idle.close()
        for connection in self._in_use:
            connection.close()

    async def cause_of(self, error: FetchError, connection: Connection) -> FetchError:
        """Return the error of a fetch, which is its proxy's if that broke the connection.

        A target that closes a connection looks like a proxy that dies, until the proxy is tried
        again. A proxy that forwards requests answers even if the target does not.
        """
        proxy = connection.proxy
        if proxy is None or not isinstance(error, NotConnected | BadResponse):
            return error
        is_silent = connection.is_forwarded and not connection.received
        if (is_silent and not connection.is_reused) or not await is_accepting(
            proxy, self._resolver
        ):
            reason = "the connection through the egress proxy broke"
            return ProxyFailed(f"{reason}: {error.reason}", may_have_been_sent=True)
        return error

    async def _open_through(
        self, proxy: Proxy, target: Target, context: ssl.SSLContext
    ) -> Connection:
        self._guard.admit_name(target)
        stream = await connect_to(proxy, self._resolver, self._ssl_context)
        if target.scheme == "https":
            await open_tunnel(stream, proxy, target)
            secured = await secure_through(stream, target, context)
            return Connection(secured, target, proxy)
        if isinstance(stream, trio.SSLStream):
            return Connection(TlsStream(stream), target, proxy)
        return Connection(PlainStream(stream), target, proxy)

    async def _open(self, target: Target, context: ssl.SSLContext) -> Connection:
        addresses = await self._resolve(target)
        # Between the only lookup and the connection, so that only checked addresses are used, even
        # if the name resolves differently a moment later (DNS rebinding).
        self._guard.judge(target, addresses)
        with mapped_errors(f"{target.host_header}"):
            stream = await dial(addresses, target.port)
            if target.scheme == "https":
                return Connection(await secure(stream, target.host, context), target)
            return Connection(PlainStream(stream), target)

    async def _resolve(self, target: Target) -> tuple[Address, ...]:
        if target.address is not None:
            return (target.address,)
        with mapped_errors(target.host):
            return await self._resolver.resolve(target.host)
