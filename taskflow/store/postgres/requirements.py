"""Requirements of a database, and what to run where one is not met."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from taskflow.model.errors import StoreRejectsTasks, StoreUnusable
from taskflow.store.postgres.replication import Replication
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.session import (
    BOUNDS,
    ENCODING,
    MEANINGS,
    TRANSACTION_TIMEOUT,
    quoted,
)

LEDGER: Final = "taskflow_migrations"
_SQL: Final = load_queries()
_TABLES: Final = sorted(
    set(
        re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(taskflow_\w+)\b(?!\()", " ".join(_SQL.values()))
    )
)
_FUNCTIONS: Final = sorted(set(re.findall(r"\b(taskflow_\w+)\(", " ".join(_SQL.values()))))
_TIMEOUTS: Final = {**BOUNDS, TRANSACTION_TIMEOUT: "0"}
_MIN_TIMEOUT_MS: Final = 1000
_IN_OPTIONS: Final = (
    "correct it in the options of DATABASE_URL, in PGOPTIONS or in the connection service file"
)
# Errors of connections that PostgreSQL refuses, in English, and what to run.
_REFUSALS: Final = (
    (r'role "(.*?)" does not exist', "run `createuser {0}`, or name another role in DATABASE_URL"),
    (r'database "(.*?)" does not exist', "run `createdb -E UTF8 -T template0 {0}`"),
    (
        r'permission denied for database "(.*?)"',
        'run GRANT CONNECT ON DATABASE "{0}" TO the role in DATABASE_URL',
    ),
    (r'role "(.*?)" is not permitted to log in', 'run ALTER ROLE "{0}" LOGIN'),
    (
        r'parameter "(\w+)"',
        "correct {0} in the options of DATABASE_URL or the PG* variables (PGOPTIONS, PGTZ ...)",
    ),
    (r'too many connections for role "(.*?)"', 'run ALTER ROLE "{0}" CONNECTION LIMIT -1'),
    (r'too many connections for database "(.*?)"', 'run ALTER DATABASE "{0}" CONNECTION LIMIT -1'),
    (
        r'database "(.*?)" is not currently accepting',
        'run ALTER DATABASE "{0}" ALLOW_CONNECTIONS true',
    ),
    (
        "session is read-only|server is in hot standby mode",
        "promote a standby, or reset default_transaction_read_only: no host accepts writes",
    ),
    (r"too many clients|remaining connection slots", "raise max_connections of the server"),
    (
        r'could not access file "(.*?)"',
        "correct session_preload_libraries or local_preload_libraries of the role or database",
    ),
)


class Unfit(NamedTuple):
    """A requirement that is not met.

    Attributes:
        check: Name of the check.
        detail: The problem.
        advice: What to run.
    """

    check: str
    detail: str
    advice: str


class Place(msgspec.Struct, frozen=True):
    """Where in a database TaskFlow's tables are, or will be.

    Attributes:
        role: The connected role.
        database: Name of the database.
        search_path: The setting.
        schemas: The schemas of the search path that exist and may be used, in their order.
        home: The schema that has the tables; ``None`` if none on the path has.
        elsewhere: Schemas that have such tables and are not on the path.
    """

    role: str
    database: str
    search_path: str
    schemas: list[str]
    home: str | None
    elsewhere: list[str]

    def path(self) -> list[str]:
        """Return the search path, with the schema of the tables first."""
        home = [self.home] if self.home else []
        return [*home, *(schema for schema in self.schemas if schema != self.home)]


def place_of(connection: psycopg.Connection[Any]) -> Place:
    """Find the tables."""
    [row] = connection.execute(_SQL["find_place"], {}).fetchall()
    return Place(*row)


def refuse_unfit(found: Iterator[Unfit]) -> None:
    """Raise an error for the first requirement that is not met.

    Raises:
        StoreUnusable: There is one; the message says what to run.
    """
    for unfit in found:
        raise StoreUnusable(f"{unfit.detail}: {unfit.advice}")


def unfit_for_start(
    connection: psycopg.Connection[Any], place: Place, *, has_pooler: bool
) -> Iterator[Unfit]:
    """Yield what prevents any start."""
    yield from _encoding(connection, place)
    yield from _schema(connection, place)
    yield from _settings(connection, place, has_pooler=has_pooler)


def unfit_for_migration(
    connection: psycopg.Connection[Any], place: Place, pending: Sequence[int]
) -> Iterator[Unfit]:
    """Yield what prevents the pending migrations."""
    if not pending or not place.schemas:
        return
    yield from unfit_for_writes(connection, place)
    schema = place.path()[0]
    [(may_create,)] = connection.execute(_SQL["may_create"], {"schema": schema})
    if not may_create:
        yield Unfit(
            "privileges",
            f"role {quoted(place.role)} may create no tables in schema {quoted(schema)}",
            f"run GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {quoted(place.role)}, or "
            "`taskflow migrate` with a role that may",
        )


def unfit_for_writes(connection: psycopg.Connection[Any], place: Place) -> Iterator[Unfit]:
    """Yield whether transactions are read-only; that is set for a reason, such as a full disk."""
    [(is_read_only, source)] = connection.execute(_SQL["is_read_only"])
    if is_read_only:
        yield Unfit(
            "writes",
            f"the database {quoted(place.database)} is read-only: default_transaction_read_only "
            "is on",
            "make room if that was set for a full disk, and "
            f"{_reset(place, 'default_transaction_read_only', source)}",
        )


def unfit_for_work(connection: psycopg.Connection[Any], place: Place) -> Iterator[Unfit]:
    """Yield privileges that the role lacks on existing tables."""
    [(missing,)] = connection.execute(_SQL["missing_privileges"], {}).fetchall()
    if missing:
        schema, role = quoted(place.path()[0]), quoted(place.role)
        yield Unfit(
            "privileges",
            f"role {role} has no permission for {missing}",
            f"run GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; "
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        )


def unfit_tables(connection: psycopg.Connection[Any], place: Place) -> Iterator[Unfit]:
    """Yield tables that are missing or hidden, once all migrations are recorded."""
    if place.home is None:
        return
    [row] = connection.execute(
        _SQL["missing_objects"], {"tables": _TABLES, "functions": _FUNCTIONS}
    )
    *missing, forbidden = row
    if lost := ", ".join(filter(None, missing)):
        yield Unfit(
            "tables",
            f"{lost} is missing, although taskflow_migrations says otherwise",
            "restore the whole schema from one backup, or DROP SCHEMA and CREATE SCHEMA "
            f"{quoted(place.path()[0])} to begin anew",
        )
    schema, role = quoted(place.path()[0]), quoted(place.role)
    if forbidden:
        yield Unfit(
            "privileges",
            f"role {role} may not call {forbidden}",
            f"run GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
        )
    [(hidden,)] = connection.execute(_SQL["hidden_tables"], {})
    if hidden:
        yield Unfit(
            "privileges",
            f"row level security hides rows of {hidden} from role {role}",
            f"run ALTER ROLE {role} BYPASSRLS, or ALTER TABLE ... DISABLE ROW LEVEL SECURITY",
        )


class ServerState(NamedTuple):
    """State of a server, as one statement reads it.

    Attributes:
        is_in_recovery: True if it is a standby.
        is_read_only: True if transactions are read-only.
        has_no_tables: True if TaskFlow's tables do not exist.
        replication: How it replicates commits.
    """

    is_in_recovery: bool
    is_read_only: bool
    has_no_tables: bool
    replication: Replication


def server_state(connection: psycopg.Connection[Any]) -> ServerState:
    """Read the state of the server."""
    [(is_in_recovery, is_read_only, has_no_tables, *rest)] = connection.execute(
        _SQL["server_state"]
    )
    return ServerState(is_in_recovery, is_read_only, has_no_tables, Replication(*rest))


def refusal_of(connection: psycopg.Connection[Any], state: ServerState) -> Exception | None:
    """Return why a new task would be refused, as far as is visible without a write."""
    if state.is_in_recovery:
        # As a write would raise: so the connection is replaced, maybe by one to the primary.
        return psycopg.errors.ReadOnlySqlTransaction(
            "the server is in recovery and accepts no writes"
        )
    if state.is_read_only:
        return psycopg.errors.ReadOnlySqlTransaction(
            "default_transaction_read_only is on, and TaskFlow does not override it"
        )
    if state.has_no_tables:
        return StoreRejectsTasks("TaskFlow's tables are gone: restore them, and start it again")
    [(missing,)] = connection.execute(_SQL["missing_privileges"], {})
    if missing:
        return StoreRejectsTasks(f"PostgreSQL: the role has no permission for {missing}")
    [(hidden,)] = connection.execute(_SQL["hidden_tables"], {})
    if hidden:
        return StoreRejectsTasks(f"PostgreSQL: row level security hides rows of {hidden}")
    return None


def advised(message: str) -> str:
    """Add what to run to the error of a connection that PostgreSQL refused."""
    for pattern, advice in _REFUSALS:
        if found := re.search(pattern, message):
            return f"{message}: {advice.format(*found.groups())}"
    return message


def _encoding(connection: psycopg.Connection[Any], place: Place) -> Iterator[Unfit]:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        yield Unfit(
            "encoding",
            f"the database {quoted(place.database)} has the encoding {encoding}, and TaskFlow "
            "needs UTF8",
            "run `createdb -E UTF8 -T template0 NAME` and name that one in DATABASE_URL",
        )


def _schema(connection: psycopg.Connection[Any], place: Place) -> Iterator[Unfit]:
    if place.schemas:
        return
    role, database = quoted(place.role), quoted(place.database)
    schema = quoted(place.elsewhere[0] if place.elsewhere else "public")
    search_path = place.search_path or '""'
    [(source,)] = connection.execute(_SQL["source_of_setting"], {"name": "search_path"})
    role_or_options = (
        _IN_OPTIONS
        if source == "client"
        else f"ALTER ROLE {role} IN DATABASE {database} SET search_path = {schema}"
    )
    yield Unfit(
        "schema",
        f"role {role} finds no schema for the tables: search_path is {search_path}, "
        "and no schema in it exists and may be used",
        "run CREATE SCHEMA or GRANT USAGE ON SCHEMA for one that it names, or " + role_or_options,
    )


def _settings(
    connection: psycopg.Connection[Any], place: Place, *, has_pooler: bool
) -> Iterator[Unfit]:
    wanted = {"session_replication_role": "origin"}
    if has_pooler:
        wanted |= MEANINGS | {"backslash_quote": "", "client_min_messages": ""} | _TIMEOUTS
    rows = connection.execute(_SQL["read_settings"], {"names": list(wanted)})
    for name, value, source in rows:
        if name in _TIMEOUTS:
            is_unfit = 0 < int(value) < _MIN_TIMEOUT_MS
        else:
            is_unfit = wanted[name] not in {value, ""} or value == "error"
        if is_unfit:
            value_sql = sql.Literal(wanted[name] or MEANINGS[name]).as_string(None)
            assignment = f"{_owner(place, 'database user')} SET {name} = {value_sql}"
            yield Unfit(
                "session",
                f"{name} is {value}{' ms' if name in _TIMEOUTS else ''}, with which TaskFlow "
                "cannot work",
                _IN_OPTIONS if source == "client" else f"run {assignment}",
            )


def _reset(place: Place, name: str, source: str) -> str:
    """Return how to reset a setting where it was made."""
    return _IN_OPTIONS if source == "client" else f"run {_owner(place, source)} RESET {name}"


def _owner(place: Place, source: str) -> str:
    role, database = quoted(place.role), quoted(place.database)
    owners = {
        "configuration file": "ALTER SYSTEM",
        "database": f"ALTER DATABASE {database}",
        "user": f"ALTER ROLE {role}",
        "database user": f"ALTER ROLE {role} IN DATABASE {database}",
        "global": "ALTER ROLE ALL",
    }
    return owners.get(source, owners["database"])
