"""The address of the database: one host, or several, of which one accepts writes.

libpq and psycopg try the hosts of an address in its order. If the first one is dead, each
connection would wait for its ``connect_timeout``. So the host of the latest connection is tried
first.
"""

from __future__ import annotations

import contextlib
import re
import threading
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn

from taskflow.telemetry import Event, emit

_DEFAULT_PORT: Final = "5432"
_ATTRIBUTES: Final = "target_session_attrs"
_ANY: Final = "any"  # the default of libpq
_READ_WRITE: Final = "read-write"
# An error of an address with several hosts has a line for each attempt.
_FAILURE: Final = re.compile(
    r"^- host: (?P<host>.*?), port: (?P<port>.*?), hostaddr: .*?: (?P<reason>.*)$", re.MULTILINE
)

AnyConnection: TypeAlias = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


# The attempt to connect that this thread or task makes: its address, and how often that had moved.
_attempt: Final[ContextVar[tuple[DatabaseAddress, int] | None]] = ContextVar(
    "attempt", default=None
)


class Host(NamedTuple):
    """One host of an address; empty values are the defaults of libpq."""

    name: str
    port: str
    hostaddr: str

    def is_of(self, connection: AnyConnection) -> bool:
        """Return whether a connection is to this host."""
        info = connection.info
        return (
            info.host == (self.name or self.hostaddr)
            and info.port == int(self.port or _DEFAULT_PORT)
            and self.hostaddr in {"", info.hostaddr}
        )

    def __str__(self) -> str:
        return f"{self.name or self.hostaddr}:{self.port or _DEFAULT_PORT}"


class DatabaseAddress:
    """The address of every connection of a process to its database.

    An address with several hosts has ``target_session_attrs=read-write``, unless it, the
    environment or a service file says otherwise: a connection to a standby is of no use. All pools
    share one object, which may be used by several threads.

    Args:
        conninfo: A URL or a connection string. An invalid one is an error of the connection.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo: Final = conninfo
        parameters = _effective_parameters(conninfo)
        self._hosts: Final = _hosts_of(parameters)
        self._defaults: Final = _defaults_of(conninfo, parameters)
        # With ``load_balance_hosts=random`` psycopg shuffles the hosts: that order was asked for.
        self._is_random: Final = parameters.get("load_balance_hosts") == "random"
        self._lock: Final = threading.Lock()
        self._current: int | None = None
        self._moves = 0
        self._is_suspect = False

    @property
    def number_of_hosts(self) -> int:
        """The number of hosts, at least 1."""
        return len(self._hosts) or 1

    def conninfo(self) -> str:
        """Return the address for the next connection: the host of the latest one comes first.

        If it is suspect, it comes last. The thread or task that connects calls this first, and
        ``note`` at last.
        """
        _attempt.set((self, self._moves))
        if not self._hosts:
            return self._conninfo
        hosts = list(self._hosts)
        if self._current is not None and not self._is_random:
            hosts.insert(len(hosts) if self._is_suspect else 0, hosts.pop(self._current))
        lists = {
            "host": [host.name for host in hosts],
            "port": [host.port for host in hosts],
            "hostaddr": [host.hostaddr for host in hosts],
        }
        joined = {name: ",".join(values) for name, values in lists.items() if any(values)}
        return make_conninfo(self._conninfo, **self._defaults, **joined)

    def note(self, connection: AnyConnection) -> None:
        """Remember the host of a new connection.

        An attempt that began before the address moved does not move it back. It may have waited for
        the former primary, which hung, and which accepts connections and writes again until it
        learns that it was replaced: tasks that exist would not be found there.
        """
        index = self._index_of(connection)
        if index is None:
            return
        with self._lock:
            is_move = self._current not in {None, index} and not self._is_random
            if is_move and self._began_before_a_move():
                return
            self._current = index
            self._moves += is_move
            self._is_suspect = False
        if is_move:
            emit(Event.DATABASE_HOST_CHANGED, host=str(self._hosts[index]))

    def suspect(self, connection: AnyConnection) -> None:
        """Note that a call got no response in time: the next attempt tries the other hosts first.

        Its host may be a former primary whose manager has died: it accepts connections and writes
        for ever, and each commit waits for standbys that follow another server.
        """
        with contextlib.suppress(psycopg.OperationalError):  # it is closed already
            index = self._index_of(connection)
            with self._lock:
                self._is_suspect = self._is_suspect or index == self._current

    def _began_before_a_move(self) -> bool:
        address, moves = _attempt.get() or (None, 0)
        return address is self and moves < self._moves

    def is_current(self, connection: AnyConnection) -> bool:
        """Return whether a connection is to the host of the latest one.

        After a failover others are to a server that is dead, or about to be: a call on such a
        connection would fail, or hang until its timeout.
        """
        if self._current is None or self._is_random:
            return True
        return self._index_of(connection) in {None, self._current}

    def host_number(self, connection: AnyConnection) -> int:
        """Return which host a connection is to, from 1 in the order of the address."""
        return (self._index_of(connection) or 0) + 1

    def _index_of(self, connection: AnyConnection) -> int | None:
        for index, host in enumerate(self._hosts):
            if host.is_of(connection):
                return index
        return None


def address_of(conninfo: str | DatabaseAddress) -> DatabaseAddress:
    """Return an address that may be shared, or a new one for a URL or a connection string."""
    return conninfo if isinstance(conninfo, DatabaseAddress) else DatabaseAddress(conninfo)


def failures_of(error: psycopg.Error) -> str:
    """Return the error of each host, in one line; empty if there was only one attempt."""
    return "; ".join(
        f"{found['host']}:{found['port']}".replace("'", "") + f": {found['reason']}"
        for found in _FAILURE.finditer(str(error))
    )


def _effective_parameters(conninfo: str) -> dict[str, str]:
    """Return all parameters: of the address, of a service file, ``PG*`` variables, defaults.

    Only libpq itself knows them all, once it has begun to connect. An invalid ``sslmode`` ends
    that before it opens a socket. Empty if the address is invalid.
    """
    try:
        connection = PGconn.connect_start(make_conninfo(conninfo, sslmode="?").encode())
    except psycopg.Error:
        return {}
    try:
        return {one.keyword.decode(): one.val.decode() for one in connection.info if one.val}
    finally:
        connection.finish()


def _hosts_of(parameters: dict[str, str]) -> tuple[Host, ...]:
    """Return the hosts, if there are several; libpq reports lists that do not match."""
    lists = [parameters.get(name, "").split(",") for name in ("host", "port", "hostaddr")]
    count = max(len(lists[0]), len(lists[2]))
    if count == 1 or any(len(values) not in {1, count} for values in lists):
        return ()
    return tuple(
        map(Host, *(values if len(values) == count else values * count for values in lists))
    )


def _defaults_of(conninfo: str, parameters: dict[str, str]) -> dict[str, str]:
    """Return parameters that several hosts need and that are not set.

    Outside the address, ``any`` cannot be told from the default.
    """
    if parameters.get(_ATTRIBUTES) != _ANY or _ATTRIBUTES in conninfo_to_dict(conninfo):
        return {}
    return {_ATTRIBUTES: _READ_WRITE}
