"""Inspection of a database for ``taskflow doctor``; changes nothing."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import psycopg
import trio

from taskflow.model.cell_map import CellMap
from taskflow.model.errors import StoreUnavailable
from taskflow.store.postgres.address import DatabaseAddress
from taskflow.store.postgres.database import connect, mapped_errors
from taskflow.store.postgres.key_rotation import key_ids_in_use
from taskflow.store.postgres.migrate import migrations, of_another_program
from taskflow.store.postgres.pool import Connection, Pooler
from taskflow.store.postgres.replication import Replication
from taskflow.store.postgres.requirements import (
    Unfit,
    place_of,
    unfit_for_migration,
    unfit_for_start,
    unfit_for_work,
    unfit_for_writes,
    unfit_tables,
)
from taskflow.store.postgres.rows import load_queries, settings_of

MAX_QUEUES: Final = 10_000
"""Number of queues of which the proxies are read."""

ENCRYPTION_CHECK_SECONDS: Final = 2.0


class DatabaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """State of a database.

    Attributes:
        place: Host, port and name, without secrets.
        version: Version of PostgreSQL, such as ``18.4``.
        is_standby: True if it accepts no writes.
        is_durable: True if commits survive a crash of the machine.
        has_full_pages: True if pages that a crash has torn can be recovered.
        has_pooler: True if there is a connection pooler in between.
        clock_ahead_seconds: Difference between its clock and this machine's.
        clock_error_seconds: Maximum error of that difference.
        pending: Numbers of migrations that are not applied yet.
        unknown: Numbers of migrations that this version does not know.
        connections: Maximum number of connections.
        connections_in_use: Current number of connections.
        longest_transaction_seconds: Age of the oldest open transaction; ``None`` if there is none,
            or if the role may not see them.
        size_bytes: Its size.
        nodes: Number of living nodes; ``None`` if there are no tables yet.
        tz_versions: Versions of their time zone databases, if known.
        is_synchronous: True if a commit is on disk before it is acknowledged.
        unfit: Requirements that are not met.
        egress_proxies: The proxies of queues by the name of the queue, with their credentials.
        encryption_keys: Ids of the keys that data is encrypted with.
        has_checked_all: Whether all data was checked for them, or there was not enough time.
        host: Which host of the address it is, from 1.
        hosts: Number of hosts in the address.
        replication: How it replicates commits.
        oidc_credential: The name of a credential of the kind ``oidc``, if there is one.
        archive_weeks: Number of weeks in the archive.
        can_archive: Whether the role can create and drop partitions of the archive.
        cell_map: Its copy of the map of cells, if it is a cell.
    """

    place: str
    version: str
    is_standby: bool
    is_durable: bool
    has_pooler: bool
    clock_ahead_seconds: float
    clock_error_seconds: float
    pending: tuple[int, ...]
    unknown: tuple[int, ...]
    connections: int
    connections_in_use: int
    longest_transaction_seconds: float | None
    size_bytes: int
    nodes: int | None
    tz_versions: tuple[str, ...] = ()
    is_synchronous: bool = True
    has_full_pages: bool = True
    host: int = 1
    hosts: int = 1
    replication: Replication = Replication()
    unfit: tuple[Unfit, ...] = ()
    egress_proxies: Mapping[str, str] = {}
    encryption_keys: frozenset[str] = frozenset()
    has_checked_all: bool = True
    oidc_credential: str | None = None
    archive_weeks: int = 0
    can_archive: bool = True
    cell_map: CellMap | None = None


async def examine_database(
    conninfo: str, *, timeout_seconds: float, pooler: Pooler
) -> DatabaseReport:
    """Inspect a database, on a connection of its own.

    Args:
        conninfo: Its address.
        timeout_seconds: Timeout of connecting, and of the queries.
        pooler: The pooler in the settings.

    Raises:
        StoreUnavailable: It cannot be reached, or does not respond in time.
        StoreUnusable: Its address is invalid.
    """
    address = DatabaseAddress(conninfo)
    # Each host has the timeout to connect.
    with trio.move_on_after((address.number_of_hosts + 1) * timeout_seconds + 1):
        return await trio.to_thread.run_sync(
            _examine, address, timeout_seconds, pooler, abandon_on_cancel=True
        )
    raise StoreUnavailable("PostgreSQL: no response in time")


def _examine(address: DatabaseAddress, timeout_seconds: float, pooler: Pooler) -> DatabaseReport:
    with (
        mapped_errors(),
        connect(address, timeout_seconds=timeout_seconds, pooler=pooler) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(f"SET LOCAL statement_timeout = {math.ceil(timeout_seconds * 1000)}")
        place = place_of(connection)
        unfit = [*unfit_for_start(connection, place, has_pooler=pooler == "transaction")]
        report = _report(connection, load_queries())
        if place.schemas:
            unfit += unfit_for_migration(connection, place, report.pending)
            unfit += unfit_for_work(connection, place)
            if not report.pending:
                unfit += unfit_for_writes(connection, place)
                unfit += unfit_tables(connection, place)
            if not unfit and not report.pending:
                report = _with_contents(report, connection)
        return msgspec.structs.replace(
            report,
            unfit=tuple(unfit),
            host=address.host_number(connection),
            hosts=address.number_of_hosts,
        )


def _with_contents(report: DatabaseReport, connection: Connection) -> DatabaseReport:
    """Add what can only be read from a complete schema."""
    sql: Any = load_queries()
    key_ids, is_complete = key_ids_in_use(
        lambda name, parameters: connection.execute(sql[name], parameters).fetchall(),
        ENCRYPTION_CHECK_SECONDS,
    )
    archive: Any = connection.execute(sql["archive_state"]).fetchone()
    return msgspec.structs.replace(
        report,
        archive_weeks=archive[0],
        can_archive=archive[1],
        egress_proxies=_egress_proxies(connection, sql),
        encryption_keys=key_ids,
        has_checked_all=is_complete,
        oidc_credential=_oidc_credential(connection, sql),
        cell_map=_cell_map(connection, sql),
    )


def _report(connection: Connection, sql: Any) -> DatabaseReport:
    connection.execute("SELECT")  # the first statement takes longer than a round trip
    sent_at = dt.datetime.now(dt.UTC)
    [row] = connection.execute(sql["examine_server"]).fetchall()
    answered_at = dt.datetime.now(dt.UTC)
    now, process, is_standby, max_connections, in_use, size, longest, *rest = row
    is_durable, has_full_pages, is_synchronous, has_ledger, has_nodes = rest
    halfway = sent_at + (answered_at - sent_at) / 2
    applied = _applied(connection, sql) if has_ledger else []
    known = [step.version for step in migrations()]
    nodes, zones = _nodes(connection, sql) if has_nodes else (None, ())
    values: dict[str, Any] = {
        "place": _place_of(connection),
        "version": "{}.{}".format(*divmod(connection.info.server_version, 10_000)),
        "is_standby": is_standby,
        "is_durable": is_durable,
        "has_full_pages": has_full_pages,
        "is_synchronous": is_synchronous,
        "replication": _replication(connection, sql),
        # A pooler makes up the number by which a call is cancelled.
        "has_pooler": process != connection.info.backend_pid,
        "clock_ahead_seconds": (now - halfway).total_seconds(),  # type: ignore[operator]
        "clock_error_seconds": (answered_at - sent_at).total_seconds() / 2,
        "pending": tuple(version for version in known if version not in applied),
        "unknown": tuple(version for version in applied if version not in known),
        "connections": max_connections,
        "connections_in_use": in_use,
        "longest_transaction_seconds": longest,
        "size_bytes": size,
        "nodes": nodes,
        "tz_versions": tuple(sorted(zones)),
    }
    return DatabaseReport(**values)


def _replication(connection: Connection, sql: Any) -> Replication:
    [(commit, names, standbys, synchronous)] = connection.execute(sql["replication"]).fetchall()
    values: Any = (commit, names, standbys, synchronous)
    return Replication(*values)


def _nodes(connection: Connection, sql: Any) -> tuple[Any, Sequence[str]]:
    [(count, versions)] = connection.execute(sql["living_nodes"]).fetchall()
    return count, versions or ()  # type: ignore[return-value]  # as the statement has it


def _egress_proxies(connection: Connection, sql: Any) -> Mapping[str, str]:
    wanted = {"name": None, "limit": MAX_QUEUES}
    found = connection.execute(sql["read_queues"], wanted).fetchall()
    proxies = ((str(name), settings_of(str(text)).egress_proxy) for name, text in found)
    return {name: proxy for name, proxy in proxies if proxy is not None}


def _oidc_credential(connection: Connection, sql: Any) -> str | None:
    row = connection.execute(sql["oidc_credential"]).fetchone()
    return None if row is None else str(row[0])


def _cell_map(connection: Connection, sql: Any) -> CellMap | None:
    row: Any = connection.execute(sql["cell_map"], {"known": 0}).fetchone()
    return None if row is None else msgspec.json.decode(row[1], type=CellMap)


def _applied(connection: Connection, sql: Any) -> Sequence[Any]:
    try:
        return _numbers(connection, sql["applied_migrations"])
    except psycopg.errors.UndefinedColumn as error:
        raise of_another_program(error) from None


def _numbers(connection: Connection, statement: str) -> Sequence[Any]:
    return [number for (number,) in connection.execute(statement)]


def _place_of(connection: Connection) -> str:
    info = connection.info
    return f"{info.host}:{info.port}/{info.dbname}"
