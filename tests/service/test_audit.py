"""The audit log and kill -9: an action and its entry both exist, or neither does."""

from __future__ import annotations

import contextlib
import http.client
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.service.processes import Running, running, wait_until

FUTURE = {"payload": 1, "delay_seconds": 7200}
SCHEDULE = {"every_seconds": 7200, "task": {"payload": 1}}
WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
  AND query LIKE '%INTO taskflow_audit%'
"""
# What there is after an action, in numbers.
STATE = """
SELECT (SELECT count(*) FROM taskflow_tasks WHERE status <> 'PENDING'),
       (SELECT count(*) FROM taskflow_queues), (SELECT count(*) FROM taskflow_schedules),
       (SELECT count(*) FROM taskflow_audit)
"""
ACTIONS = {
    "cancel": ("POST", "/tasks/{id}/cancel", None),
    "cancel many": ("POST", "/tasks/cancel", {"all": True}),
    "pause": ("POST", "/queues/mail/pause", None),
    "schedule": ("PUT", "/schedules/reports", SCHEDULE),
}


@contextlib.contextmanager
def locked_audit(url: str) -> Iterator[psycopg.Connection]:
    """Let writers of entries wait until the block ends."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE taskflow_audit IN SHARE MODE")
        yield connection


def ask_in_vain(service: Running, method: str, path: str, body: object) -> None:
    """Send a request to a node that dies before it answers."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = service.ask(method, path, body)
        raise AssertionError(answer)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_kill_between_a_change_and_its_entry(tmp_path, tasks, action):
    """The node has changed the rows and is about to write the entry: neither is kept."""
    method, path, body = ACTIONS[action]
    with (
        psycopg.connect(tasks.url, autocommit=True) as connection,
        running("serve", tmp_path, DATABASE_URL=tasks.url) as service,
        ThreadPoolExecutor() as pool,
    ):
        task_id = service.ask("POST", "/tasks", FUTURE).body["id"]
        with locked_audit(tasks.url):
            asked = pool.submit(ask_in_vain, service, method, path.format(id=task_id), body)
            wait_until(lambda: connection.execute(WAITING).fetchall())
            service.end(signal.SIGKILL)
            asked.result()
        wait_until(lambda: not others(connection))
        assert connection.execute(STATE).fetchone() == (0, 0, 0, 0)


def test_a_kill_while_clients_cancel(tmp_path, tasks):
    """At whatever moment: each canceled task is in the log once, alone or counted."""
    with (
        psycopg.connect(tasks.url, autocommit=True) as connection,
        running("serve", tmp_path, DATABASE_URL=tasks.url) as service,
        ThreadPoolExecutor() as pool,
    ):
        ids = add(service, "one", 2000)
        add(service, "many", 2000)
        asked = [pool.submit(cancel_in_turn, service, ids[start::4]) for start in range(4)]
        asked.append(pool.submit(cancel_all, service))
        wait_until(lambda: canceled(connection, "one") > 20 and canceled(connection, "many") > 500)
        service.end(signal.SIGKILL)
        for one in asked:
            one.result()
        wait_until(lambda: not others(connection))
        assert 0 < canceled(connection, "one") < 2000
        single = "SELECT target FROM taskflow_audit WHERE action = 'task.cancel'"
        recorded = [target for (target,) in connection.execute(single)]
        of_one = "SELECT id::text FROM taskflow_tasks WHERE status = 'CANCELED' AND queue = 'one'"
        assert sorted(recorded) == sorted(task_id for (task_id,) in connection.execute(of_one))
        bulk = "SELECT sum(count) FROM taskflow_audit WHERE action = 'tasks.cancel'"
        [(count,)] = connection.execute(bulk)
        assert count == canceled(connection, "many")


def add(service: Running, queue: str, count: int) -> list[str]:
    added = service.ask("POST", "/tasks", [{**FUTURE, "queue": queue}] * count)
    assert added.status == 201, added
    return [task["id"] for task in added.body]


def cancel_in_turn(service: Running, ids: list[str]) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        for task_id in ids:
            service.ask("POST", f"/tasks/{task_id}/cancel")


def cancel_all(service: Running) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        service.ask("POST", "/tasks/cancel", {"queue": "many"})


def canceled(connection: psycopg.Connection, queue: str) -> int:
    query = "SELECT count(*) FROM taskflow_tasks WHERE status = 'CANCELED' AND queue = %s"
    [(count,)] = connection.execute(query, [queue])
    return count


def others(connection: psycopg.Connection) -> list:
    """The sessions of the node, which end after it."""
    query = """
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'taskflow'
    """
    return connection.execute(query).fetchall()
