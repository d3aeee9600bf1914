"""Submission of tasks in a transaction of the caller, on the caller's connection.

The tasks are stored by the service's own statement. PostgreSQL notifies the nodes at the commit,
and discards everything at a rollback. Nothing here commits, rolls back or changes the connection.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Awaitable, Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.uuid import UUIDBinaryLoader

from taskflow.model import graphs
from taskflow.model.errors import (
    IdempotencyKeyReused,
    NotUnique,
    StoreUnusable,
    TaskGone,
    Unprocessable,
)
from taskflow.model.graphs import is_graph, parent_ids
from taskflow.model.groups import refusal_of, refuse_mix
from taskflow.model.parents import MAX_CHILDREN
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.store.postgres.entries import entries_of, parameters_of, stored_tasks
from taskflow.store.postgres.group_rows import states_of
from taskflow.store.postgres.keyed_submission import existing_ids, request_of, results_of
from taskflow.store.postgres.rows import Row, load_queries, task_of
from taskflow.store.postgres.session import ENCODING, CommitWatch, UtcBinaryLoader

Connection: TypeAlias = psycopg.Connection[Any]
AsyncConnection: TypeAlias = psycopg.AsyncConnection[Any]
AnyCursor = TypeVar("AnyCursor", psycopg.Cursor[Row], psycopg.AsyncCursor[Row])
Steps: TypeAlias = Generator[tuple[str, Mapping[str, object]], list[Row], list[Task]]
"""Yields statements, is sent their rows, and returns the tasks."""

# Maximum number of tasks per statement, as in the service.
STATEMENT_TASKS: Final = 1000

_NO_NODE: Final = uuid.UUID(int=0)
_SCHEMA_ERRORS: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)
_ENCODINGS: Final = MappingProxyType(
    {
        "server_encoding": "use a database made by `createdb -E UTF8 -T template0 NAME`",
        "client_encoding": "SET client_encoding TO 'UTF8' on this connection",
    }
)
_ADVICE: Final = (
    "run `taskflow migrate` with the DATABASE_URL of this database, or set its search_path to the "
    "schema in which TaskFlow's tables are"
)
_SQL: Final = load_queries()


def add(
    connection: Connection | AsyncConnection, tasks: Sequence[NewTask], key: IdempotencyKey | None
) -> list[Task] | Awaitable[list[Task]]:
    """Store new tasks, all or none, or return the tasks that were stored with this key before.

    Raises:
        TypeError: This is no connection of psycopg.
        StoreUnusable: TaskFlow's tables do not exist, or are too old.
        IdempotencyKeyReused: The key was used for other tasks.
        NotUnique: Another task has the unique key of a task; nothing is stored.
        Unprocessable: The group or a parent of a task does not exist; nothing is stored.
        GroupClosed: The group of a task takes no more tasks; nothing is stored.
        TaskGone: The key is known, and some of its tasks were deleted.
        psycopg.Error: Any other error of a statement.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        return _run_async(connection, _steps(connection, tasks, key))
    if isinstance(connection, psycopg.Connection):
        return _run(connection, _steps(connection, tasks, key))
    raise TypeError(
        "this takes a connection of psycopg 3, which an ORM hands out as its driver's, not "
        f"{type(connection).__name__}"
    )


def _steps(
    connection: Connection | AsyncConnection, tasks: Sequence[NewTask], key: IdempotencyKey | None
) -> Steps:
    _refuse_encodings(connection)
    refuse_mix(tasks)
    is_keyed = any(task.is_keyed for task in tasks)
    may_be_rejected = is_keyed or any(task.group or task.after for task in tasks)
    is_one = may_be_rejected or key is not None or (connection.autocommit and _is_idle(connection))
    # In one statement if there is no transaction to make it all or none; or if a task may be
    # rejected, which leaves the transaction as it is.
    return _add(tasks, key, len(tasks) or 1 if is_one else STATEMENT_TASKS)


def _is_idle(connection: Connection | AsyncConnection) -> bool:
    """Return whether no transaction is open."""
    return connection.info.transaction_status == TransactionStatus.IDLE


def _run(connection: Connection, steps: Steps) -> list[Task]:
    cursor = _with_own_types(psycopg.Cursor(connection, row_factory=tuple_row))
    rows: Any = None
    with _mapped_errors(), _commit_watched(connection), cursor:
        while True:
            try:
                statement, parameters = steps.send(rows)
            except StopIteration as end:
                tasks: list[Task] = end.value
                return tasks
            cursor.execute(statement, parameters)
            rows = cursor.fetchall()


async def _run_async(connection: AsyncConnection, steps: Steps) -> list[Task]:
    cursor = _with_own_types(psycopg.AsyncCursor(connection, row_factory=tuple_row))
    rows: Any = None
    with _mapped_errors(), _commit_watched(connection):
        async with cursor:
            while True:
                try:
                    statement, parameters = steps.send(rows)
                except StopIteration as end:
                    tasks: list[Task] = end.value
                    return tasks
                await cursor.execute(statement, parameters)
                rows = await cursor.fetchall()


def _add(tasks: Sequence[NewTask], key: IdempotencyKey | None, at_once: int) -> Steps:
    added: list[Task] = []
    for begin in range(0, len(tasks), at_once):
        [(_, replication_role, read_only, form)] = yield _SQL["commit_later"], {}
        _refuse_session(replication_role, read_only)
        portion = tasks[begin : begin + at_once]
        is_keyed = any(task.is_keyed for task in portion)
        added += yield from (_add_keyed if is_keyed else _add_at_once)(portion, key)
        if any(task.order_key is not None for task in portion):
            yield _SQL["note_enqueued"], {}
        if parent_ids(portion):
            yield _SQL["note_enqueued_graph"], {}
        if form is not None:
            yield _SQL["note_enqueued_distributed"], {}
    return added


def _add_at_once(tasks: Sequence[NewTask], key: IdempotencyKey | None) -> Steps:
    entries = list(entries_of(tasks, key, request=0))
    if (refused := (yield from _parent_refusal(tasks))) is not None:
        known = None if key is None else (yield from _known(key))
        if known is None:
            raise refused
        return known
    parameters = {
        "node_id": _NO_NODE,
        "token": _NO_NODE,
        "sender": "",
        "own_nodes": [],
        **parameters_of(entries, ()),
    }
    while True:
        rows = yield _SQL["add"], parameters
        if len(rows) == len(tasks):
            return [task for _, task in stored_tasks(entries, rows)]
        if key is not None and (known := (yield from _known(key))) is not None:
            return known
        ids = list({task.group for task in tasks if task.group is not None})
        states = states_of((yield _SQL["group_states"], {"ids": ids}))
        if (refusal := refusal_of(tasks, states)) is not None:
            raise refusal


def _parent_refusal(
    tasks: Sequence[NewTask],
) -> Generator[tuple[str, Mapping[str, object]], list[Row], Unprocessable | None]:
    """Return why tasks cannot have their parents; ``None`` if they can."""
    if not is_graph(tasks):
        return None
    rows = yield _SQL["children_of"], {"ids": parent_ids(tasks), "limit": MAX_CHILDREN}
    return graphs.refusal_of(tasks, dict(rows))


def _add_keyed(tasks: Sequence[NewTask], key: IdempotencyKey | None) -> Steps:
    """Store tasks with unique or debounce keys; waits for other transactions that have the keys."""
    request = request_of(tasks, key)
    parameters = {"requests": [request.document], "wait_ms": None, "sender": "", "own_nodes": []}
    while True:
        rows = yield _SQL["add_keyed"], parameters
        found = {}
        if ids := existing_ids(rows):
            found = {row[0]: task_of(row) for row in (yield _SQL["read_anywhere"], {"ids": ids})}
        [result] = results_of([request], rows, found)
        if isinstance(result, list):
            return result
        if isinstance(result, NotUnique):
            raise result
        if result is None and (known := (yield from _known(key))) is not None:
            return known


def _known(
    key: IdempotencyKey | None,
) -> Generator[tuple[str, Mapping[str, object]], list[Row], list[Task] | None]:
    """Return the tasks of the earlier request; ``None`` if its key was deleted at this moment."""
    assert key is not None, "only a request that is known adds nothing"
    known = yield _SQL["known_keys"], {"keys": [key.text]}
    for _, fingerprint, task_ids in known:
        if fingerprint != key.fingerprint:
            raise IdempotencyKeyReused
        found = {row[0]: task_of(row) for row in (yield _SQL["read_anywhere"], {"ids": task_ids})}
        if len(found) < len(set(task_ids)):
            raise TaskGone
        for task_id, *parents in (yield _SQL["parents_of"], {"ids": task_ids}):
            found[task_id] = graphs.with_parents(found[task_id], *parents)
        return [found[task_id] for task_id in task_ids]
    return None


def _with_own_types(cursor: AnyCursor) -> AnyCursor:
    """Make the cursor read results in the binary format, with the loaders of psycopg.

    So the caller's loaders, DateStyle, IntervalStyle and bytea_output do not matter.
    """
    cursor.format = Format.BINARY
    cursor.adapters.register_loader("timestamptz", UtcBinaryLoader)
    cursor.adapters.register_loader("uuid", UUIDBinaryLoader)
    return cursor


def _refuse_encodings(connection: Connection | AsyncConnection) -> None:
    for name in ("server_encoding", "client_encoding"):
        value = connection.info.parameter_status(name)
        if value != ENCODING:
            raise StoreUnusable(f"{name} is {value}, and TaskFlow needs UTF8: {_ENCODINGS[name]}")


def _refuse_session(replication_role: str, read_only: str) -> None:
    if replication_role == "replica":
        raise StoreUnusable(
            "session_replication_role is replica, with which TaskFlow's triggers do not run: "
            "SET session_replication_role = origin"
        )
    if read_only == "on":
        raise StoreUnusable(
            "transaction_read_only is on (or default_transaction_read_only, or this is a standby): "
            "begin a transaction READ WRITE on the primary"
        )


@contextlib.contextmanager
def _commit_watched(connection: Connection | AsyncConnection) -> Iterator[None]:
    """Raise an error if a commit of these statements may not be replicated."""
    if not (connection.autocommit and _is_idle(connection)):
        yield
        return
    commits = CommitWatch()
    connection.add_notice_handler(commits.hear)
    try:
        yield
    finally:
        connection.remove_notice_handler(commits.hear)
    commits.check()


@contextlib.contextmanager
def _mapped_errors() -> Iterator[None]:
    """Add what to do to errors about TaskFlow's tables."""
    try:
        yield
    except _SCHEMA_ERRORS as error:
        reason = error.diag.message_primary
        raise StoreUnusable(
            f"TaskFlow's tables are not there, or of another version ({reason}): {_ADVICE}"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreUnusable(
            f"PostgreSQL: {error.diag.message_primary}: GRANT SELECT, INSERT, UPDATE, DELETE ON "
            "ALL TABLES and USAGE ON ALL SEQUENCES IN SCHEMA of TaskFlow's tables to this role"
        ) from error
