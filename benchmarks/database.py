"""The PostgreSQL that everything is measured on, and what is measured in it directly."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote, urlencode, urlsplit

import psutil
import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow.store.embedded.shared_server import embedded_postgres

_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 0.05

_FILL: LiteralString = """
WITH kept AS (
    INSERT INTO taskflow_tasks (payload, size_bytes, run_at, host, authority)
    SELECT to_json(replace(%(url)s, '127.0.0.1', host)), 40,
           now() - interval '1 hour' + n * interval '1 millisecond',
           host, replace(%(authority)s, '127.0.0.1', host)
    FROM generate_series(0, %(count)s - 1) AS n, LATERAL (
        SELECT CASE WHEN %(in_turn)s THEN n %% %(hosts)s ELSE n * %(hosts)s / %(count)s END
               AS number
    ) AS one, LATERAL (
        SELECT '127.0.' || number / 250 || '.' || number %% 250 + 1 AS host
    ) AS named
)
SELECT pg_notify('taskflow_work', 'benchmarks')
"""

_FILL_FINISHED: LiteralString = """
INSERT INTO taskflow_tasks (status, attempt, payload, result, size_bytes, run_at, started_at,
                            finished_at, status_code, elapsed_ms, node)
SELECT 'COMPLETED', 1, to_json(%(url)s::text), to_json(repeat('x', 300)), 340,
       now() - interval '2 hours', now() - interval '1 hour', now() - interval '1 hour',
       200, 1.5, 'benchmarks'
FROM generate_series(1, %(count)s)
"""


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[str]:
    """The conninfo of an embedded server with the durability that it has by default.

    It runs from a thread, so that whatever is measured may block this one.
    """
    output: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def run() -> None:
        stop = trio.Event()
        async with embedded_postgres(folder / "data") as server:
            output.put((server.conninfo, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=[run], daemon=True)
    thread.start()
    conninfo, token, stop = output.get(timeout=60)
    try:
        check_durability(conninfo)
        yield conninfo
    finally:
        token.run_sync_soon(stop.set)
        thread.join()


def check_durability(conninfo: str) -> None:
    """Check that a commit is on disk when it returns; otherwise figures mean nothing."""
    with psycopg.connect(conninfo) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row == ("on",), f"{name} is {row}"


class Database:
    """A database of its own; ``new_database`` creates one.

    Attributes:
        conninfo: What psycopg connects by.
        url: The same as ``DATABASE_URL`` takes it.
    """

    def __init__(self, conninfo: str, connection: psycopg.Connection[Any]) -> None:
        self.conninfo = conninfo
        parts = conninfo_to_dict(conninfo)
        # Without the options of libpq that other drivers do not know.
        place = {name: parts[name] for name in ("host", "port", "user")}
        self.url = f"postgresql:///{quote(str(parts['dbname']))}?{urlencode(place)}"
        self._connection = connection

    def ask(self, query: LiteralString, **parameters: object) -> Any:
        """Return the first value of the first row."""
        row = self._connection.execute(query, parameters).fetchone()
        return row and row[0]

    def do(self, statement: LiteralString) -> None:
        """Run a statement that returns no rows."""
        self._connection.execute(statement)

    def fill(self, url: str, count: int, *, hosts: int = 1, in_turn: bool = True) -> None:
        """Insert ``count`` pending tasks for ``hosts`` hosts at once, and wake the nodes."""
        parameters = {"url": url, "count": count, "hosts": hosts, "in_turn": in_turn}
        self.ask(_FILL, authority=urlsplit(url).netloc, **parameters)

    def hold_worker(self, url: str) -> None:
        """Start one task that never finishes, with the columns of any schema."""
        self._connection.execute(
            "INSERT INTO taskflow_tasks (payload, size_bytes) VALUES (to_json(%s::text), 40)", [url]
        )
        self.ask("SELECT pg_notify('taskflow_work', 'benchmarks')")
        while not self.ask("SELECT EXISTS (SELECT FROM taskflow_tasks WHERE status = 'RUNNING')"):
            time.sleep(_PAUSE_SECONDS)

    @contextlib.contextmanager
    def held(self, lock: LiteralString) -> Iterator[None]:
        """Hold a lock in a transaction of its own."""
        with psycopg.connect(self.conninfo) as connection:
            connection.execute(lock)
            yield

    def fill_finished(self, url: str, count: int) -> None:
        """Insert ``count`` finished tasks."""
        self._connection.execute(_FILL_FINISHED, {"url": url, "count": count})

    def wait_until_worked_off(self, *, but: int = 0) -> None:
        """Return when at most ``but`` tasks are not finished."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._open_tasks(but + 1) > but:
            assert time.monotonic() < deadline, "the tasks were not worked off"
            time.sleep(_PAUSE_SECONDS)

    def _open_tasks(self, limit: int) -> int:
        count: int = self.ask(
            "SELECT count(*) FROM (SELECT FROM taskflow_tasks"
            " WHERE status IN ('PENDING', 'RUNNING') LIMIT %(limit)s) AS open",
            limit=limit,
        )
        return count

    def working_seconds(self) -> float:
        """Return the time from the first claim to the last stored outcome, by its clock."""
        seconds: float = self.ask(
            "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8"
            " FROM taskflow_tasks WHERE status = 'COMPLETED'"
        )
        return seconds

    def completed(self) -> int:
        """Return the number of COMPLETED tasks."""
        count: int = self.ask("SELECT count(*) FROM taskflow_tasks WHERE status = 'COMPLETED'")
        return count

    def wal_bytes(self) -> int:
        """Return the amount of WAL that the server has written so far, in bytes."""
        return int(self.ask("SELECT pg_current_wal_lsn() - '0/0'"))

    def commits(self) -> int:
        """Return the number of transactions that have written anything.

        By their ids: pg_stat_database is behind by up to 10 s for connections that idle.
        """
        return int(self.ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))

    def connections(self) -> int:
        """Return the number of other connections to this database."""
        count: int = self.ask(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return count

    def server(self) -> psutil.Process:
        """Return the main process of the server."""
        parent = psutil.Process(self._connection.info.backend_pid).parent()
        assert parent is not None
        return parent


@contextlib.contextmanager
def new_database(conninfo: str) -> Iterator[Database]:
    """Create a database on this server; it is dropped at the end."""
    name = f"benchmarks_{uuid.uuid4().hex}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        own = make_conninfo(conninfo, dbname=name)
        try:
            with psycopg.connect(own, autocommit=True) as inside:
                yield Database(own, inside)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
