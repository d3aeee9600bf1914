"""Health, and the responses that clients get during an outage of the database."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from taskflow.api import problems
from taskflow.api.app import create_app
from taskflow.model.errors import BadRequest, StoreUnavailable, StoreUnusable, TaskNotFound
from taskflow.settings import Settings
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.api.client import PROBLEM, check_problem
from tests.api.conftest import url_query
from tests.api.live import LiveServer
from tests.conftest import EmbeddedInThread
from tests.folders import open_folder
from tests.service.processes import wait_until

PROMISED_SECONDS = 5.0
ANSWER_SECONDS = problems.STORE_ANSWER_SECONDS
TIMEOUT = {"database_timeout_seconds": Settings().database_timeout_seconds}
BACK_SECONDS = 120.0


@pytest.fixture(autouse=True)
def answers_come_as_promised(answers_may_take_longer, monkeypatch):
    """The bound is the one of the service, not the one of most tests."""
    monkeypatch.setattr(problems, "STORE_ANSWER_SECONDS", ANSWER_SECONDS)


def as_url(conninfo: str) -> str:
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    return f"postgresql:///?{url_query(conninfo, name)}"


def check_unavailable(answer, *words):
    check_problem(answer, 503, *words)
    assert int(answer.header("retry-after")) > 0


def until_it_answers(server, status, *request):
    """The first answer of this status, asked for again and again, within bounds."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        answer = server.ask(*request)
        if answer.status == status:
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def test_a_healthy_service(server):
    """/livez and /readyz return ok."""
    for target in ("/livez", "/readyz"):
        answer = server.ask("GET", target)
        assert (answer.status, answer.body) == (200, b"ok\n")
        assert answer.header("content-type") == "text/plain; charset=utf-8"


class TestReadiness:
    """/readyz as JSON, for clients that ask for it by name."""

    @pytest.mark.parametrize(
        ("accept", "is_json"),
        [
            ("application/json", True),
            ("application/json, text/plain;q=0.5", True),
            ("application/json, */*", True),
            ("*/*", False),
            ("text/plain", False),
            ("text/plain, application/json;q=0.5", False),
            ("application/json;q=0", False),
            ("text/html", False),
            ("", False),
        ],
    )
    def test_what_is_accepted_decides(self, memory_server, accept, is_json):
        answer = memory_server.ask("GET", "/readyz", None, {"accept": accept})
        assert answer.status == 200
        if is_json:
            assert answer.json == {"status": "ok", "database": None}
            assert answer.header("content-type") == "application/json"
        else:
            assert answer.body == b"ok\n"

    def test_it_describes_the_database(self, database_uri):
        """Without names of servers: anybody may call it."""
        with LiveServer(database_url=database_uri) as server:
            # Workers run once their node is registered.
            wait_until(lambda: server.ask("GET", "/readyz").status == 200)
            answer = server.ask("GET", "/readyz", None, {"accept": "application/json"})
        assert answer.json == {
            "status": "ok",
            "database": {"host": 1, "hosts": 1, "replication": "none"},
        }


def test_the_promise_is_kept():
    """The bound of each call, by which the clients below are answered, is less."""
    assert ANSWER_SECONDS < PROMISED_SECONDS


def test_an_outage_and_its_end():
    """503 with Retry-After in time while it is stopped, by all routes that need it; then 201."""
    with open_folder() as folder, contextlib.ExitStack() as stack:
        with EmbeddedInThread(folder / "data") as conninfo:
            server = stack.enter_context(LiveServer(database_url=as_url(conninfo), **TIMEOUT))
            before = server.add(b"1")
        requests = [
            ("POST", "/tasks", b'{"payload": 2}'),
            ("GET", "/tasks"),
            ("GET", f"/tasks/{before}"),
            ("GET", "/readyz"),
        ]
        with ThreadPoolExecutor() as threads:
            answers = list(threads.map(lambda request: server.ask(*request), requests))
        for answer in answers:
            check_unavailable(answer, "try again shortly")
            for secret in (str(folder), "socket", "PostgreSQL"):
                assert secret not in answer.json["detail"]
        assert server.ask("GET", "/livez").status == 200
        check_problem(server.ask("POST", "/tasks", b"no JSON"), 400)
        check_problem(server.ask("GET", "/tasks?limit=0"), 422)
        with EmbeddedInThread(folder / "data"):
            answer = until_it_answers(server, 201, *requests[0])
            assert server.show(before)["payload"] == 1
            assert until_it_answers(server, 200, "GET", "/readyz")
            assert server.wait(answer.json["id"])["error_type"] == "invalid_url"
            stack.close()


def test_the_database_is_slow(database_uri):
    """A database that does not respond causes 503 in time, and 201 once it responds again."""
    request = ("POST", "/tasks", b'{"payload": 1}')
    with LiveServer(database_url=database_uri, **TIMEOUT) as server:
        with psycopg.connect(database_uri) as connection:
            connection.execute("LOCK TABLE taskflow_tasks IN ACCESS EXCLUSIVE MODE")
            with ThreadPoolExecutor() as threads:
                requests = [request, request, ("GET", "/tasks")]
                answers = list(threads.map(lambda one: server.ask(*one), requests))
            for answer in answers:
                check_unavailable(answer)
        assert until_it_answers(server, 201, *request).json["payload"] == 1


def test_the_database_is_dropped(database_uri, postgres_server):
    """A database that is gone is an outage to the client, not a fault of the service."""
    name = psycopg.conninfo.conninfo_to_dict(database_uri)["dbname"]
    with LiveServer(database_url=database_uri, **TIMEOUT) as server:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        requests = [("POST", "/tasks", b'{"payload": 1}'), ("GET", "/readyz")]
        with ThreadPoolExecutor() as threads:
            for answer in threads.map(lambda request: server.ask(*request), requests):
                check_unavailable(answer)
        assert server.ask("GET", "/livez").status == 200


class FaultyStore(MemoryStore):
    """One whose every answer is the exception that it was given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def get(self, task_id):
        raise self._error

    async def check(self):
        raise self._error


class TestErrors:
    TASK = "/tasks/01900000-0000-7000-8000-000000000000"

    async def ask(self, error: BaseException, target: str = TASK):
        app = create_app(FaultyStore(error), Settings(), lambda: True)
        response = await app.test_client().get(target)
        return response, await response.get_json(force=True)

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("a secret"),
            RecursionError("a secret"),
            UnicodeEncodeError("utf-8", "\ud800", 0, 1, "a secret"),
            StoreUnusable("a secret"),
            ExceptionGroup("a secret", [RuntimeError("a secret")]),
            ExceptionGroup("a secret", [ExceptionGroup("a secret", [KeyError("a secret")])]),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_a_fault_is_a_problem_and_is_logged(self, error, events):
        """500 without a word of what is the matter, which the log has."""
        response, problem = await self.ask(error)
        assert (response.status_code, response.content_type) == (500, PROBLEM)
        assert list(problem) == ["type", "title", "status", "detail"]
        assert "secret" not in str(problem)
        assert [event["event"] for event in events] == [Event.REQUEST_ERROR.value[1]]
        events.clear()

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ExceptionGroup("", [TaskNotFound()]), 404),
            (ExceptionGroup("", [ExceptionGroup("", [BadRequest()])]), 400),
            (ExceptionGroup("", [StoreUnavailable("10.0.0.1 is down")]), 503),
            (StoreUnavailable("10.0.0.1 is down"), 503),
        ],
    )
    async def test_our_own_errors_keep_their_status(self, error, status):
        """Also when a nursery has wrapped them; and the database's words stay here."""
        response, problem = await self.ask(error)
        assert (response.status_code, problem["status"]) == (status, status)
        assert "10.0.0.1" not in problem["detail"]
        assert ("Retry-After" in response.headers) == (status == 503)

    async def test_ready_needs_a_store(self):
        """/readyz is 503 as a problem when the store does not answer."""
        response, problem = await self.ask(StoreUnavailable(), "/readyz")
        assert (response.status_code, response.content_type) == (503, PROBLEM)
        assert "task store" in problem["detail"]

    async def test_ready_needs_workers(self):
        """/readyz fails without workers, /livez does not."""
        app = create_app(MemoryStore(), Settings(), lambda: False)
        response = await app.test_client().get("/readyz")
        problem = await response.get_json(force=True)
        assert (response.status_code, response.content_type) == (503, PROBLEM)
        assert problem["detail"] == "the workers are not running"
        assert int(response.headers["Retry-After"]) > 0
        app = create_app(FaultyStore(StoreUnavailable()), Settings(), lambda: False)
        assert (await app.test_client().get("/livez")).status_code == 200
