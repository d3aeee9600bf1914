"""The partitions of the archive: a week each, in three tables (migration 0033)."""

from __future__ import annotations

import uuid
from typing import Final, NamedTuple

from psycopg import sql

from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute

# Readers queue behind a lock that waits, so it must not wait long.
LOCK_WAIT_MILLISECONDS: Final = 200
_PARENTS: Final = ("taskflow_archive", "taskflow_archive_attempts", "taskflow_archive_tags")
_CREATE: Final = sql.SQL("CREATE TABLE {partition} (LIKE {parent} INCLUDING ALL)")
_ATTACH: Final = sql.SQL(
    "ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({end})"
)
_DETACH: Final = sql.SQL("ALTER TABLE {parent} DETACH PARTITION {partition}")
_DROP: Final = sql.SQL("DROP TABLE IF EXISTS {partition}")


class Period(NamedTuple):
    """A week of the archive.

    Attributes:
        name: Its first day, as YYYYMMDD.
        first_id: Its first id.
        end_id: The first id of the next period.
    """

    name: str
    first_id: uuid.UUID
    end_id: uuid.UUID


def add_period(connection: Connection, execute: Execute, period: Period) -> None:
    """Create the partitions of a period, unless another node does.

    They are attached, which readers and writers of the archive do not wait for.

    Raises:
        psycopg.errors.LockNotAvailable: A lock is not available shortly.
        psycopg.errors.InsufficientPrivilege: The role does not own the tables.
    """
    with connection.transaction():
        execute("bound_lock_waits", {"milliseconds": LOCK_WAIT_MILLISECONDS})
        if not execute("add_period_if_new", period._asdict()):
            return
        bounds = {"first": str(period.first_id), "end": str(period.end_id)}
        literals = {name: sql.Literal(value) for name, value in bounds.items()}
        for parent in _PARENTS:
            names = {"parent": sql.Identifier(parent), "partition": _partition(parent, period.name)}
            connection.execute(_CREATE.format(**names))
            connection.execute(_ATTACH.format(**names, **literals))


def drop_if_expired(
    connection: Connection, execute: Execute, period: Period, age_seconds: float | None
) -> int:
    """Detach the partitions of a period whose tasks have been kept for long enough.

    ``drop_detached`` drops them: deleting large files takes time, in which nothing should wait.

    Returns:
        The number of tasks that are deleted by this.

    Raises:
        psycopg.errors.LockNotAvailable: A lock is not available shortly.
        psycopg.errors.InsufficientPrivilege: The role does not own the tables.
    """
    with connection.transaction():
        execute("bound_lock_waits", {"milliseconds": LOCK_WAIT_MILLISECONDS})
        # While the row is held, no task is moved to the period.
        held = execute("hold_period_if_expired", {"name": period.name, "age_seconds": age_seconds})
        if not held or execute("has_linked", period._asdict())[0][0]:
            return 0
        for parent in _PARENTS:
            names = {"parent": sql.Identifier(parent), "partition": _partition(parent, period.name)}
            connection.execute(_DETACH.format(**names))
        [(count,)] = execute("forget_period", {"name": period.name})
        return int(count)


def drop_detached(connection: Connection, execute: Execute) -> int:
    """Drop the partitions that are detached, also by a process that died after that.

    Returns:
        The number of periods.
    """
    dropped = 0
    while _drop_one(connection, execute):
        dropped += 1
    return dropped


def _drop_one(connection: Connection, execute: Execute) -> bool:
    with connection.transaction():
        rows = execute("hold_detached_period", {})
        for (name,) in rows:
            for parent in _PARENTS:
                connection.execute(_DROP.format(partition=_partition(parent, name)))
            execute("delete_period", {"name": name})
        return bool(rows)


def _partition(parent: str, name: str) -> sql.Identifier:
    return sql.Identifier(f"{parent}_{name}")
