"""The same request by HTTP, by ``enqueue`` and with SQL: the same row, or the same errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow import Submission, enqueue_many
from taskflow.client.errors import Problem
from taskflow.client.options import KNOWN
from taskflow.enqueuing import enqueue
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.client import sql_documents as made

# What depends on the moment of the submission, and on who made it.
_VOLATILE = "{id,run_at,created_at,debounce_until,size_bytes}"
_ROWS = """
SELECT (to_jsonb(t) - %s::text[]) || jsonb_build_object(
    'payload', t.payload::text, 'options', t.options::jsonb, 'tags', t.tags::jsonb,
    'has_size', t.size_bytes = octet_length(concat(t.payload, t.tags, t.options)),
    'due', CASE WHEN t.run_at < taskflow_never()
                THEN round(extract(epoch FROM t.run_at - t.created_at) / 3600) END,
    'until', round(extract(epoch FROM t.debounce_until - t.created_at) / 3600),
    'search', (SELECT jsonb_agg(tag.name || '=' || tag.value ORDER BY tag.name)
               FROM taskflow_tags AS tag WHERE tag.task_id = t.id),
    'line', (SELECT o.queue || ' ' || o.order_key || ' ' || o.state
             FROM taskflow_ordered AS o WHERE o.task_id = t.id),
    'member', (SELECT m.group_id FROM taskflow_group_members AS m WHERE m.task_id = t.id),
    'parents', (SELECT jsonb_agg(coalesce(e.name, e.parent_id::text) ORDER BY e.name, e.parent_id)
                FROM taskflow_edges AS e WHERE e.child_id = t.id))
FROM unnest(%s::uuid[]) WITH ORDINALITY AS stored (id, n) JOIN taskflow_tasks AS t USING (id)
ORDER BY n
"""


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        rows: The rows that it stored, or found.
        status: The HTTP status of its error.
        type: The type of that problem.
        detail: Its message.
        errors: Each error and its place.
    """

    rows: list[Any]
    status: int = 201
    type: str = ""
    detail: str = ""
    errors: Any = ()


class Ways(NamedTuple):
    """A service that runs nothing, and its database."""

    server: LiveServer
    connection: psycopg.Connection[Any]

    def by_http(self, body: str) -> Outcome:
        answer = self.server.post(body.encode())
        if answer.status >= 400:
            problem = answer.json
            errors = [(one["pointer"], one["detail"]) for one in problem.get("errors", ())]
            return Outcome([], answer.status, problem["type"], problem["detail"], errors)
        tasks = answer.json if isinstance(answer.json, list) else [answer.json]
        ids = [task["id"] for task in tasks]
        try:
            return Outcome(self.http_rows(ids))
        finally:
            self.connection.execute("DELETE FROM taskflow_tasks WHERE id = ANY (%s::uuid[])", [ids])
            self.connection.execute("DELETE FROM taskflow_ordered; DELETE FROM taskflow_edges")
            self.connection.commit()

    def with_sql(self, body: str, function: str) -> Outcome:
        try:
            rows = self.connection.execute(f"SELECT {function}", [body]).fetchall()
            return Outcome(self.rows([task_id for (task_id,) in rows]))
        except psycopg.Error as error:
            code = error.sqlstate or ""
            assert code.startswith("TF"), error
            problem = json.loads(error.diag.message_detail or "")
            errors = [(one["pointer"], one["detail"]) for one in problem["errors"]]
            message = error.diag.message_primary or ""
            return Outcome([], int(code[2:]), problem["type"], message, errors)
        finally:
            self.connection.rollback()

    def by_enqueue(self, body: str, *, is_array: bool = False) -> Outcome:
        try:
            if is_array:
                items = [Submission.from_json(bytes(one)) for one in _LIST.decode(body)]
                tasks = enqueue_many(self.connection, items)
            else:
                options = _OBJECT.decode(body)
                tasks = [enqueue(self.connection, options.pop("payload"), **options)]
            return Outcome(self.rows([task.id for task in tasks]))
        except Problem as error:
            errors = [(one.pointer, one.detail) for one in error.errors]
            return Outcome([], error.status_code or 0, error.type, str(error), errors)
        finally:
            self.connection.rollback()

    def http_rows(self, ids: list[Any]) -> list[Any]:
        """The rows without what the node changes: it starts the first task of an order key."""
        return [without_line(row) for row in self.rows(ids)]

    def rows(self, ids: list[Any]) -> list[Any]:
        return [row for (row,) in self.connection.execute(_ROWS, [_VOLATILE, ids])]

    def as_stored(self, document: Any) -> str | None:
        """The text of a document as ``jsonb`` has it; ``None`` if it cannot."""
        try:
            text = json.dumps(document, allow_nan=False)
            [(body,)] = self.connection.execute("SELECT %s::jsonb::text", [text])
        except psycopg.Error:
            return None
        finally:
            self.connection.rollback()
        return body


@pytest.fixture(scope="module")
def ways(postgres_server: str) -> Iterator[Ways]:
    with (
        open_database(postgres_server) as url,
        LiveServer(
            database_url=url, max_attempts=1, public_url="https://tasks.example.com"
        ) as server,
        psycopg.connect(url) as connection,
    ):
        for queue in made.QUEUES:
            answer = server.ask("PUT", f"/queues/{queue}", b'{"paused": true}')
            assert answer.status < 300, answer
        connection.execute(
            "INSERT INTO taskflow_credentials (name, kind, hosts, sealed)"
            " VALUES ('billing', 'bearer', '{example.com}', '')"
        )
        for group, status in ((made.KNOWN_GROUP, "OPEN"), (made.CLOSED_GROUP, "CLOSED")):
            connection.execute(
                "INSERT INTO taskflow_groups (id, queue, status) VALUES (%s, 'default', %s)",
                [group, status],
            )
        connection.execute(
            "INSERT INTO taskflow_tasks (id, payload, size_bytes, queue, run_at, max_attempts)"
            " VALUES (%s, '1', 1, 'default', taskflow_never(), 1)",
            [made.KNOWN_TASK],
        )
        connection.commit()
        yield Ways(server, connection)


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
NAMES = {"payload", *KNOWN}
ONE = "taskflow_submit(jsonb_build_array(%s::jsonb), false, NULL)"
MANY = "taskflow_enqueue_many(%s::jsonb)"


def without_line(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the state of its order key."""
    return row if row["order_key"] is None else {**row, "waiting_for": "", "due": "", "line": ""}


def check(ways: Ways, body: str, *, is_array: bool) -> None:
    """Compare the three ways."""
    sql = ways.with_sql(body, MANY if is_array else f"unnest({ONE})")
    http = ways.by_http(body)
    if any("SQL cannot " in detail for _, detail in sql.errors):
        return
    assert sql._replace(rows=list(map(without_line, sql.rows))) == http, body
    document = json.loads(body)
    if can_be_submission(document, is_array=is_array):
        enqueued = ways.by_enqueue(body, is_array=is_array)
        assert enqueued.rows == sql.rows, body
        if not is_array:
            assert enqueued.detail == sql.detail, body


def can_be_submission(document: Any, *, is_array: bool) -> bool:
    """Whether the arguments of ``enqueue`` can be such documents."""
    documents = document if is_array else [document]
    return all(
        isinstance(one, dict) and "payload" in one and one.keys() <= NAMES for one in documents
    )


def check_one(ways: Ways, data: st.DataObject) -> None:
    body = ways.as_stored(data.draw(made.documents))
    if body is not None and not body.startswith("["):
        check(ways, body, is_array=False)


def check_array(ways: Ways, data: st.DataObject) -> None:
    body = ways.as_stored(data.draw(made.arrays))
    if body is not None:
        check(ways, body, is_array=True)


def test_all_fields_are_compared():
    """A field that is added to the declaration is added to the documents."""
    assert made.FIELDS.keys() == made.VALID.keys() == KNOWN


@pytest.mark.parametrize(
    "document",
    [
        {"payload": "http://x/", "after": ["a", "z"]},
        {"payload": "http://x/", "after": [made.UNKNOWN, made.UNKNOWN.replace("0", "1")]},
        {"payload": "http://x/", "run_at": "9999-12-31T23:59:59.9999999-23:59"},
        {"payload": "http://[::102:304]/"},
        {"payload": "http://x/?token=***", "callback_url": "https://h/?token=***"},
        {"payload": "http://x/", "backoff": {"factor": 2}},
        {"payload": "http://x/", "order_key": "k", "after": []},
        {"payload": {"url": "http://x/", "body": {"base64": "YQ"}, "methode": "GET"}},
        {"url": "http://x/", "headers": {}},
        {},
    ],
)
def test_tasks_that_were_different(ways, document):
    """Tasks that an earlier version of the functions stored or rejected differently."""
    check(ways, ways.as_stored(document), is_array=False)


@settings(max_examples=80)
@given(st.data())
def test_one_task(ways: Ways, data: st.DataObject):
    """A task: the same row, or the same errors in the same words."""
    check_one(ways, data)


@settings(max_examples=30)
@given(st.data())
def test_an_array(ways: Ways, data: st.DataObject):
    """An array: the same rows and links, or the errors of all tasks."""
    check_array(ways, data)


@pytest.mark.long
@settings(max_examples=3000)
@given(st.data())
def test_many_tasks(ways: Ways, data: st.DataObject):
    """More tasks, for minutes."""
    check_one(ways, data)


@pytest.mark.long
@settings(max_examples=1500)
@given(st.data())
def test_many_arrays(ways: Ways, data: st.DataObject):
    """More arrays, for minutes."""
    check_array(ways, data)
