"""Schemas that Citus distributes: the form of their functions (migrations/distributed.sql)."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

import psycopg
from psycopg import sql

from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.session import search_path_of

_SQL: Final = load_queries()
# A quoted text, a quoted identifier, a comment, or the end of a statement.
_TOKEN: Final = re.compile(r"\$(\w*)\$.*?\$\1\$|'[^']*'|\"[^\"]*\"|--[^\n]*|;", re.DOTALL)


def statements_of(script: str) -> Iterator[str]:
    """Yield the statements of a script: Citus refuses several in one string."""
    begin = 0
    for token in _TOKEN.finditer(script):
        if token[0] == ";":
            yield script[begin : token.end()]
            begin = token.end()


def execute_script(connection: psycopg.Connection[Any], script: str) -> None:
    """Execute the statements of a script one by one, without parameters."""
    cursor = psycopg.Cursor(connection)
    for statement in statements_of(script):
        cursor.execute(statement.encode(), prepare=False)


def is_distributed(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Return whether Citus distributes a schema."""
    [(has_citus,)] = connection.execute(_SQL["has_distributed_schemas"]).fetchall()
    if not has_citus:
        return False
    [(is_listed,)] = connection.execute(_SQL["is_distributed"], {"schema": schema}).fetchall()
    return bool(is_listed)


def distribute(
    connection: psycopg.Connection[Any], schema: str, *, is_changed: bool = False
) -> bool:
    """Give the current schema the form that Citus can distribute, if it has another one.

    Args:
        connection: In a transaction whose search path begins with the schema.
        schema: Its name, which is part of the form: functions have it in their search path.
        is_changed: Whether migrations were applied since, which replace functions.

    Returns:
        Whether anything was done.
    """
    script = _script()
    form = f"{hashlib.sha256(script.encode()).hexdigest()[:16]} {schema}"
    [(applied,)] = connection.execute(_SQL["distributed_form"]).fetchall()
    if applied == form and not is_changed:
        return False
    execute_script(connection, script)
    _execute_all(connection, "functions_to_pin", {"path": search_path_of([schema])})
    _execute_all(connection, "functions_of_rows", {})
    note = sql.SQL(_SQL["note_distributed_form"]).format(sql.Literal(form))
    connection.execute(note, prepare=False)
    return True


def _execute_all(
    connection: psycopg.Connection[Any], name: str, parameters: dict[str, object]
) -> None:
    """Execute the statements that a query makes."""
    for (statement,) in connection.execute(_SQL[name], parameters).fetchall():
        connection.execute(str(statement).encode(), prepare=False)


@functools.cache
def _script() -> str:
    files = resources.files("taskflow.store.postgres").joinpath("migrations")
    return files.joinpath("distributed.sql").read_text("utf-8")
