"""Tasks whose targets answer 202 and work on, on two nodes, and with nodes that die."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.loopback import ENCRYPTION_KEY
from tests.service.database import Row, Tasks
from tests.service.processes import PATIENCE_SECONDS, Answer, Running, running, wait_until

# As behind a proxy: nodes serve other ports.
PUBLIC_URL = "https://tasks.example/base"
LONG_SECONDS = 3600
SETTINGS = {
    "TASKFLOW_PUBLIC_URL": PUBLIC_URL,
    "TASKFLOW_LEASE_SECONDS": "2",
    "TASKFLOW_HEARTBEAT_SECONDS": "0.4",
    "TASKFLOW_BACKOFF_SECONDS": "0.2",
    "TASKFLOW_FETCH_TIMEOUT_SECONDS": "1",
    "TASKFLOW_LOG_LEVEL": "debug",
}
OVERDUE = "UPDATE taskflow_parked SET due_at = now(), overdue_at = now() WHERE task_id = %s"
PARKED = "SELECT count(*), min(overdue_at) FROM taskflow_parked"


class Asked(NamedTuple):
    """A request of a task, as it came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def attempt(self) -> int:
        return int(self.headers["x-taskflow-attempt"])

    @property
    def completion_path(self) -> str:
        url = self.headers["x-taskflow-completion-url"]
        assert url.startswith(PUBLIC_URL + "/completions/")
        return url.removeprefix(PUBLIC_URL)


class Accepting:
    """A target that answers 202 to everything but the polls of jobs that are done.

    ``/poll/<job>`` names ``../jobs/<job>`` as the place of its outcome.

    Attributes:
        asked: All requests.
        before_answer: Called before each answer.
        done: The results of jobs that are done.
        retry_after: The ``Retry-After`` of each 202.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.asked: list[Asked] = []
        self.before_answer: Callable[[Asked], object] = lambda _: None
        self.done: dict[str, object] = {}
        self.retry_after = "1"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> Accepting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, path: str, *, times: int = 1) -> list[Asked]:
        """Wait until a path was requested this many times, and return the requests."""

        def came() -> list[Asked]:
            return [one for one in self.asked if one.path == path]

        with self._changed:
            assert self._changed.wait_for(lambda: len(came()) >= times, PATIENCE_SECONDS)
            return came()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers)
                with target._changed:
                    target.asked.append(asked)
                    target._changed.notify_all()
                target.before_answer(asked)
                with contextlib.suppress(OSError):  # who asked may be gone
                    self._answer()

            do_GET = do_POST  # noqa: N815 - the name of the base class

            def _answer(self) -> None:
                kind, job = self.path.split("/")[1:3] if self.path.count("/") > 1 else ("", "")
                is_done = kind == "jobs" and job in target.done
                body = json.dumps(target.done[job]).encode() if is_done else b"accepted"
                self.send_response(200 if is_done else 202)
                if kind == "poll":
                    self.send_header("Location", f"../jobs/{job}?secret=1")
                if not is_done:
                    self.send_header("Retry-After", target.retry_after)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def accepting() -> Iterator[Accepting]:
    with Accepting() as server:
        yield server


def submit(
    node: Running, url: str, mode: str = "callback", within: float = LONG_SECONDS, **fields: object
) -> dict[str, Any]:
    completion = {"mode": mode, "within_seconds": within}
    task = {"payload": {"url": url, "body": {"rows": 3}}, "completion": completion, **fields}
    answer = node.ask("POST", "/tasks", task)
    assert answer.status == 201, answer
    return answer.body


def shown(node: Running, task: dict[str, Any]) -> dict[str, Any]:
    return node.ask("GET", f"/tasks/{task['id']}").body


def wait_until_parked(node: Running, task: dict[str, Any]) -> dict[str, Any]:
    def is_parked() -> dict[str, Any] | None:
        now = shown(node, task)
        return now if now["waiting_for"] is not None else None

    now = wait_until(is_parked)
    assert (now["status"], now["waiting_for"]["reason"]) == ("RUNNING", "completion")
    return now


def report(node: Running, path: str, body: object = None, **headers: str) -> Answer:
    return node.ask("POST", path, body, MappingProxyType(headers))


def is_over(answer: Answer) -> bool:
    return (answer.status, answer.body["type"]) == (410, "/problems/attempt-over")


def one_node(
    folder: Path, tasks: Tasks, **settings: object
) -> contextlib.AbstractContextManager[Running]:
    return running("serve", folder, DATABASE_URL=tasks.url, **SETTINGS, **settings)


@contextlib.contextmanager
def two_nodes(folder: Path, tasks: Tasks, **settings: object) -> Iterator[tuple[Running, Running]]:
    with one_node(folder, tasks, **settings) as one, one_node(folder, tasks, **settings) as two:
        yield one, two


def test_the_target_completes_its_task(tmp_path, tasks, accepting):
    """At any node, once; until then it is parked. The token is in no log."""
    with two_nodes(tmp_path, tasks) as (one, two):
        task = submit(one, f"{accepting.url}/a")
        [asked] = accepting.wait_for("/a")
        assert wait_until_parked(two, task)["attempt"] == 1
        path = asked.completion_path
        for wrong in (
            path[:-1] + "!",
            path.replace(task["id"], asked.headers["x-taskflow-id"][::-1]),
        ):
            assert is_over(report(two, wrong, {"rows": 3}))
        ended = report(two, path, {"rows": 3})
        assert (ended.status, ended.body) == (200, {"task_id": task["id"], "status": "COMPLETED"})
        for node in (one, two):
            now = shown(node, task)
            assert (now["status"], now["waiting_for"]) == ("COMPLETED", None)
            assert (now["result"]["result"], now["result"]["message"]) == ({"rows": 3}, "completed")
        for late in (path, f"{path}/failure", f"{path}/heartbeat"):
            assert is_over(report(one, late))
        [attempt] = one.ask("GET", f"/tasks/{task['id']}/attempts").body
        assert (attempt["number"], attempt["status"]) == (1, "COMPLETED")
        token = urlsplit(path).path.rpartition("/")[2]
        assert "task parked" in one.log + two.log
        assert token not in one.log + two.log
    assert tasks.execute(PARKED).fetchone() == (0, None)


def test_a_target_that_is_faster_than_its_response(tmp_path, tasks, accepting):
    """The URL is valid before the 202 has arrived, which then changes nothing."""
    with two_nodes(tmp_path, tasks) as (one, two):
        ended: list[Answer] = []
        accepting.before_answer = lambda asked: ended.append(
            report(two, asked.completion_path, "text", **{"Content-Type": "text/plain"})
        )
        task = submit(one, f"{accepting.url}/a", max_attempts=3)
        wait_until(lambda: ended)
        assert ended[0].body["status"] == "COMPLETED"
        assert one.ask("GET", f"/tasks/{task['id']}?wait=5").body["status"] == "COMPLETED"
        # Another task is parked after this one was answered.
        accepting.before_answer = lambda _: None
        wait_until_parked(one, submit(one, f"{accepting.url}/b"))
        assert tasks.row(task["id"]) == Row("COMPLETED", attempt=1, rescues=0)
        assert tasks.execute(PARKED).fetchone()[0] == 1
        assert "outcome dropped" not in one.log + two.log
        assert len(accepting.wait_for("/a")) == 1


def test_a_failure_is_retried(tmp_path, tasks, accepting):
    """Each attempt has its own URL, and older ones change nothing. A failure may be final."""
    with two_nodes(tmp_path, tasks) as (one, two):
        task = submit(one, f"{accepting.url}/a", max_attempts=3)
        [first] = accepting.wait_for("/a")
        wait_until_parked(one, task)
        failed = report(two, f"{first.completion_path}/failure", {"error": "the table is locked"})
        assert (failed.status, failed.body["status"]) == (200, "PENDING")
        _, second = accepting.wait_for("/a", times=2)
        now = wait_until_parked(one, task)
        assert (now["attempt"], second.attempt) == (2, 2)
        assert first.completion_path != second.completion_path
        before = tasks.execute("SELECT * FROM taskflow_parked").fetchall()
        for late in ("", "/failure", "/heartbeat"):
            for node in (one, two):
                assert is_over(report(node, first.completion_path + late))
        assert tasks.execute("SELECT * FROM taskflow_parked").fetchall() == before
        assert shown(one, task) == now
        final = {"error": "no rows", "retry": False}
        failed = report(two, f"{second.completion_path}/failure", final)
        assert (failed.status, failed.body["status"]) == (200, "FAILED")
        now = shown(one, task)
        assert (now["error"], now["error_type"]) == ("reported: no rows", "reported")
        attempts = one.ask("GET", f"/tasks/{task['id']}/attempts").body
        assert [attempt["error_type"] for attempt in attempts] == ["reported", "reported"]
        assert len(accepting.asked) == 2


def test_heartbeats(tmp_path, tasks, accepting):
    """Each moves the time at which the attempt is overdue."""
    with two_nodes(tmp_path, tasks) as (one, two):
        task = submit(one, f"{accepting.url}/a")
        [asked] = accepting.wait_for("/a")
        wait_until_parked(one, task)
        for node in (one, two):
            _, overdue_at = tasks.execute(PARKED).fetchone()
            extended = report(node, f"{asked.completion_path}/heartbeat")
            assert extended.status == 200
            _, later = tasks.execute(PARKED).fetchone()
            assert dt.datetime.fromisoformat(extended.body["overdue_at"]) == later > overdue_at


def test_silence(tmp_path, tasks, accepting):
    """It is a timeout, which is retried; the last attempt fails."""
    with two_nodes(tmp_path, tasks) as (one, two):
        task = submit(one, f"{accepting.url}/a", within=1, max_attempts=2)
        first, second = accepting.wait_for("/a", times=2)
        assert is_over(report(two, first.completion_path))
        ended = wait_until(lambda: (now := shown(two, task))["status"] == "FAILED" and now)
        assert (ended["error_type"], ended["attempt"]) == ("timeout", 2)
        assert is_over(report(two, second.completion_path))
        attempts = one.ask("GET", f"/tasks/{task['id']}/attempts").body
        assert [attempt["error_type"] for attempt in attempts] == ["timeout", "timeout"]
        assert all(attempt["elapsed_seconds"] >= 1 for attempt in attempts)


def test_polls(tmp_path, tasks, accepting):
    """The Location is polled after Retry-After until it is not a 202; it is stored encrypted."""
    keys = {"TASKFLOW_ENCRYPTION_KEYS": ENCRYPTION_KEY, "TASKFLOW_ENCRYPT": "payloads,results"}
    with two_nodes(tmp_path, tasks, **keys) as (one, two):
        task = submit(one, f"{accepting.url}/poll/7", mode="poll")
        polls = accepting.wait_for("/jobs/7?secret=1", times=2)
        [(stored,)] = tasks.execute("SELECT poll_url FROM taskflow_parked").fetchall()
        assert "jobs" not in stored
        wait_until_parked(two, task)
        accepting.done["7?secret=1"] = {"rows": 3}
        ended = one.ask("GET", f"/tasks/{task['id']}?wait=60").body
        assert (ended["status"], ended["result"]["result"]) == ("COMPLETED", {"rows": 3})
        assert ended["result"]["url"] == f"{accepting.url}/jobs/7?secret=***"
        assert {(one.method, one.attempt) for one in polls} == {("GET", 1)}
        assert {one.headers["x-taskflow-id"] for one in polls} == {task["id"]}
        assert not any("x-taskflow-completion-url" in one.headers for one in accepting.asked)
        assert len(accepting.wait_for("/poll/7")) == 1


def test_the_node_that_parked_is_killed(tmp_path, tasks, accepting):
    """Its attempts stay parked: another node completes them, and ends those that are overdue."""
    with one_node(tmp_path, tasks) as one:
        task = submit(one, f"{accepting.url}/a")
        silent = submit(one, f"{accepting.url}/b", max_attempts=2)
        [asked] = accepting.wait_for("/a")
        for parked in (task, silent):
            wait_until_parked(one, parked)
        one.kill()
    tasks.execute(OVERDUE, silent["id"])
    with one_node(tmp_path, tasks) as two:
        _, second = accepting.wait_for("/b", times=2)
        wait_until_parked(two, silent)
        assert tasks.row(silent["id"]) == Row("RUNNING", attempt=2, rescues=0)
        assert tasks.row(task["id"]) == Row("RUNNING", attempt=1, rescues=0)
        for path in (asked.completion_path, second.completion_path):
            assert report(two, path, {"rows": 3}).body["status"] == "COMPLETED"
        attempts = two.ask("GET", f"/tasks/{silent['id']}/attempts").body
        assert [attempt["error_type"] for attempt in attempts] == ["timeout", None]
        assert len(accepting.asked) == 3


@pytest.mark.long
def test_the_node_that_polls_is_killed(tmp_path, tasks, accepting):
    """Another one polls again; the task is not sent again."""
    is_held, is_released = threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        if asked.path.startswith("/jobs") and not is_held.is_set():
            is_held.set()
            is_released.wait(PATIENCE_SECONDS)

    accepting.before_answer = hold
    with one_node(tmp_path, tasks) as one:
        task = submit(one, f"{accepting.url}/poll/7", mode="poll", max_attempts=3)
        assert is_held.wait(PATIENCE_SECONDS)
        one.kill()
        is_released.set()
    accepting.done["7?secret=1"] = {"rows": 3}
    with one_node(tmp_path, tasks) as two:
        ended = wait_until(lambda: (now := shown(two, task))["status"] != "RUNNING" and now)
        assert (ended["status"], ended["attempt"]) == ("COMPLETED", 1)
        assert (ended["result"]["result"], ended["rescues"]) == ({"rows": 3}, 0)
        assert len(accepting.wait_for("/poll/7")) == 1
