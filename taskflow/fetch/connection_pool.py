"""Connections to origins: made, kept while idle, and used again."""

from __future__ import annotations

import ssl
from typing import Final

import msgspec
import trio

from taskflow.fetch.dialing import dial, secure
from taskflow.fetch.errors import mapped_errors
from taskflow.fetch.guard import Guard
from taskflow.fetch.resolver import Resolver
from taskflow.fetch.stream import Connection
from taskflow.model.hostname import Address
from taskflow.model.url import Target

IDLE_SECONDS: Final = 30.0
"""How long a connection is kept for another request."""


class Statistics(msgspec.Struct, frozen=True):
    """How the connections of a transport stand.

    Attributes:
        opened: Made so far.
        reused: How often one was used again.
        idle: Kept for another request now.
        in_use: Serving a request now.
    """

    opened: int
    reused: int
    idle: int
    in_use: int


class IdleConnections:
    """Connections that wait for another request, bounded in number and in time.

    What has waited too long is closed when something is put or taken, so no task is needed
    to watch the clock.

    Args:
        per_origin: How many are kept for an origin.
        overall: How many are kept in all.
    """

    def __init__(self, per_origin: int, overall: int) -> None:
        self._per_origin = per_origin
        self._overall = overall
        self._by_origin: dict[str, list[Connection]] = {}
        self._idle_since: dict[Connection, float] = {}  # the oldest first

    def __len__(self) -> int:
        """How many there are."""
        return len(self._idle_since)

    def take(self, origin: str) -> Connection | None:
        """The connection to this origin that was put last and can still be used, if any."""
        self._close_expired()
        while connections := self._by_origin.get(origin):
            connection = connections[-1]
            self._forget(connection)
            if connection.is_quiet:
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection; the one that has waited longest makes room for it."""
        self._close_expired()
        siblings = self._by_origin.get(connection.origin, [])
        if len(siblings) >= self._per_origin:
            self._drop(siblings[0])
        elif len(self) >= self._overall:
            self._drop(next(iter(self._idle_since)))
        self._by_origin.setdefault(connection.origin, []).append(connection)
        self._idle_since[connection] = trio.current_time()

    def close(self) -> None:
        """Close all."""
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
        siblings = self._by_origin[connection.origin]
        siblings.remove(connection)
        if not siblings:
            del self._by_origin[connection.origin]


class Transport:
    """Hands out connections and takes them back.

    Args:
        resolver: Finds the addresses of names.
        ssl_context: How https is done; for HTTP/1.1 only.
        guard: Says where to connections may be made.
        idle: Keeps what may be used again.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        ssl_context: ssl.SSLContext,
        guard: Guard,
        idle: IdleConnections,
    ) -> None:
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._guard = guard
        self._idle = idle
        self._in_use: set[Connection] = set()
        self._is_closed = False
        self._opened = 0
        self._reused = 0

    async def acquire(self, target: Target, *, fresh: bool = False) -> Connection:
        """A connection to the target's origin; it must be released.

        Args:
            target: Where to.
            fresh: Whether it must be a new one.

        Raises:
            FetchError: It is not to be fetched from, or there is no address, no connection,
                or no trust.
        """
        self._guard.admit(target)
        connection = None if fresh else self._idle.take(target.origin)
        if connection is None:
            connection = await self._open(target)
            self._opened += 1
        else:
            connection.reuse()
            self._reused += 1
        self._in_use.add(connection)
        return connection

    def release(self, connection: Connection, *, is_reusable: bool) -> None:
        """Take a connection back: keep it if it may be used again, else close it at once."""
        self._in_use.discard(connection)
        if is_reusable and connection.is_open and not self._is_closed:
            self._idle.put(connection)
        else:
            connection.close()

    def statistics(self) -> Statistics:
        """How the connections stand."""
        return Statistics(
            opened=self._opened,
            reused=self._reused,
            idle=len(self._idle),
            in_use=len(self._in_use),
        )

    def close(self) -> None:
        """Close every connection, those in use included, and keep none from now on."""
        self._is_closed = True
        self._idle.close()
        for connection in self._in_use:
            connection.close()

    async def _open(self, target: Target) -> Connection:
        addresses = await self._find_addresses(target)
        # Between the one look-up and the connection, so that what is connected to is what was
        # judged, whatever the name resolves to a moment later.
        self._guard.judge(target, addresses)
        with mapped_errors(f"{target.host_header}"):
            stream = await dial(addresses, target.port)
            if target.scheme == "https":
                return Connection(await secure(stream, target.host, self._ssl_context), target)
            return Connection(stream, target)

    async def _find_addresses(self, target: Target) -> tuple[Address, ...]:
        if target.address is not None:
            return (target.address,)
        with mapped_errors(target.host):
            return await self._resolver.resolve(target.host)
