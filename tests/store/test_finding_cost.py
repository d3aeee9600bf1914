"""What finding costs PostgreSQL is bounded, however rare a match is: shown by its query plans."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from functools import partial

import psycopg
import pytest
import trio

from taskflow.model.filter import PageOrder, TaskFilter
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import TaskStatus
from taskflow.model.task_states import TaskState
from taskflow.settings import Settings
from taskflow.store.base.listing import MAX_SCANNED, PAGE_BUDGET_BYTES
from taskflow.store.postgres import search
from taskflow.store.postgres.migrate import migrate_database
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.search import Search, find, parameters_for, statement_for
from tests.api.conftest import open_database

ROWS = 100_000
LIMIT = 100
WINDOW = 400
# Each row that is walked past is in the index, and in a page of the table that its neighbours may
# not share; a tag's row is in an index of its own before. A scan of the table takes 6,104.
MAX_BUFFERS = 9 * WINDOW

FILL = """
WITH made AS (
    SELECT n, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id,
           CASE WHEN n %% 5000 = 7 THEN 'FAILED' WHEN n > 60000 THEN 'PENDING'
                ELSE 'COMPLETED' END AS status
    FROM generate_series(1, %(rows)s) AS n
), tagged AS (
    INSERT INTO taskflow_tags (name, value, task_id)
    SELECT 'half', (n %% 2)::text, id FROM made UNION ALL
    SELECT 'rare', 'yes', id FROM made WHERE n %% 10000 = 1
), failed AS (
    INSERT INTO taskflow_failed_tasks (task_id, failure_id)
    SELECT id, CASE WHEN n %% 5000 = 7 THEN '00000000-0000-0000-0000-000000000001'::uuid
                    ELSE '00000000-0000-0000-0000-000000000002' END FROM made
)
INSERT INTO taskflow_tasks (id, status, size_bytes, payload, result, finished_at, error,
                            error_type, queue, host, created_at)
SELECT id, status, 400, to_json('http://' || n || '.example/' || repeat('x', 200)),
       CASE WHEN status = 'COMPLETED' THEN to_json(repeat('y', 200)) END,
       CASE WHEN status <> 'PENDING' THEN now() END,
       CASE WHEN status = 'FAILED' THEN 'error' END,
       CASE WHEN status = 'FAILED' THEN 'timeout' END,
       CASE WHEN n %% 3 = 0 THEN 'common' WHEN n %% 20000 = 1 THEN 'rare' ELSE 'default' END,
       n || '.example', '2024-06-09 11:30:00Z'
FROM made
"""

BY_PRIMARY_KEY, BY_STATUS = {"taskflow_tasks_pkey"}, {"taskflow_tasks_by_status"}
BY_QUEUE, BY_TAG = {"taskflow_tasks_by_queue"}, {"taskflow_tags_pkey", "taskflow_tasks_pkey"}
BY_FAILURE = {"taskflow_failed_tasks_of_failure", "taskflow_tasks_pkey"}
COMPLETED, FAILED = (TaskStatus.COMPLETED,), (TaskStatus.FAILED,)
SEARCHES = {
    "a host": (TaskFilter(host="7.example"), BY_PRIMARY_KEY),
    "no host": (TaskFilter(host="nowhere"), BY_PRIMARY_KEY),
    "a common queue": (TaskFilter(queue="common"), BY_QUEUE),
    "a rare queue": (TaskFilter(queue="rare"), BY_QUEUE),
    "no queue": (TaskFilter(queue="none"), BY_QUEUE),
    "the default queue": (TaskFilter(queue="default", host="7.example"), BY_PRIMARY_KEY),
    "a common tag": (TaskFilter(tags=(("half", "1"),)), BY_TAG),
    "a rare tag": (TaskFilter(tags=(("rare", "yes"),)), BY_TAG),
    "no tag": (TaskFilter(tags=(("rare", "no"),)), BY_TAG),
    "tags that few have both": (
        TaskFilter(tags=(("half", "1"), ("rare", "yes"))),
        {*BY_TAG, "taskflow_tags_of_task"},
    ),
    "a tag and all else": (
        TaskFilter(
            FAILED,
            "common",
            (("half", "1"),),
            "7.example",
            ErrorType.DNS,
            url_contains="http",
            created_after=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        ),
        BY_TAG,
    ),
    "a common status and a host": (TaskFilter(COMPLETED, host="7.example"), BY_STATUS),
    "a rare status and a host": (TaskFilter(FAILED, host="7.example"), BY_STATUS),
    "statuses": (TaskFilter((*FAILED, TaskStatus.RUNNING)), BY_PRIMARY_KEY),
    "a status and a queue": (TaskFilter(FAILED, queue="common"), BY_STATUS),
    "a URL": (TaskFilter(url_contains="//7.example"), BY_PRIMARY_KEY),
    "a URL in a queue": (
        TaskFilter(queue="common", url_contains="//7.example"),
        {*BY_QUEUE, *BY_PRIMARY_KEY},
    ),
    "the queues of a scope": (TaskFilter(scope=QueueScope(("common",), ("rar",))), BY_QUEUE),
    "a scope and all else": (
        TaskFilter(
            COMPLETED, tags=(("half", "1"),), host="7.example", scope=QueueScope(("common",))
        ),
        {*BY_QUEUE, "taskflow_tags_of_task"},
    ),
    "a failure": (TaskFilter(failure=uuid.UUID(int=1)), BY_FAILURE),
    "tasks that left a failure": (TaskFilter(failure=uuid.UUID(int=2)), BY_FAILURE),
    "due tasks": (TaskFilter(states=(TaskState.DUE,)), BY_STATUS),
    "states of a rare kind": (
        TaskFilter(states=(TaskState.RETRYING, TaskState.HELD), queue="rare"),
        BY_STATUS,
    ),
    "states of both statuses": (
        TaskFilter(states=(TaskState.DUE, TaskState.RUNNING)),
        BY_PRIMARY_KEY,
    ),
    "an error": (TaskFilter(error_type=ErrorType.TIMEOUT), BY_PRIMARY_KEY),
}


# Some rows for each queue, which the statements of a scope read as a whole.
COUNTS = {"taskflow_counts", "taskflow_changes"}


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Only what was walked ends a page here, not the time that it took."""
    monkeypatch.setattr(search, "MAX_SCAN_SECONDS", 600.0)


@pytest.fixture(scope="module")
def full_table(postgres_server):
    """A connection to a database with 100,000 tasks, of which some kinds are rare."""
    with open_database(postgres_server) as url:
        trio.run(
            partial(migrate_database, url, timeout_seconds=Settings().database_timeout_seconds)
        )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL, {"rows": ROWS})
            connection.execute(
                "VACUUM ANALYZE taskflow_tasks, taskflow_tags, taskflow_failed_tasks"
            )
            yield connection


def id_at(place: int) -> uuid.UUID:
    return uuid.UUID(f"01900000-0000-7000-8000-{place:012x}")


def plan_of(
    connection,
    wanted: TaskFilter,
    *,
    before: uuid.UUID | None,
    mode: str,
    order: PageOrder = PageOrder.NEWEST,
) -> dict:
    """The plan of a window, made for its values (``custom``) or for any (``generic``)."""
    page = Search(wanted, LIMIT, before, PAGE_BUDGET_BYTES, order=order)
    values = {**parameters_for(page), "window": WINDOW, "limit": LIMIT + 1}
    names: list[str] = []

    def numbered(match) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    statement = re.sub(r"%\((\w+)\)[sb]", numbered, statement_for(wanted, order))
    with connection.transaction(), psycopg.ClientCursor(connection) as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = force_{mode}_plan")
        cursor.execute(search.SETTINGS)
        cursor.execute(f"PREPARE walk AS {statement}")
        places = ", ".join(["%s"] * len(names))
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE walk ({places})",
            [values[name] for name in names],
        )
        [[[plan]]] = cursor.fetchall()
        cursor.execute("DEALLOCATE walk")
    return plan["Plan"]


def nodes_of(plan: dict):
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize(
    "before", [None, id_at(ROWS // 2), id_at(50)], ids=["head", "middle", "tail"]
)
@pytest.mark.parametrize("name", SEARCHES)
def test_a_window_touches_few_buffers(full_table, name, before, mode):
    """It goes along the one index that was chosen, as far as its bound, and sorts nothing more."""
    wanted, indexes = SEARCHES[name]
    plan = plan_of(full_table, wanted, before=before, mode=mode)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= MAX_BUFFERS
    nodes = [node for node in nodes_of(plan) if node.get("Relation Name") not in COUNTS]
    assert not {node["Node Type"] for node in nodes} & {"Seq Scan", "Bitmap Heap Scan"}
    scans = [node for node in nodes if "Index Name" in node]
    assert {node["Index Name"] for node in scans} <= {*indexes, "taskflow_tasks_pkey"}
    assert {node["Index Name"] for node in scans} >= indexes - {"taskflow_tags_of_task"}
    for node in scans:
        assert node["Actual Rows"] * node["Actual Loops"] <= WINDOW
        assert node.get("Rows Removed by Filter", 0) * node["Actual Loops"] <= WINDOW


@pytest.mark.parametrize("name", SEARCHES)
def test_the_oldest_first_costs_the_same(full_table, name):
    """The same index is scanned in the other direction, from the middle on."""
    wanted, indexes = SEARCHES[name]
    middle = id_at(ROWS // 2)
    plan = plan_of(full_table, wanted, before=middle, mode="generic", order=PageOrder.OLDEST)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= MAX_BUFFERS
    nodes = [node for node in nodes_of(plan) if node.get("Relation Name") not in COUNTS]
    assert not {node["Node Type"] for node in nodes} & {"Seq Scan", "Bitmap Heap Scan"}
    scans = [node for node in nodes if "Index Name" in node]
    assert {node["Index Name"] for node in scans} >= indexes - {"taskflow_tags_of_task"}
    for node in scans:
        assert node["Actual Rows"] * node["Actual Loops"] <= WINDOW


@pytest.mark.parametrize("name", SEARCHES)
def test_a_page_is_walked_no_further_than_its_bound(full_table, name):
    """From the first page to the end each match comes once, and no page takes long."""
    wanted, _ = SEARCHES[name]
    found, before, pages = [], None, 0
    while True:
        page = find(full_table, load_queries(), Search(wanted, LIMIT, before, PAGE_BUDGET_BYTES))
        found += page.ids
        pages += 1
        if pages == 5 or page.next_before is None:
            break
        before = page.next_before
    assert found == sorted(set(found), reverse=True)
    if len(found) < LIMIT:
        assert page.next_before is None
        assert pages <= ROWS // MAX_SCANNED + 1


def test_a_rare_match_ends_the_page_early(full_table):
    """A page may be empty and lead to a next one, at which the walk goes on."""
    search = Search(TaskFilter(host="7.example"), LIMIT, None, PAGE_BUDGET_BYTES)
    first = find(full_table, load_queries(), search)
    assert first.ids == []
    assert id_at(ROWS - 2 * MAX_SCANNED) < first.next_before <= id_at(ROWS - MAX_SCANNED // 2)


def test_moments_bound_the_walk(full_table):
    """Ids contain the time, so older and newer tasks are not scanned."""
    made = dt.datetime(2024, 6, 9, 11, tzinfo=dt.UTC)
    for moments in (
        {"created_before": made - dt.timedelta(days=99)},
        {"created_after": made + dt.timedelta(days=99)},
        {"finished_before": made - dt.timedelta(days=99)},
    ):
        plan = plan_of(
            full_table, TaskFilter(host="7.example", **moments), before=None, mode="generic"
        )
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20


def test_payloads_are_unpacked_up_to_a_bound(full_table, monkeypatch):
    """A window ends after a limited number of scanned bytes, and the next one begins there."""
    monkeypatch.setattr(search, "WINDOW_BYTES", 4000)
    monkeypatch.setattr(search, "MAX_SCANNED", 500)  # windows are of 10 tasks here
    wanted = TaskFilter(url_contains=f"//{ROWS - 99}.example")
    wanted_page = Search(wanted, LIMIT, None, PAGE_BUDGET_BYTES)
    parameters = parameters_for(wanted_page) | {"window": WINDOW, "limit": LIMIT + 1}
    [(ids, _, last, count, has_more)] = full_table.execute(statement_for(wanted), parameters)
    assert (ids, last, count, has_more) == (None, id_at(ROWS - 9), 10, True)
    assert find(full_table, load_queries(), wanted_page).ids == [id_at(ROWS - 99)]
