"""The stream of a page says how old its data is, also while the database does not respond."""

from __future__ import annotations

import contextlib

import psycopg

from taskflow.api import problems
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.api.sse import open_stream


@contextlib.contextmanager
def no_connections(server: str, database: str):
    """Close the connections to a database and refuse new ones, until the context ends."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [database],
        )
        yield
        admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')


def test_the_age_of_the_data_is_known(postgres_server, monkeypatch):
    """``current`` follows a region, ``outage`` reports an outage once, and ``current`` its end."""
    monkeypatch.setattr(problems, "STORE_ANSWER_SECONDS", 0.5)
    with open_database(postgres_server) as url, LiveServer(database_url=url) as server:
        database = url.partition("dbname=")[2].partition("&")[0]
        with open_stream(server.url, "/ui/tasks/live") as stream:
            missing, region, current = stream.take(3)
            assert [missing.event, region.event] == ["missing", "region"]
            assert (missing.json, current.event) == ([], "current")
            with no_connections(postgres_server, database):
                assert [one.event for one in stream.take(1)] == ["outage"]
            [again] = stream.take(1)
            assert again.event == "current"
            assert again.json > current.json
