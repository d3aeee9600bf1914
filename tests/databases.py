"""Databases for tests, on a server of PostgreSQL."""

from __future__ import annotations

import atexit
import contextlib
import functools
import uuid
from collections.abc import Iterator

import psycopg
from psycopg.conninfo import make_conninfo

from taskflow.store.postgres.migrate import migrate

# Files are copied: cheaper than writing each of their pages to the log, and the copy of a template
# has its caches of the catalog. Servers before PostgreSQL 15 do nothing else.
_STRATEGIES = 150_000
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "'16MB'", "io_method": "sync"}


@contextlib.contextmanager
def new_database(server: str, *, is_migrated: bool) -> Iterator[str]:
    """The conninfo of a new database without tasks, dropped at the end.

    Args:
        server: The conninfo of the server.
        is_migrated: If not, it has no tables either. To copy a database with all tables takes a
            third of the time of the migrations.
    """
    template = _template(server) if is_migrated else "template1"
    name = _create(_administration(server), template)
    try:
        yield make_conninfo(server, dbname=name)
    finally:
        _drop(_administration(server), name)


@contextlib.contextmanager
def new_schemas(server: str, names: tuple[str, ...]) -> Iterator[list[str]]:
    """The conninfos of schemas of one new database, each with all tables, dropped at the end."""
    database = _create(_administration(server), _template(server, names))
    try:
        yield [
            make_conninfo(server, dbname=database, options=f"-csearch_path={name}")
            for name in names
        ]
    finally:
        _drop(_administration(server), database)


def create_migrated(server: str) -> str:
    """Return the conninfo of a new database with all tables, which stays on its server."""
    template = _template(server)
    with psycopg.connect(server, autocommit=True) as connection:
        return make_conninfo(server, dbname=_create(connection, template))


def quicken(server: str) -> None:
    """Save CPU time on a server of the tests, once it is started again.

    It keeps less than a power cut would need. Its memory is small, as each new process maps it and
    each new database searches it, and no processes wait for input and output.
    """
    with psycopg.connect(server, autocommit=True) as connection:
        for setting, value in QUICK.items():
            connection.execute(f"ALTER SYSTEM SET {setting} = {value}")


def drop_template(server: str) -> None:
    """Leave nothing on a server that outlives the tests."""
    with psycopg.connect(server, autocommit=True) as connection:
        _drop(connection, _template(server))


_administrations: dict[str, psycopg.Connection] = {}


def _administration(server: str) -> psycopg.Connection:
    """The connection of this process that creates and drops databases on a server.

    It is opened again if a test has had all connections of the server closed.
    """
    if server in _administrations:
        with contextlib.suppress(psycopg.OperationalError):
            _administrations[server].execute("SELECT")
            return _administrations[server]
    connection = _administrations[server] = psycopg.connect(server, autocommit=True)
    atexit.register(connection.close)
    return connection


@functools.cache
def _template(server: str, schemas: tuple[str, ...] = ("public",)) -> str:
    """The name of a database with all migrations, which each process of the tests makes once."""
    with psycopg.connect(server, autocommit=True) as connection:
        name = _create(connection, "template1")
    for schema in schemas:
        with psycopg.connect(make_conninfo(server, dbname=name)) as connection:
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            # Before PostgreSQL 15 every role has it on the schema public: no submission with SQL.
            connection.execute(f'REVOKE CREATE ON SCHEMA "{schema}" FROM PUBLIC')
            connection.execute(f'SET search_path = "{schema}"')
            connection.commit()
            migrate(connection)
    return name


def _create(connection: psycopg.Connection, template: str) -> str:
    name = f"taskflow_test_{uuid.uuid4().hex}"
    has_strategies = connection.info.server_version >= _STRATEGIES
    strategy = "STRATEGY file_copy" if has_strategies else ""
    connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}')
    return name


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
