"""The database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from taskflow.cli.local.checks.check import Finding, failed, ok, warning
from taskflow.cli.local.checks.zones import difference
from taskflow.model.display import duration, size
from taskflow.model.errors import StoreError
from taskflow.model.zones import zone_database
from taskflow.service import MEMORY_URL, is_postgres_url
from taskflow.settings import Settings
from taskflow.store.embedded import default_data_dir
from taskflow.store.embedded.discovery import find_server
from taskflow.store.postgres.inspection import DatabaseReport, examine_database

LEAST_FREE_BYTES: Final = 2**30
MOST_SKEW_SECONDS: Final = 2.0
LONG_TRANSACTION_SECONDS: Final = 300.0
_MORE_CONNECTIONS: Final = 2  # beside the pool, see TASKFLOW_DATABASE_CONNECTIONS
_OLDEST_MAJOR: Final = 14
_PGBOUNCER_SAYS: Final = "unsupported startup parameter"


async def database_findings(settings: Settings) -> Iterator[Finding]:
    """Whether there is one, and how it is. Nothing is started or changed."""
    url = settings.database_url
    if url == MEMORY_URL:
        told = warning("database", "memory://: tasks are gone when the process ends")
        return iter([told])
    if not url:
        return iter(await _of_embedded(settings))
    if not is_postgres_url(url):
        advice = "write postgresql://..., or memory://, or leave it empty"
        return iter(
            [failed("database", "DATABASE_URL is not the address of a PostgreSQL database", advice)]
        )
    return iter(await _of_server(url, settings))


async def _of_embedded(settings: Settings) -> list[Finding]:
    data_dir = Path(settings.data_dir) if settings.data_dir else default_data_dir()
    try:
        found = find_server(data_dir)
    except OSError as error:
        advice = "run this as the user that runs TaskFlow, or set TASKFLOW_DATA_DIR"
        return [failed("database", f"{data_dir}: {error.strerror}", advice)]
    free = f"{size(found.free_bytes)} free at {found.data_dir}"
    told = [ok("disk", free)]
    if found.free_bytes < LEAST_FREE_BYTES:
        told = [warning("disk", free, "make room: without it PostgreSQL takes no more tasks")]
    if not found.has_data:
        return [
            ok("database", f"none yet; `taskflow serve` makes one in {found.data_dir}"),
            *told,
        ]
    if found.conninfo is None:
        return [ok("database", f"in {found.data_dir}; `taskflow serve` starts it"), *told]
    return [*await _of_server(found.conninfo, settings), *told]


async def _of_server(conninfo: str, settings: Settings) -> list[Finding]:
    try:
        report = await examine_database(
            conninfo,
            timeout_seconds=settings.database_timeout_seconds,
            pooler=settings.database_pooler,
        )
    except StoreError as error:
        advice = "see that it runs and that DATABASE_URL leads there"
        if _PGBOUNCER_SAYS in str(error):
            advice = "set TASKFLOW_DATABASE_POOLER=transaction: this is a PgBouncer"
        return [failed("database", str(error), advice)]
    return list(findings_of(report, settings))


def findings_of(report: DatabaseReport, settings: Settings) -> Iterator[Finding]:
    """What there is to say of a database."""
    about = f"PostgreSQL {report.version} at {report.place}, {size(report.size_bytes)}"
    if report.is_standby:
        yield failed("database", f"{about}: a standby", "DATABASE_URL must lead to the primary")
    elif int(report.version.partition(".")[0]) < _OLDEST_MAJOR:
        yield failed("database", about, f"use PostgreSQL {_OLDEST_MAJOR} or newer")
    else:
        yield ok("database", about)
    if not report.is_durable:
        yield warning(
            "durability", "fsync is off: a crash of the machine loses tasks", "set fsync = on"
        )
    if not report.is_synchronous:
        yield warning(
            "durability",
            "synchronous_commit is off: a crash of the server loses the last tasks",
            "set synchronous_commit = on for this role and database",
        )
    yield from (failed(unfit.check, unfit.detail, unfit.advice) for unfit in report.unfit)
    yield _migrations(report)
    yield _clock(report)
    yield _connections(report, settings)
    yield _pooler(report, settings)
    yield from difference([*report.tz_versions, zone_database().version])
    longest = report.longest_transaction_seconds
    if longest is not None and longest > LONG_TRANSACTION_SECONDS:
        yield warning(
            "transactions",
            f"one has been open for {duration(longest)}, which keeps dead rows from being removed",
            "find it in pg_stat_activity by xact_start, and end it",
        )


def _migrations(report: DatabaseReport) -> Finding:
    if report.unknown:
        numbers = ", ".join(map(str, report.unknown))
        return failed(
            "migrations",
            f"the database is newer than this TaskFlow (it has {numbers})",
            "install the version that made it, or a later one",
        )
    if report.pending:
        numbers = ", ".join(map(str, report.pending))
        return warning(
            "migrations",
            f"to be applied: {numbers}",
            "`taskflow migrate` does it, and so does the next start",
        )
    return ok("migrations", "up to date")


def _clock(report: DatabaseReport) -> Finding:
    ahead = report.clock_ahead_seconds
    told = f"the database's is {'ahead' if ahead >= 0 else 'behind'} by {duration(abs(ahead))}"
    if abs(ahead) - report.clock_error_seconds > MOST_SKEW_SECONDS:
        return warning(
            "clock",
            told,
            "have both machines set their clocks by NTP; when tasks run, the database's decides",
        )
    return ok("clock", told)


def _connections(report: DatabaseReport, settings: Settings) -> Finding:
    each = settings.database_connections + _MORE_CONNECTIONS
    left = report.connections - report.connections_in_use
    told = (
        f"{report.connections_in_use} of {report.connections} in use; a process takes {each}, "
        f"so there is room for {max(0, left // each)} more"
    )
    if report.nodes is not None:
        alive = "1 node is" if report.nodes == 1 else f"{report.nodes} nodes are"
        told += f"; {alive} alive"
    if left < each and not report.has_pooler:
        return warning(
            "connections", told, "raise max_connections, or set TASKFLOW_DATABASE_CONNECTIONS lower"
        )
    return ok("connections", told)


def _pooler(report: DatabaseReport, settings: Settings) -> Finding:
    is_set = settings.database_pooler == "transaction"
    if report.has_pooler and not is_set:
        return failed(
            "pooler",
            "there is a pooler between, and the settings do not say so",
            "set TASKFLOW_DATABASE_POOLER=transaction, or connect past it",
        )
    if is_set and not report.has_pooler:
        return warning(
            "pooler",
            "TASKFLOW_DATABASE_POOLER=transaction, and there is none between",
            "unset it: nodes then hear of new tasks at once",
        )
    return ok("pooler", "in transaction mode" if is_set else "none")
