"""What TaskFlow cannot work with in a database, and what to run to change it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from taskflow.model.errors import StoreRefusesTasks, StoreUnusable
from taskflow.store import queries
from taskflow.store.session import ENCODING, MEANINGS, quoted

LEDGER: Final = "taskflow_migrations"
_SQL: Final = queries.load()
# What PostgreSQL says to those who may not connect, if it says so in English, and what to run then.
_REFUSALS: Final = (
    (r'role "(.*?)" does not exist', "run `createuser {0}`, or name another role in DATABASE_URL"),
    (r'database "(.*?)" does not exist', "run `createdb -E UTF8 -T template0 {0}`"),
    (
        r'permission denied for database "(.*?)"',
        'run GRANT CONNECT ON DATABASE "{0}" TO the role in DATABASE_URL',
    ),
    (r'role "(.*?)" is not permitted to log in', 'run ALTER ROLE "{0}" LOGIN'),
)


class Unfit(NamedTuple):
    """One thing that cannot be worked with.

    Attributes:
        check: What it is about, in a word.
        detail: What is the matter.
        advice: What to run.
    """

    check: str
    detail: str
    advice: str


class Place(msgspec.Struct, frozen=True):
    """Where in a database TaskFlow's tables are, or are to be.

    Attributes:
        role: Who is connected.
        database: Its name.
        search_path: The setting.
        schemas: Those of it that are there and may be used, in their order.
        home: The schema that has the tables; ``None`` if there are none on the path.
        elsewhere: Schemas beside the path that have such tables.
    """

    role: str
    database: str
    search_path: str
    schemas: list[str]
    home: str | None
    elsewhere: list[str]

    def path(self) -> list[str]:
        """The schemas with that of the tables first."""
        home = [self.home] if self.home else []
        return [*home, *(schema for schema in self.schemas if schema != self.home)]


def place_of(connection: psycopg.Connection[Any]) -> Place:
    """Look where the tables are."""
    [row] = connection.execute(_SQL["find_place"], {}).fetchall()
    return Place(*row)


def refuse_unfit(found: Iterator[Unfit]) -> None:
    """End the start at the first thing that cannot be worked with.

    Raises:
        StoreUnusable: There is one; says what to run.
    """
    for unfit in found:
        raise StoreUnusable(f"{unfit.detail}: {unfit.advice}")


def unfit_for_start(
    connection: psycopg.Connection[Any], place: Place, *, has_pooler: bool
) -> Iterator[Unfit]:
    """What stands in the way of any start."""
    yield from _encoding(connection, place)
    yield from _schema(place)
    yield from _settings(connection, place, has_pooler=has_pooler)


def unfit_for_migration(
    connection: psycopg.Connection[Any], place: Place, pending: Sequence[int]
) -> Iterator[Unfit]:
    """What stands in the way of the migrations that are to be applied."""
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
    """Whether transactions are read-only; who set that has a reason, such as a full disk."""
    [(is_read_only,)] = connection.execute(_SQL["is_read_only"])
    if is_read_only:
        database = quoted(place.database)
        yield Unfit(
            "writes",
            f"the database {database} is read-only: default_transaction_read_only is on",
            "make room if that was set for a full disk, and run "
            f"ALTER DATABASE {database} RESET default_transaction_read_only",
        )


def unfit_for_work(connection: psycopg.Connection[Any], place: Place) -> Iterator[Unfit]:
    """What is not permitted to this role in the tables that are there."""
    [(missing,)] = connection.execute(_SQL["missing_privileges"], {}).fetchall()
    if missing:
        schema, role = quoted(place.path()[0]), quoted(place.role)
        yield Unfit(
            "privileges",
            f"role {role} has no permission for {missing}",
            f"run GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; "
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        )


def refusal_of(connection: psycopg.Connection[Any]) -> Exception | None:
    """Why a new task would be refused, as far as it can be told without a write."""
    [row] = connection.execute(_SQL["refusal"], {}).fetchall()
    is_in_recovery, is_read_only, has_no_tables, missing = row
    if is_in_recovery:
        # As a write would: so the connection is replaced, maybe by one to the primary.
        return psycopg.errors.ReadOnlySqlTransaction(
            "the server is in recovery and takes no writes"
        )
    if is_read_only:
        return psycopg.errors.ReadOnlySqlTransaction(
            "default_transaction_read_only is on, and TaskFlow does not override it"
        )
    if has_no_tables:
        return StoreRefusesTasks("TaskFlow's tables are gone: restore them, and start it again")
    if missing:
        return StoreRefusesTasks(f"PostgreSQL: the role has no permission for {missing}")
    return None


def advised(message: str) -> str:
    """The message of a connection that PostgreSQL refused, with what to run."""
    for pattern, advice in _REFUSALS:
        if found := re.search(pattern, message):
            return f"{message}: {advice.format(found[1])}"
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


def _schema(place: Place) -> Iterator[Unfit]:
    if place.schemas:
        return
    role, database = quoted(place.role), quoted(place.database)
    schema = quoted(place.elsewhere[0] if place.elsewhere else "public")
    said = place.search_path or '""'
    yield Unfit(
        "schema",
        f"role {role} finds no schema for the tables: search_path is {said}, "
        "and no schema in it exists and may be used",
        "run CREATE SCHEMA or GRANT USAGE ON SCHEMA for one that it names, or ALTER ROLE "
        f"{role} IN DATABASE {database} SET search_path = {schema}",
    )


def _settings(
    connection: psycopg.Connection[Any], place: Place, *, has_pooler: bool
) -> Iterator[Unfit]:
    wanted = {"session_replication_role": "origin"}
    if has_pooler:
        wanted |= MEANINGS | {"backslash_quote": "", "client_min_messages": ""}
    rows = connection.execute(_SQL["read_settings"], {"names": list(wanted)})
    for name, value in rows:
        if wanted[name] not in {value, ""} or (name, value) == ("client_min_messages", "error"):
            yield _setting(place, name, value, wanted[name] or MEANINGS[name])


def _setting(place: Place, name: str, value: str, wanted: str) -> Unfit:
    value_sql = sql.Literal(wanted).as_string(None)
    return Unfit(
        "session",
        f"{name} is {value}, with which TaskFlow cannot work",
        f"run ALTER ROLE {quoted(place.role)} IN DATABASE {quoted(place.database)} SET {name} = "
        f"{value_sql}",
    )
