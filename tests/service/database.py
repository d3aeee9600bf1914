"""Reads what the processes leave behind in their database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.service.processes import PATIENCE_SECONDS, wait_until


class Row(NamedTuple):
    """What counts of a task's row."""

    status: str
    attempt: int
    rescues: int


COMPLETED = Row("COMPLETED", attempt=1, rescues=0)
PENDING = Row("PENDING", attempt=0, rescues=0)


class Tasks:
    """The database of a test, seen past TaskFlow."""

    def __init__(self, conninfo: str) -> None:
        self.url = url_of(conninfo)
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def __enter__(self) -> Tasks:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def execute(self, query: str, *parameters: object) -> psycopg.Cursor:
        """Run any statement."""
        return self._connection.execute(query, parameters)

    def transaction(self) -> AbstractContextManager[object]:
        """What is run in the block is one transaction."""
        return self._connection.transaction()

    def row(self, task_id: str) -> Row:
        """How the task stands."""
        found = self.execute(
            "SELECT status, attempt, rescues FROM taskflow_tasks WHERE id = %s", task_id
        ).fetchone()
        assert found is not None, f"there is no task {task_id}"
        return Row(*found)

    def wait_for(self, task_id: str, row: Row, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the task stands like that."""
        wait_until(lambda: self.row(task_id) == row, seconds)

    def finished(self) -> int:
        """How many tasks have finished."""
        return self.execute("SELECT FROM taskflow_tasks WHERE finished_at IS NOT NULL").rowcount

    def nodes(self) -> int:
        """How many nodes have not retired."""
        return self.execute("SELECT FROM taskflow_nodes").rowcount


def url_of(conninfo: str) -> str:
    """The same as a URL, which is what DATABASE_URL takes."""
    if conninfo.startswith("postgres"):
        return conninfo
    parts = conninfo_to_dict(conninfo)
    return f"postgresql:///{quote(parts.pop('dbname'))}?{urlencode(parts, quote_via=quote)}"
