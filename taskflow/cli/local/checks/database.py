"""Checks of the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from taskflow.cell_service import cells_to_run, read_cells_file
from taskflow.cli.local.checks import Finding, failed, ok, skew_text, warning
from taskflow.cli.local.checks.egress_proxy import queue_proxy_findings
from taskflow.cli.local.checks.machine import zone_mismatch
from taskflow.cli.local.checks.public_url import missing_url_findings
from taskflow.engine.configured_secrets import read_keyring
from taskflow.model.display import duration, size
from taskflow.model.errors import SettingsError, StoreError
from taskflow.model.monitoring import ReplicationMode
from taskflow.model.zones import zone_database
from taskflow.service import MEMORY_URL, is_postgres_url
from taskflow.settings import Settings
from taskflow.store.embedded.shared_server import default_data_dir, find_server
from taskflow.store.postgres.inspection import DatabaseReport, examine_database
from taskflow.store.postgres.replication import Replication

MIN_FREE_BYTES: Final = 2**30
MAX_SKEW_SECONDS: Final = 2.0
LONG_TRANSACTION_SECONDS: Final = 300.0
_EXTRA_CONNECTIONS: Final = 2  # of a process beyond its pool; see TASKFLOW_DATABASE_CONNECTIONS
_MIN_MAJOR_VERSION: Final = 14
_PGBOUNCER_ERROR: Final = "unsupported startup parameter"


async def database_findings(settings: Settings) -> Iterator[Finding]:
    """Check the database that is configured, without starting or changing anything."""
    if settings.cells_file:
        return iter(await _of_cells(settings))
    url = settings.database_url
    if url == MEMORY_URL:
        return iter([warning("database", "memory://: all tasks are lost when the process ends")])
    if not url:
        return iter(await _of_embedded(settings))
    if not is_postgres_url(url):
        advice = "set it to postgresql://... or memory://, or leave it empty"
        return iter([failed("database", "DATABASE_URL is not the URL of a database", advice)])
    return iter(await _of_server(url, settings))


async def _of_cells(settings: Settings) -> list[Finding]:
    try:
        urls = read_cells_file(settings)
        cells_to_run(settings)
    except SettingsError as error:
        return [failed("cells", str(error), "see docs/how-to/use-cells.md")]
    findings = [ok("cells", f"{len(urls)} in {settings.cells_file}")]
    reports: dict[str, DatabaseReport] = {}
    for name, url in urls.items():
        report, found = await _examined(url, settings)
        findings += [
            msgspec.structs.replace(one, detail=f"cell {name}: {one.detail}") for one in found
        ]
        if report is not None:
            reports[name] = report
    return [*findings, *_of_map(list(urls), reports)]


def _of_map(names: Sequence[str], reports: Mapping[str, DatabaseReport]) -> Iterator[Finding]:
    """Compare the map of cells with the file and with the nodes.

    Args:
        names: The cells of the file.
        reports: The state of the cells that answer.
    """
    maps = [one.cell_map for one in reports.values() if one.cell_map is not None]
    known = max(maps, key=lambda one: one.version, default=None)
    if known is None:
        advice = "run `taskflow cells add NAME ...`"
        yield warning("cells", "there is no map of cells yet", advice)
        return
    if others := [name for name in names if known.entry(name) is None]:
        yield warning(
            "cells",
            f"not in the map of cells: {', '.join(others)}",
            "run `taskflow cells add`, or delete the lines of cells that were removed",
        )
    nodes = {name: one.nodes for name, one in reports.items() if known.entry(name) is not None}
    idle = sorted(name for name, count in nodes.items() if not count)
    if idle and any(nodes.values()):
        yield warning(
            "cells",
            f"no node runs the tasks of {', '.join(idle)}",
            "start the nodes that name them in TASKFLOW_CELLS, or unset that on some nodes",
        )


async def _of_embedded(settings: Settings) -> list[Finding]:
    data_dir = Path(settings.data_dir) if settings.data_dir else default_data_dir()
    try:
        found = find_server(data_dir)
    except OSError as error:
        advice = "run this as the user that runs TaskFlow, or set TASKFLOW_DATA_DIR"
        return [failed("database", f"{data_dir}: {error.strerror}", advice)]
    disk = _disk(found.free_bytes, str(found.data_dir))
    if not found.has_data:
        return [ok("database", f"`taskflow serve` will create one in {found.data_dir}"), disk]
    if found.conninfo is None:
        return [ok("database", f"`taskflow serve` will start the one in {found.data_dir}"), disk]
    return [*await _of_server(found.conninfo, settings), disk]


def _disk(free_bytes: int, folder: str) -> Finding:
    detail = f"{size(free_bytes)} free in {folder}"
    if free_bytes < MIN_FREE_BYTES:
        return warning("disk", detail, "free some space: a full disk stops PostgreSQL")
    return ok("disk", detail)


async def _of_server(conninfo: str, settings: Settings) -> list[Finding]:
    _, findings = await _examined(conninfo, settings)
    return findings


async def _examined(
    conninfo: str, settings: Settings
) -> tuple[DatabaseReport | None, list[Finding]]:
    """Return the state of a database, if it answers, and the findings."""
    try:
        report = await examine_database(
            conninfo,
            timeout_seconds=settings.database_timeout_seconds,
            pooler=settings.database_pooler,
        )
    except StoreError as error:
        advice = "check that the server runs and that DATABASE_URL is correct"
        if _PGBOUNCER_ERROR in str(error):
            advice = "set TASKFLOW_DATABASE_POOLER=transaction: the server is PgBouncer"
        return None, [failed("database", str(error), advice)]
    of_queues = await queue_proxy_findings(report.egress_proxies, settings)
    return report, [*findings_of(report, settings), *of_queues]


def findings_of(report: DatabaseReport, settings: Settings) -> Iterator[Finding]:
    """Return the findings of all checks of a PostgreSQL database."""
    yield _server(report)
    yield from _durability(report)
    yield from _replication(report)
    yield from (failed(unfit.check, unfit.detail, unfit.advice) for unfit in report.unfit)
    yield _migrations(report)
    yield _clock(report)
    yield _connections(report, settings)
    yield _pooler(report, settings)
    yield from zone_mismatch([*report.tz_versions, zone_database().version])
    yield from encryption_findings(report, settings)
    yield from missing_url_findings(report.oidc_credential, settings)
    yield from _archive(report, settings)
    longest = report.longest_transaction_seconds
    if longest is not None and longest > LONG_TRANSACTION_SECONDS:
        yield warning(
            "transactions",
            f"a transaction has been open for {duration(longest)}; dead rows cannot be vacuumed",
            "find it in pg_stat_activity by xact_start, and end it",
        )


def encryption_findings(report: DatabaseReport, settings: Settings) -> Iterator[Finding]:
    """Compare the keys that data is encrypted with to the keys of this node."""
    try:
        here = read_keyring(settings).key_ids
    except SettingsError:  # reported with the settings
        return
    missing = sorted(report.encryption_keys.difference(here))
    if missing:
        yield failed(
            "encryption",
            f"data is encrypted with keys that are not set here: {', '.join(missing)}",
            "add them to TASKFLOW_ENCRYPTION_KEYS: this node releases such tasks, and runs none",
        )
    if old := sorted(report.encryption_keys.intersection(here[1:])):
        yield warning(
            "encryption",
            f"data still needs keys after the first one: {', '.join(old)}",
            "run `taskflow key rotate` before you remove them",
        )
    elif here[1:]:
        unknown = "" if report.has_checked_all else ", of the data that was checked in 2 s"
        yield ok("encryption", f"none of the keys after the first one is needed{unknown}")


def _archive(report: DatabaseReport, settings: Settings) -> Iterator[Finding]:
    if settings.archive_after_seconds is None and not report.archive_weeks:
        return
    weeks = "1 week" if report.archive_weeks == 1 else f"{report.archive_weeks} weeks"
    if report.can_archive:
        yield ok("archive", f"{weeks} of finished tasks")
    else:
        yield warning(
            "archive",
            f"{weeks}; the role cannot create and drop partitions, so no tasks are moved",
            "let it own the tables (docs/how-to/keep-finished-tasks.md)",
        )


def _server(report: DatabaseReport) -> Finding:
    detail = f"PostgreSQL {report.version} at {report.place}, {size(report.size_bytes)}"
    if report.hosts > 1:
        detail += f", host {report.host} of {report.hosts} in DATABASE_URL"
    if report.is_standby:
        return failed("database", f"{detail}: a standby", "set DATABASE_URL to the primary")
    if int(report.version.partition(".")[0]) < _MIN_MAJOR_VERSION:
        return failed("database", detail, f"use PostgreSQL {_MIN_MAJOR_VERSION} or newer")
    return ok("database", detail)


def _durability(report: DatabaseReport) -> Iterator[Finding]:
    if not report.is_durable:
        yield warning(
            "durability", "fsync is off: a crash of the machine loses tasks", "set fsync = on"
        )
    if not report.has_full_pages:
        yield warning(
            "durability",
            "full_page_writes is off: a crash of the machine may damage the data",
            "set full_page_writes = on",
        )
    if not report.is_synchronous:
        yield warning(
            "durability",
            "synchronous_commit is off: a crash of the server loses the latest tasks",
            "set synchronous_commit = on for this role and database",
        )


def _replication(report: DatabaseReport) -> Iterator[Finding]:
    """Report where the loss of a server loses acknowledged tasks; nothing if there is one server.

    A commit that a standby confirms is on two machines.
    """
    found = report.replication
    if found.mode is ReplicationMode.SYNCHRONOUS:
        yield _synchronous_standbys(found)
    elif found.synchronous_standby_names and report.is_synchronous:
        yield warning(
            "replication",
            "synchronous_commit is local: a failover loses the tasks that were accepted last",
            "set synchronous_commit = on for this role and database",
        )
    elif report.hosts > 1 or found.standbys:
        standbys = "1 standby" if found.standbys == 1 else f"{found.standbys} standbys"
        yield warning(
            "replication",
            f"asynchronous, {standbys} connected: a failover loses the tasks that were accepted "
            "last",
            "set synchronous_standby_names, or synchronous_mode of Patroni (docs/how-to/"
            "high-availability.md); nothing to do if no standby is promoted, or if the service "
            "that manages the database replicates its disk",
        )


def _synchronous_standbys(found: Replication) -> Finding:
    settings = (
        f"synchronous_standby_names is {found.synchronous_standby_names}, synchronous_commit is "
        f"{found.synchronous_commit}"
    )
    if not found.standbys or found.synchronous_standbys == []:
        return warning(
            "replication",
            f"no synchronous standby is connected, so no commit finishes: {settings}",
            "start a standby; do not cancel the commits that wait",
        )
    if found.synchronous_standbys is None:
        hint = "GRANT pg_monitor TO this role to see the standbys"
        return ok("replication", f"synchronous, standbys unknown ({hint}): {settings}")
    return ok("replication", f"synchronous to {', '.join(found.synchronous_standbys)}: {settings}")


def _migrations(report: DatabaseReport) -> Finding:
    if report.unknown:
        numbers = ", ".join(map(str, report.unknown))
        return failed(
            "migrations",
            f"the database is newer than this version of TaskFlow (migration {numbers})",
            "install the version that migrated it, or a later one",
        )
    if report.pending:
        numbers = ", ".join(map(str, report.pending))
        return warning(
            "migrations",
            f"not applied yet: {numbers}",
            "run `taskflow migrate`, or start the service",
        )
    return ok("migrations", "up to date")


def _clock(report: DatabaseReport) -> Finding:
    detail = skew_text("database", report.clock_ahead_seconds)
    if abs(report.clock_ahead_seconds) - report.clock_error_seconds > MAX_SKEW_SECONDS:
        advice = "synchronize both clocks with NTP; the database's clock decides when tasks run"
        return warning("clock", detail, advice)
    return ok("clock", detail)


def _connections(report: DatabaseReport, settings: Settings) -> Finding:
    each = settings.database_connections + _EXTRA_CONNECTIONS
    free = report.connections - report.connections_in_use
    detail = (
        f"{report.connections_in_use} of {report.connections} in use; a process uses {each}, "
        f"so {max(0, free // each)} more can start"
    )
    if report.nodes is not None:
        alive = "1 node is" if report.nodes == 1 else f"{report.nodes} nodes are"
        detail += f"; {alive} alive"
    if free < each and not report.has_pooler:
        advice = "raise max_connections, or lower TASKFLOW_DATABASE_CONNECTIONS"
        return warning("connections", detail, advice)
    return ok("connections", detail)


def _pooler(report: DatabaseReport, settings: Settings) -> Finding:
    is_set = settings.database_pooler == "transaction"
    if report.has_pooler and not is_set:
        return failed(
            "pooler",
            "the connection goes through a pooler, and TASKFLOW_DATABASE_POOLER is not set",
            "set TASKFLOW_DATABASE_POOLER=transaction, or connect to PostgreSQL directly",
        )
    if is_set and not report.has_pooler:
        return warning(
            "pooler",
            "TASKFLOW_DATABASE_POOLER=transaction, but the connection is direct",
            "unset it, so that nodes are notified of new tasks",
        )
    return ok("pooler", "transaction mode" if is_set else "none")
