"""Many tasks are canceled, run again and deleted at once, by what they are."""

from __future__ import annotations

import json
import time
import uuid

import psycopg
import pytest

from taskflow.api import bulk_actions
from taskflow.api.bulk_actions import BATCH
from taskflow.model.audit import Actor
from taskflow.store.memory.store import MemoryStore
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.service.targets import Target
from tests.store.contract import new_task

VERBS = ["cancel", "retry", "delete"]


@pytest.fixture
def own_server(empty_url):
    """A server of each kind without tasks in it."""
    with LiveServer(database_url=empty_url) as server:
        yield server


def ask(server, verb: str, **body):
    return server.ask("POST", f"/tasks/{verb}", json.dumps(body).encode())


def moved(server, verb: str, **body) -> int:
    """To how many it was done, all of them."""
    answer = ask(server, verb, **body)
    assert answer.status == 200, answer
    assert answer.header("content-type") == "application/json"
    is_dry_run = body.get("dry_run", False)
    count = answer.json["count"]
    assert answer.json == {"count": count, "complete": True, "dry_run": is_dry_run}
    return count


def add(server, count: int, **fields) -> list[str]:
    """Tasks that are not run for now."""
    tasks = [
        {"payload": f"http://x.example/{n}", "delay_seconds": 3600, **fields} for n in range(count)
    ]
    answer = server.ask("POST", "/tasks", json.dumps(tasks).encode())
    assert answer.status == 201, answer
    return [task["id"] for task in answer.json]


def statuses(server, ids) -> set[str]:
    return {server.show(task_id)["status"] for task_id in ids}


class TestVerbs:
    def test_cancel_retry_and_delete(self, own_server):
        """Tasks that match are canceled, retried, and deleted when finished; others are not."""
        ours, others = add(own_server, 7, queue="ours"), add(own_server, 3)
        assert moved(own_server, "cancel", queue="ours", dry_run=True) == 7
        assert statuses(own_server, ours) == {"PENDING"}
        assert moved(own_server, "cancel", queue="ours") == 7
        assert moved(own_server, "cancel", queue="ours") == 0
        assert statuses(own_server, ours) == {"CANCELED"}
        assert moved(own_server, "delete", queue="ours", dry_run=True) == 7
        assert moved(own_server, "retry", queue="ours", status="CANCELED", dry_run=True) == 7
        assert moved(own_server, "retry", queue="ours", status=["CANCELED", "FAILED"]) == 7
        for task_id in ours:
            own_server.wait(task_id)
        assert moved(own_server, "delete", queue="ours", status="PENDING") == 0
        assert moved(own_server, "delete", queue="ours") == 7
        assert [task["id"] for task in own_server.ask("GET", "/tasks").json] == others[::-1]
        assert statuses(own_server, others) == {"PENDING"}

    def test_each_filter(self, own_server):
        """What finds tasks in the list finds the same ones here."""
        one, two, three = (
            add(own_server, 1, tags={"n": n, "even": n % 2 == 0}, queue=f"q{n}")[0]
            for n in (1, 2, 3)
        )
        failed = own_server.run(b'"nothing"')
        created = own_server.show(two)["created_at"]
        for filters, count in [
            ({"status": "PENDING"}, 3),
            ({"status": ["PENDING", "RUNNING"]}, 3),
            ({"queue": "q2"}, 1),
            ({"tags": {"even": False}}, 2),
            ({"tags": {"even": "false", "n": 3}}, 1),
            ({"host": "X.example"}, 3),
            ({"created_after": created}, 2),
            ({"created_before": created}, 1),
            ({"url_contains": "example/"}, 3),
            ({"url_contains": "Example/"}, 0),
            ({"id_prefix": two}, 1),
            ({"id_prefix": "00000000"}, 0),
            ({"error_type": "invalid_url"}, 0),
            ({"all": True}, 3),
            ({"all": True, "queue": "q1"}, 1),
        ]:
            assert moved(own_server, "cancel", dry_run=True, **filters) == count, filters
        finished = failed["finished_at"]
        assert moved(own_server, "retry", dry_run=True, error_type="invalid_url") == 1
        assert moved(own_server, "delete", dry_run=True, finished_after=finished) == 1
        assert moved(own_server, "delete", dry_run=True, finished_before=finished) == 0
        assert statuses(own_server, [one, two, three]) == {"PENDING"}

    @pytest.mark.parametrize("count", [BATCH, 2 * BATCH + 1])
    def test_more_than_a_batch(self, own_server, count):
        """However many they are, each once."""
        add(own_server, count)
        assert moved(own_server, "cancel", all=True, dry_run=True) == count
        assert moved(own_server, "cancel", all=True) == count
        assert own_server.ask("GET", "/stats").json["total"]["counts"]["CANCELED"] == count
        assert moved(own_server, "delete", all=True) == count
        assert own_server.ask("GET", "/tasks").json == []

    def test_tasks_that_run(self, empty_url):
        """They are cut off as if each had been canceled by itself."""
        with Target() as target, LiveServer(database_url=empty_url, workers=2) as server:
            ids = [server.add(json.dumps(f"{target.url}/held").encode()) for _ in range(5)]
            target.wait_for("/held", times=2)
            assert moved(server, "cancel", host="127.0.0.1") == 5
            target.wait_for_close("/held")
            assert statuses(server, ids) == {"CANCELED"}
            assert moved(server, "retry", all=True) == 5

    def test_nothing_there(self, own_server):
        """No tasks at all are none that match."""
        for verb in VERBS:
            assert moved(own_server, verb, all=True) == 0


class TestRequests:
    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("body", [{}, {"dry_run": True}, {"all": False}])
    def test_all_must_be_explicit(self, server, verb, body):
        """Without a filter the 422 says what to do, and nothing changes."""
        [task_id] = add(server, 1)
        problem = check_problem(ask(server, verb, **body), 422, '"all": true', "error_type")
        assert problem["errors"][0]["pointer"] == "#/all"
        assert statuses(server, [task_id]) == {"PENDING"}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *[("status", value) for value in ("", "pending", [], ["PENDING", "x"], None, 1)],
            *[("queue", value) for value in ("", "a b", None, 1, ["mail"])],
            *[("tags", value) for value in ({}, {"a b": 1}, {"a": None}, {"a": 1.5}, [], "a:b")],
            *[("host", value) for value in ("", "a/b", None)],
            *[("error_type", value) for value in ("", "x", ["dns"], None)],
            *[("created_after", value) for value in ("", "2026-11-24", 0, None)],
            *[("finished_before", value) for value in ("now", None)],
            *[("url_contains", value) for value in ("", "\0", "a\n", None)],
            *[("id_prefix", value) for value in ("", "-" * 8, 12345678, None)],
            *[("all", value) for value in (1, "true", None)],
            *[("dry_run", value) for value in (0, "false", None)],
        ],
    )
    def test_invalid_values(self, server, field, value):
        """A 422 with the pointer and the allowed values."""
        [task_id] = add(server, 1, queue="bad")
        body = {"queue": "bad", field: value}
        problem = check_problem(ask(server, "cancel", **body), 422, f"{field} must be")
        assert [error["pointer"].split("/")[1] for error in problem["errors"]] == [field]
        assert statuses(server, [task_id]) == {"PENDING"}

    def test_unknown_fields(self, server):
        """A misspelled filter must not match all tasks; all errors are reported at once."""
        answer = ask(server, "delete", statuses="FAILED", limit=3, queue="a b", all=True)
        problem = check_problem(answer, 422, "did you mean status?")
        places = sorted(error["pointer"] for error in problem["errors"])
        assert places == ["#/limit", "#/queue", "#/statuses"]

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"null", b"no JSON", b"\xff", b'"x"', b"[" * 9999]
    )
    def test_no_object(self, server, body):
        """400 (or 422 for what is too deep), and what to send instead."""
        answer = server.ask("POST", "/tasks/delete", body)
        assert answer.status in (400, 422)
        check_problem(answer, answer.status)

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
    def test_other_methods(self, server, verb, method):
        """405: a verb is not taken for an id."""
        answer = server.ask(method, f"/tasks/{verb}")
        check_problem(answer, 405)
        assert answer.header("allow") == "OPTIONS, POST"

    def test_bulk_actions_need_a_role_that_may_write(self, empty_url):
        """The role read is rejected."""
        keys = "reader:read:" + "r" * 40 + ",writer:write:" + "w" * 40
        with LiveServer(database_url=empty_url, api_keys=keys) as server:
            for letter, status in (("r", 403), ("w", 200)):
                credentials = {"authorization": f"Bearer {letter * 40}"}
                answer = server.ask("POST", "/tasks/delete", b'{"all": true}', credentials)
                assert answer.status == status


class TestInTime:
    def test_long_actions_are_divided(self, own_server, monkeypatch):
        """Told how far it came when the time is over; the same again does the rest."""
        monkeypatch.setattr(bulk_actions, "BATCH", 2)
        monkeypatch.setattr(bulk_actions, "MAX_SECONDS", 0.002)
        ids = add(own_server, 500)
        first = ask(own_server, "cancel", all=True).json
        assert (first["count"] < len(ids), first["complete"]) == (True, False)
        monkeypatch.setattr(bulk_actions, "MAX_SECONDS", 2.0)
        counts, is_complete = [first["count"]], False
        deadline = time.monotonic() + 120
        while not is_complete:
            assert time.monotonic() < deadline
            reported = ask(own_server, "cancel", all=True).json
            counts.append(reported["count"])
            is_complete = reported["complete"]
        assert sum(counts) == len(ids)
        assert statuses(own_server, ids[::50]) == {"CANCELED"}

    def test_the_database_hangs_in_the_middle(self, database_uri):
        """503 says that some may be done; the same again does the rest."""
        with LiveServer(database_url=database_uri, database_timeout_seconds=2.5) as server:
            ids = add(server, BATCH + 10)
            with psycopg.connect(database_uri) as connection:
                lock = "SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE"
                connection.execute(lock, [uuid.UUID(ids[0])])
                answer = ask(server, "cancel", all=True)
            problem = check_problem(answer, 503, "some tasks may be processed")
            assert "PostgreSQL" not in problem["detail"]
            assert answer.header("retry-after")
            assert statuses(server, ids[-3:]) == {"CANCELED"}
            assert statuses(server, ids[:3]) == {"PENDING"}
            assert moved(server, "cancel", all=True) == 10


class RacedStore(MemoryStore):
    """A store with a race: after each read, one task finishes and another is added."""

    async def page(self, **asked):
        page = await super().page(**asked)
        await self.add([new_task(queue="mail")])
        if asked["limit"] > 1 and page.tasks:
            await self.cancel_many([page.tasks[0].id])
        return page


async def test_concurrent_changes():
    """Tasks that another client canceled are skipped; later tasks stay unchanged."""
    store = RacedStore()
    added = await store.add([new_task(queue="mail") for _ in range(5)])
    verb = bulk_actions.bulk_actions_of(store)["cancel"]
    many = bulk_actions.bulk_selection_of(b'{"queue": "mail"}')
    reported = await bulk_actions.run_bulk_action(store, verb, many, Actor("ada"))
    assert (reported.count, reported.complete) == (4, True)
    assert {store._tasks[task.id].status for task in added} == {"CANCELED"}
    later = [task for task in store._tasks.values() if task not in added]
    assert [task.status for task in later if task.id > added[-1].id] == ["PENDING"] * 3
