"""One bad row never stops a node, a list, an export, a count or a page, whatever it holds."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from taskflow.engine import parking
from tests.api.conftest import open_database
from tests.api.hostile_rows import GOOD, KNOWN, KNOWN_GROUP, columns, insert_all, is_data
from tests.api.live import LiveServer
from tests.api.sse import open_stream
from tests.cli.command import CommandLine
from tests.service.processes import wait_until

PATIENCE_SECONDS = 60.0
COLUMNS_AT_ONCE = 20
# In an ordinary run, each third of the rows of a column, beginning with another one in each.
SHORT_STEP = 3
LINES = {"accept": "application/x-ndjson"}
PAGES = (
    *("/readyz", "/tasks?limit=1000", "/tasks?limit=3", "/tasks?limit=1000&fields=id,status"),
    *(f"/tasks?status={status}" for status in ("PENDING", "RUNNING", "COMPLETED", "FAILED")),
    *(
        "/tasks?url_contains=zzzz",
        "/tasks?url_contains=127.0.0.1",
        "/tasks?host=127.0.0.1",
        "/tasks?tag=a:b",
    ),
    *("/tasks?queue=odd", "/tasks?error_type=internal", "/tasks?tag=a:b&url_contains=z"),
    *("/tasks?created_after=2020-01-01T00:00:00Z", "/tasks?finished_before=2090-01-01T00:00:00Z"),
    *("/stats", "/stats/history", "/stats/history?queue=odd", "/queues", "/queues/odd"),
    *("/stats/series", "/stats/series?span=7d", "/stats/series?span=24h&queue=odd"),
    *("/failures?state=all", "/ui/failures?state=all", f"/tasks?failure={uuid.UUID(int=9)}"),
    *("/topics", "/topics?limit=1", "/topics/known", "/topics/known/endpoints?limit=1000"),
    *("/ui/topics", "/ui/topics/known", "/credentials"),
    *("/ui/queues", "/ui/queues/odd", "/ui/schedules", "/ui/schedules/odd", "/ui/schedules/known"),
    *("/ui/hosts", "/ui/hosts/odd.example", "/ui/nodes", f"/ui/nodes/{uuid.UUID(int=4)}"),
    *("/queues/default", "/schedules", "/schedules/odd", "/schedules?limit=1", "/nodes", "/hosts"),
    *(
        "/metrics",
        "/ui",
        "/ui/tasks",
        "/ui/tasks?status=FAILED",
        "/ui/tasks?url_contains=z",
        "/ui/submit",
    ),
    *("/heartbeats?limit=1000", "/heartbeats?limit=1", "/heartbeats/known"),
    *("/heartbeats/known/history", "/ui/heartbeats", "/ui/heartbeats/known"),
    *(f"/tasks/{KNOWN}{part}" for part in ("", "/attempts", "/result")),
    *(f"/ui/tasks/{KNOWN}", "/groups", "/groups?limit=1&queue=odd", "/groups?status=CLOSED"),
    *(f"/groups/{KNOWN_GROUP}", f"/tasks?group={KNOWN_GROUP}", "/ui/groups"),
    f"/ui/groups/{KNOWN_GROUP}",
)
OF_ONE = (
    *("/tasks/{}", "/tasks/{}/attempts", "/tasks/{}/result"),
    *("/ui/tasks/{}", "/ui/tasks/{}/result", "/ui/submit?from={}"),
)
OPEN = """
    SELECT status, attempt, error, options::text, payload::text FROM taskflow_tasks
    WHERE status = 'RUNNING' OR status = 'PENDING' AND run_at <= now() LIMIT 5
"""
MEMBERS = """
    WITH added AS (
        INSERT INTO taskflow_tasks (payload, size_bytes, group_id)
        SELECT '"no url"', 8, id FROM taskflow_groups RETURNING id, group_id
    )
    INSERT INTO taskflow_group_members (group_id, task_id) SELECT group_id, id FROM added
"""
# Their rows are looked after as long as they are RUNNING.
PARKED = """
    INSERT INTO taskflow_tasks (id, payload, size_bytes, status, attempt, started_at, node_id, node,
                                claim_token)
    SELECT task_id, '"no url"', 8, 'RUNNING', 1, now(),
           'ffffffff-ffff-ffff-ffff-ffffffffffff', 'gone', token
    FROM taskflow_parked
    ON CONFLICT DO NOTHING
"""
ROWS_OF_PARKED = """
    INSERT INTO taskflow_parked (task_id, token, queue, due_at, overdue_at)
    SELECT id, claim_token, queue, now(), now() FROM taskflow_tasks
    WHERE node_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
"""
END_PARKED = "UPDATE taskflow_parked SET due_at = now(), overdue_at = now()"
NOTIFY = """
    SELECT pg_notify(channel, '')
    FROM unnest('{taskflow_work,taskflow_schedules,taskflow_events}'::text[]) AS channel
"""


@pytest.fixture(scope="module")
def database_uri(postgres_server: str) -> Iterator[str]:
    """A database for the tests of the module."""
    with open_database(postgres_server, is_migrated=True) as url:
        yield url


@pytest.fixture(scope="module")
def server(database_uri: str) -> Iterator[LiveServer]:
    settings = {"backoff_seconds": 0.001, "max_backoff_seconds": 0.001, "retention_seconds": 1e6}
    with (
        pytest.MonkeyPatch.context() as patch,
        LiveServer(database_url=database_uri, workers=20, **settings) as server,
    ):
        patch.setattr(parking, "MAX_SLEEP_SECONDS", 0.5)  # or parked attempts are ended later
        yield server


@pytest.fixture
def database(database_uri, server) -> Iterator[psycopg.Connection]:
    """A connection to the server's database, beside it; its rows are deleted at the end."""
    with psycopg.connect(database_uri, autocommit=True) as connection:
        yield connection
        clear(connection)


def wait_for_none_open(database: psycopg.Connection) -> None:
    """All that is due has been run: the node lives, and nothing is claimed again and again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := database.execute(OPEN).fetchall():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def wait_for_none_due(database: psycopg.Connection) -> None:
    """All parked attempts that are due have been polled or ended, or their rows deleted."""
    query = "SELECT FROM taskflow_parked WHERE due_at <= now()"
    wait_until(lambda: not database.execute(query).rowcount, PATIENCE_SECONDS)


def add_known(database: psycopg.Connection) -> None:
    """A task and a schedule to which other rows may belong."""
    good = GOOD["taskflow_tasks"][8]
    database.execute(
        f"INSERT INTO taskflow_tasks (id, {', '.join(good)}) VALUES (%s{', %s' * len(good)})",
        [KNOWN, *good.values()],
    )
    database.execute("INSERT INTO taskflow_topics (name, queue) VALUES ('known', 'default')")
    definition = {"name": "known", "timing": {"every": 1e6}, "task": 1, "template": {"payload": 1}}
    database.execute(
        "INSERT INTO taskflow_schedules (name, definition, size_bytes, anchor_at, created_at,"
        " updated_at) VALUES ('known', %s, 9, now(), now(), now())",
        [json.dumps(definition)],
    )
    known = {**GOOD["taskflow_heartbeat_monitors"][0], "name": "known", "ping_id": KNOWN}
    database.execute(
        f"INSERT INTO taskflow_heartbeat_monitors ({', '.join(known)}) "
        f"VALUES (%s{', %s' * (len(known) - 1)})",
        [*known.values()],
    )
    database.execute(
        "INSERT INTO taskflow_groups (id, queue, status) VALUES (%s, 'odd', 'CLOSED')",
        [KNOWN_GROUP],
    )


def clear(database: psycopg.Connection) -> None:
    """Delete all rows, except the rows of the server's own node."""
    for table in GOOD:
        mine = "WHERE version = '9.9' OR version IS NULL" if table == "taskflow_nodes" else ""
        database.execute(f"DELETE FROM {table} {mine}")


def check_all_is_shown(server: LiveServer) -> None:
    for path in PAGES:
        answer = server.ask("GET", path)
        assert answer.status in (200, 404), (path, answer)
    exported = server.ask("GET", "/tasks", None, LINES)
    assert exported.status == 200
    assert all("id" in json.loads(line) for line in exported.body.splitlines())


def check_by_hand(server: LiveServer, ids: list[str]) -> None:
    """Routes that read or change one task, or all, handle the row."""
    for task_id in ids:
        with server.connect() as connection:
            for path in OF_ONE:
                answer = connection.ask("GET", path.format(task_id))
                assert answer.status < 500, (path, answer)
    for action in ("cancel", "retry", "delete"):
        for task_id in ids[::5]:
            method, path = ("DELETE", "") if action == "delete" else ("POST", f"/{action}")
            answer = ask_until_served(server, method, f"/tasks/{task_id}{path}")
            assert answer.status < 500, (action, answer)
        body = json.dumps({"all": True}).encode()
        answer = server.ask("POST", f"/tasks/{action}", body, {"content-type": "application/json"})
        assert answer.status == 200, (action, answer)


def ask_until_served(server: LiveServer, method: str, target: str):
    """Ask again while the answer is a 503, as when the task is just being claimed."""
    for _ in range(20):
        answer = server.ask(method, target)
        if answer.status != 503:
            break
    return answer


@contextlib.contextmanager
def watching(server: LiveServer, path: str) -> Iterator[set[tuple[str, str]]]:
    """Collect the tasks and statuses that a stream reports, as it reports them."""
    reported: set[tuple[str, str]] = set()
    with open_stream(server.url, path) as stream:
        stream.begin()

        def read() -> None:
            with contextlib.suppress(OSError):  # the connection is closed at the end
                for one in stream:
                    reported.add((one.json.get("task_id"), one.json.get("status")))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield reported
        finally:
            stream.end()
            reader.join()


def check_goes_on(server: LiveServer, reports: tuple[set[tuple[str, str]], ...]) -> None:
    """A task that is added now is run, and streams report it."""
    good = server.add(b'"no url", "tags": {"a": "b"}')
    assert server.wait(good, PATIENCE_SECONDS)["error_type"] == "invalid_url"
    for reported in reports:
        wait_until(lambda reported=reported: (good, "FAILED") in reported)


@pytest.mark.parametrize("table", GOOD)
def test_an_invalid_row_stops_nothing(server, database, table, is_long):
    """For each column all that the schema permits: work goes on, and all is shown."""
    step = 1 if is_long else SHORT_STEP
    hostile = [
        (column, kind, slice(number % step, None, step))
        for number, (of_table, column, kind) in enumerate(columns(database))
        if of_table == table and is_data(table, column)
    ]
    for start in range(0, len(hostile), COLUMNS_AT_ONCE):
        check_columns(server, database, table, hostile[start : start + COLUMNS_AT_ONCE])
        clear(database)


def check_columns(server, database, table: str, hostile: list[tuple[str, str, slice]]) -> None:
    """Values of some columns at once, each in a row of its own."""
    with watching(server, "/events?tag=a:b") as tagged, watching(server, "/events") as every:
        add_known(database)
        with database.transaction():  # the server deletes rows of parked tasks that do not exist
            assert sum(insert_all(database, table, *column) for column in hostile)
            if table == "taskflow_parked":
                database.execute(PARKED)
            elif table == "taskflow_tasks":
                database.execute(ROWS_OF_PARKED)
        if table.startswith("taskflow_group"):
            database.execute(MEMBERS)  # their ends complete the groups
        database.execute(NOTIFY)
        check_all_is_shown(server)
        check_goes_on(server, (tagged, every))
    if table == "taskflow_parked":
        wait_for_none_due(database)
        database.execute(END_PARKED)  # of some the time would never come
    wait_for_none_open(database)
    check_all_is_shown(server)
    if table == "taskflow_tasks":
        query = "SELECT id::text FROM taskflow_tasks ORDER BY id"
        ids = [row[0] for row in database.execute(query).fetchall()]
        check_by_hand(server, ids[:: max(1, len(ids) // (4 * len(hostile)))])


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("options", '{"retry_on": "never"}', "its row in the database cannot be read"),
        ("options", "5", "its row in the database cannot be read"),
        ("options", r'{"callback_url": "http://x/\u0000", "backoff": 1}', "cannot be read"),
        ("tags", "[1, 2]", "its row in the database cannot be read"),
        ("payload", r'"http://127.0.0.1:9/\ud800"', "the payload cannot be read"),
        ("payload", "[" * 1500 + "]" * 1500, "the payload cannot be read"),
    ],
)
def test_unreadable_tasks_fail(server, database, tmp_path, column, value, reason):
    """It ends FAILED, says why, and is shown with what can be read; its neighbors are run."""
    row = {"payload": '"no url"', "size_bytes": "8", "queue": "odd", column: value}
    statement = (
        f"INSERT INTO taskflow_tasks ({', '.join(row)})"
        f" VALUES ({', '.join(['%s'] * len(row))}) RETURNING id::text"
    )
    [(task_id,)] = database.execute(statement, list(row.values())).fetchall()
    good = server.add(b'"no url"')
    assert server.wait(good)["error_type"] == "invalid_url"
    task = server.wait(task_id)
    assert (task["status"], task["error_type"], task["queue"]) == ("FAILED", "internal", "odd")
    assert reason in task["error"]
    run = CommandLine(tmp_path, url=server.url)
    assert {row[0] for row in run.ok("list").rows} == {task_id, good}
    assert "internal" in run.ok("show", task_id).out


def test_a_callback_that_cannot_be_made_is_not_the_others_loss(server, database):
    """Of tasks that end in one statement each ends, and each other one has its callback."""
    odd = 'odd\\"\x01'
    for queue, retention in (("a", None), (odd, "Infinity"), ("b", "NaN"), ("c", "5")):
        database.execute(
            "INSERT INTO taskflow_tasks (payload, size_bytes, queue, retention_seconds, options,"
            " run_at) VALUES ('1', 1, %s, %s, %s, '2100-01-01')",
            [queue, retention, GOOD["taskflow_tasks"][3]["options"]],
        )
    body = json.dumps({"all": True}).encode()
    answer = server.ask("POST", "/tasks/cancel", body, {"content-type": "application/json"})
    assert answer.json["count"] == 4
    query = "SELECT count(callback_id) FROM taskflow_tasks WHERE status = 'CANCELED'"
    assert database.execute(query).fetchall() == [(4,)]
