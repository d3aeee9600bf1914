"""Migrations: bring a database to the schema that the code expects. Numbered, forward only."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Final, NamedTuple

import msgspec
import psycopg
import trio

from taskflow.model.errors import StoreUnavailable, StoreUnusable
from taskflow.store.postgres.address import DatabaseAddress
from taskflow.store.postgres.database import connect, mapped_errors
from taskflow.store.postgres.distribution import distribute, execute_script, is_distributed
from taskflow.store.postgres.pool import Pooler
from taskflow.store.postgres.requirements import (
    Place,
    place_of,
    refuse_unfit,
    unfit_for_migration,
    unfit_for_start,
    unfit_for_work,
    unfit_tables,
)
from taskflow.store.postgres.session import OwnConnection, quoted, search_path_of
from taskflow.telemetry import Event, emit

# Any number that no other program uses: "taskflow" in ASCII.
_ADVISORY_LOCK: Final = 0x7461736B666C6F77

# A deadlock takes a second to be detected.
_DEADLOCK_PAUSES_SECONDS: Final = (0.1, 0.2, 0.4, 0.8)
_OTHER_SCHEMA: Final = (
    "run CREATE SCHEMA taskflow and add options=-csearch_path%3Dtaskflow to DATABASE_URL"
)
# Later migrations can be applied to a distributed schema.
_FIRST_FOR_CITUS: Final = 34
_LEDGER_STEP: Final = "the table of migrations"
_CREATE_LEDGER: Final = """
CREATE TABLE taskflow_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return all migrations, in order."""
    files = resources.files("taskflow.store.postgres").joinpath("migrations").iterdir()
    return sorted(
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in files
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    )


def migrate(connection: psycopg.Connection[tuple[object, ...]]) -> list[Migration]:
    """Apply the missing migrations, in one transaction, and return them.

    Several processes may do this at once: the others wait for the first one. Nodes lock the tables
    in any order meanwhile, so the transaction is repeated after a deadlock.

    Raises:
        StoreUnusable: The database has migrations that this code does not know, or the role lacks
            privileges.
        StoreUnavailable: Another transaction holds locks that a migration needs; nothing is
            changed.
    """
    for pause_seconds in _DEADLOCK_PAUSES_SECONDS:
        try:
            return _migrate_once(connection)
        except psycopg.errors.DeadlockDetected:
            time.sleep(pause_seconds)
    return _migrate_once(connection)


def _migrate_once(connection: psycopg.Connection[tuple[object, ...]]) -> list[Migration]:
    steps = migrations()
    with connection.transaction():
        # With a timeout: another process may hang during its migration.
        connection.execute("SELECT set_config('lock_timeout', '30s', true)")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        place = place_of(connection)  # under the lock: another process may have created the tables
        applied = _applied(connection, has_ledger=place.home is not None)
        _refuse_unknown(applied, steps)
        missing = [step for step in steps if step.version not in applied]
        pending = [step.version for step in missing]
        _refuse_distributed(connection, place, pending)
        refuse_unfit(unfit_for_migration(connection, place, pending))
        path = search_path_of(place.path())
        connection.execute("SELECT set_config('search_path', %s, true)", [path])
        # All nodes wait behind a migration that waits for locks: for less than their leases.
        connection.execute("SELECT set_config('lock_timeout', '3s', true)")
        if place.home is None:
            with _refused_steps(_LEDGER_STEP):
                connection.execute(_CREATE_LEDGER)
        for step in missing:
            _apply(step, connection)
        _distribute_if_needed(connection, place.path()[0], missing)
    for step in missing:
        emit(Event.MIGRATED, version=step.version, name=step.name)
    return missing


def _refuse_distributed(
    connection: psycopg.Connection[tuple[object, ...]], place: Place, pending: Sequence[int]
) -> None:
    """Refuse migrations that Citus cannot apply, which were written before it was supported."""
    if not place.schemas or not pending or pending[0] >= _FIRST_FOR_CITUS:
        return
    schema = place.path()[0]
    if is_distributed(connection, schema):
        raise StoreUnusable(
            f"migration {pending[0]} cannot be applied to the schema {quoted(schema)}, which Citus "
            "distributes: run citus_schema_undistribute, `taskflow migrate`, "
            "citus_schema_distribute, and `taskflow migrate` once more"
        )


def _distribute_if_needed(
    connection: psycopg.Connection[tuple[object, ...]], schema: str, applied: Sequence[Migration]
) -> None:
    """Apply the form for Citus to a schema that it distributes, once more after each migration."""
    if not is_distributed(connection, schema):
        return
    with _refused_steps("the form for a distributed schema"):
        if distribute(connection, schema, is_changed=bool(applied)):
            emit(Event.DISTRIBUTED, schema=schema)


class Migrated(msgspec.Struct, frozen=True):
    """A database that is up to date.

    Attributes:
        place: Host, port and name.
        version: Version of PostgreSQL.
        applied: The migrations that were applied now.
        schemas: The search path, with the schema of the tables first.
        server_version: Version of PostgreSQL, as libpq has it.
        is_distributed: Whether Citus distributes the schema of the tables.
    """

    place: str
    version: str
    applied: list[Migration]
    schemas: list[str]
    server_version: int
    is_distributed: bool


async def migrate_database(
    conninfo: str | DatabaseAddress, *, timeout_seconds: float, pooler: Pooler = "none"
) -> Migrated:
    """Apply the migrations that are missing.

    Raises:
        StoreUnavailable: The database cannot be reached.
        StoreUnusable: It is newer than the code, the address is invalid, or the database does not
            meet the requirements; the message says what to run.
    """

    def work() -> Migrated:
        with (
            mapped_errors(),
            connect(conninfo, timeout_seconds=timeout_seconds, pooler=pooler) as connection,
        ):
            applied, info = _migrated(connection, pooler), connection.info
            place = place_of(connection)
            refuse_unfit(unfit_for_work(connection, place))
            refuse_unfit(unfit_tables(connection, place))
            return Migrated(
                place=f"{info.host}:{info.port}/{info.dbname}",
                version=info.parameter_status("server_version") or "unknown",
                applied=applied,
                schemas=place.path(),
                server_version=info.server_version,
                is_distributed=is_distributed(connection, place.path()[0]),
            )

    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _migrated(connection: OwnConnection, pooler: Pooler) -> list[Migration]:
    place = place_of(connection)
    refuse_unfit(unfit_for_start(connection, place, has_pooler=pooler == "transaction"))
    applied = migrate(connection)
    connection.commits.check()
    return applied


def _applied(
    connection: psycopg.Connection[tuple[object, ...]], *, has_ledger: bool
) -> set[object]:
    if not has_ledger:
        return set()
    try:
        rows = connection.execute("SELECT version FROM taskflow_migrations").fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_permitted(error) from None
    except psycopg.ProgrammingError as error:
        raise of_another_program(error) from None
    return {version for (version,) in rows}


def of_another_program(error: psycopg.Error) -> StoreUnusable:
    """Return the error for a table of migrations that cannot be read."""
    return StoreUnusable(
        f"PostgreSQL: {error.diag.message_primary}: taskflow_migrations is not TaskFlow's; "
        f"{_OTHER_SCHEMA}"
    )


def _not_permitted(error: psycopg.Error) -> StoreUnusable:
    return StoreUnusable(
        f"PostgreSQL: {error.diag.message_primary}: run `taskflow migrate` with the role that owns "
        "TaskFlow's tables, and GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES and USAGE ON "
        "ALL SEQUENCES IN SCHEMA of the tables to the role in DATABASE_URL"
    )


def _apply(step: Migration, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with _refused_steps(f"migration {step.version} {step.name}"):
        execute_script(connection, step.sql)
        connection.execute(
            "INSERT INTO taskflow_migrations (version, name) VALUES (%s, %s)",
            [step.version, step.name],
        )


@contextlib.contextmanager
def _refused_steps(step: str) -> Iterator[None]:
    """Add what to do to the error of a migration that PostgreSQL refuses."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_permitted(error) from None
    except psycopg.errors.LockNotAvailable:
        raise StoreUnavailable(
            f"{step} waits for another transaction (a backup?): start TaskFlow again when that has "
            "ended"
        ) from None
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise StoreUnusable(
            f"{step} cannot be applied and nothing was changed: PostgreSQL: "
            f"{error.diag.message_primary}: {_advice(error)}"
        ) from None


def _advice(error: psycopg.Error) -> str:
    if not (error.sqlstate or "").startswith("42"):  # forbidden by a trigger or a constraint
        return "remove what forbids it, and run `taskflow migrate` again"
    return (
        "restore the whole schema from one backup, with what is recorded in taskflow_migrations; "
        f"if the tables are of another program, {_OTHER_SCHEMA}"
    )


def _refuse_unknown(applied: set[object], steps: list[Migration]) -> None:
    unknown = sorted(str(version) for version in applied - {step.version for step in steps})
    if unknown:
        raise StoreUnusable(
            f"the database is newer than this TaskFlow (it has migration {', '.join(unknown)}): "
            "install the version that made it, or a later one"
        )
