"""An answer waits for its task: ``Prefer: wait``, ``?wait=``, ``ETag`` and ``If-None-Match``."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskflow.api.live.feed import Feed
from tests.api.client import Connection, NoAnswer, check_problem, request_bytes
from tests.api.live import LiveServer
from tests.service.processes import wait_until
from tests.service.targets import Target

JSON = {"content-type": "application/json"}
UNKNOWN = uuid.UUID(int=7)


@pytest.fixture
def held():
    """A web server that keeps those waiting who ask for ``/held``."""
    with Target() as target:
        yield target


@pytest.fixture
def feeds(monkeypatch):
    """The feeds of the servers that a test starts."""
    made = []

    class Seen(Feed):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("taskflow.service.Feed", Seen)
    return made


def admitted(server: LiveServer) -> Connection | None:
    """A connection of a server with few slots, if one is free."""
    connection = server.connect()
    with contextlib.suppress(NoAnswer):
        if connection.ask("GET", "/livez").status == 200:
            return connection
    connection.close()
    return None


@pytest.fixture
def own(empty_url, feeds):
    """A server of a test's own."""
    with LiveServer(database_url=empty_url, fetch_timeout_seconds=60.0) as server:
        yield server


def payload(url: str) -> bytes:
    return json.dumps({"payload": url}).encode()


def post(server, url: str, query: str = "", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.ask("POST", f"/tasks{query}", payload(url), {**JSON, **fields})


@contextlib.contextmanager
def answer_of(ask, *args, **kwargs):
    """A request that is under way within the block, and its answer afterwards."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(ask, *args, **kwargs)


class TestPost:
    @pytest.mark.parametrize("query", ["", "?wait=20"])
    def test_the_response_is_the_finished_task(self, server, target, query):
        """By preference or parameter; only the first is said to be applied."""
        prefer = {} if query else {"prefer": "respond-async, wait=20"}
        answer = post(server, f"{target.url}/json", query, **prefer)
        assert (answer.status, answer.json["status"]) == (201, "COMPLETED")
        assert answer.json == server.show(answer.json["id"])
        assert answer.header("location") == f"/tasks/{answer.json['id']}"
        assert answer.header("preference-applied") == (None if query else "wait=20")

    def test_a_failure_is_an_end(self, server):
        """At once, with why."""
        answer = post(server, "no url", "?wait=20")
        assert (answer.status, answer.json["error_type"]) == (201, "invalid_url")

    def test_the_wait_is_limited(self, own, held):
        """Then it says how the task stands, which goes on."""
        began = time.monotonic()
        answer = post(own, f"{held.url}/held", prefer="wait=1")
        assert time.monotonic() - began > 0.9
        assert (answer.status, answer.json["status"]) == (201, "RUNNING")
        assert answer.header("preference-applied") == "wait=1"
        held.release()
        assert own.wait(answer.json["id"])["status"] == "COMPLETED"

    @pytest.mark.parametrize("prefer", ["wait=0", "wait", "wait=x", "wait=-1", "wait=1.5", ";,="])
    def test_a_preference_that_makes_no_sense_is_passed_over(self, own, held, prefer):
        """As RFC 7240 has it."""
        answer = post(own, f"{held.url}/held", prefer=prefer)
        assert (answer.status, answer.json["status"]) == (201, "PENDING")
        assert answer.header("preference-applied") is None
        held.wait_for("/held")

    @pytest.mark.parametrize("query", ["?wait=0", ""])
    def test_without_wait_the_response_is_immediate(self, own, held, query):
        """The parameter counts, not the preference."""
        prefer = {"prefer": "wait=30"} if query else {}
        answer = post(own, f"{held.url}/held", query, **prefer)
        assert (answer.json["status"], answer.header("preference-applied")) == ("PENDING", None)
        held.wait_for("/held")

    @pytest.mark.parametrize("wait", ["61", "-1", "x", "", "1.0", "1&wait=1", "%D9%A1", "9" * 99])
    def test_an_invalid_wait_is_rejected(self, server, wait):
        """No task is submitted either."""
        before = server.ask("GET", "/tasks?limit=1").json
        answer = post(server, "http://localhost/", f"?wait={wait}")
        check_problem(answer, 422, "wait")
        assert server.ask("GET", "/tasks?limit=1").json == before

    def test_a_longer_wish_is_cut(self, server, target):
        """What is applied is what is waited for."""
        answer = post(server, f"{target.url}/json", prefer='Wait="3600"')
        assert answer.header("preference-applied") == "wait=60"

    def test_a_repeated_request_waits_for_the_same_task(self, own, held):
        """With an Idempotency-Key: before the end and after it."""
        key = str(uuid.uuid4())
        first = post(own, f"{held.url}/held", idempotency_key=key)
        ask = (own, f"{held.url}/held", "?wait=20")
        with answer_of(post, *ask, idempotency_key=key) as second:
            held.wait_for("/held")
            time.sleep(0.1)
            assert not second.done()
            held.release()
        third = post(*ask, idempotency_key=key)
        for again in (second.result(), third):
            assert (again.status, again.json["id"]) == (200, first.json["id"])
            assert again.json["status"] == "COMPLETED"
            assert again.header("idempotent-replayed") == "true"


class TestGet:
    def test_the_response_comes_when_the_task_finishes(self, own, held):
        """Soon after it, to all who wait."""
        task_id = own.add(json.dumps(f"{held.url}/held").encode())
        held.wait_for("/held")
        with ThreadPoolExecutor(8) as threads:
            answers = [
                threads.submit(own.ask, "GET", f"/tasks/{task_id}?wait=20", None, headers)
                for headers in [{}, {"prefer": "wait=20"}] * 4
            ]
            time.sleep(0.2)
            assert not any(answer.done() for answer in answers)
            held.release()
        for answer in answers:
            assert answer.result().status == 200
            assert answer.result().json == own.show(task_id)

    def test_a_cancel_is_an_end(self, own, held):
        """As any other."""
        task_id = own.add(json.dumps(f"{held.url}/held").encode())
        with answer_of(own.ask, "GET", f"/tasks/{task_id}?wait=20") as answer:
            held.wait_for("/held")
            own.ask("POST", f"/tasks/{task_id}/cancel")
        assert answer.result().json["status"] == "CANCELED"

    def test_finished_tasks_are_returned_at_once(self, server, target):
        """However long is waited."""
        task = server.run(f'"{target.url}/json"'.encode())
        began = time.monotonic()
        answer = server.ask("GET", f"/tasks/{task['id']}", None, {"prefer": "wait=60"})
        assert time.monotonic() - began < 60
        assert (answer.json, answer.header("preference-applied")) == (task, "wait=60")

    @pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense"])
    def test_unknown_tasks_are_a_404_at_once(self, server, task_id):
        """404."""
        began = time.monotonic()
        check_problem(server.ask("GET", f"/tasks/{task_id}?wait=60"), 404)
        assert time.monotonic() - began < 60

    def test_the_wait_is_limited(self, own, held):
        """And says how the task stands by then."""
        task_id = own.add(json.dumps(f"{held.url}/held").encode())
        answer = own.ask("GET", f"/tasks/{task_id}?wait=1")
        assert (answer.status, answer.json["status"]) == (200, "RUNNING")

    def test_head_waits_too(self, own, held):
        """It says what GET would say, without it."""
        task_id = own.add(json.dumps(f"{held.url}/held").encode())
        with answer_of(own.ask, "HEAD", f"/tasks/{task_id}?wait=20") as answer:
            held.wait_for("/held")
            time.sleep(0.1)
            assert not answer.done()
            held.release()
        shown = own.ask("GET", f"/tasks/{task_id}")
        assert answer.result().header("etag") == shown.header("etag")
        assert answer.result().header("content-length") == str(len(shown.body))

    @pytest.mark.parametrize("wait", ["61", "-1", "x", "", "1&wait=1"])
    def test_an_invalid_wait_is_rejected(self, server, wait):
        """422 says what is allowed."""
        check_problem(server.ask("GET", f"/tasks/{UNKNOWN}?wait={wait}"), 422, "wait")


class TestVersions:
    @pytest.fixture
    def task(self, server, target):
        return server.run(f'"{target.url}/json"'.encode())

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("form", ["{}", "W/{}", '"x", W/"y" , {}', "*", '"a,b",{}'])
    def test_an_unchanged_task_is_a_304(self, server, task, method, form):
        """304 without a body, with the tag, in each form of the condition."""
        path = f"/tasks/{task['id']}"
        tag = server.ask(method, path).header("etag")
        assert tag.startswith('"')
        with server.connect() as connection:
            answer = connection.ask(method, path, None, {"if-none-match": form.format(tag)})
            assert answer.status == 304
            assert answer.header("etag") == tag
            assert answer.header("cache-control") == "no-store"
            for name in ("content-length", "content-type", "transfer-encoding"):
                assert answer.header(name) is None
            assert connection.ask("GET", path).json == task  # the connection goes on

    @pytest.mark.parametrize("form", ['"x"', 'W/"x"', "", ",", "x", '"unclosed'])
    def test_a_changed_task_is_sent(self, server, task, form):
        """Whatever is known otherwise."""
        answer = server.ask("GET", f"/tasks/{task['id']}", None, {"if-none-match": form})
        assert (answer.status, answer.json) == (200, task)

    def test_each_change_makes_a_version(self, own, held):
        """With a wait the answer comes with the next one, not with the end only."""
        task_id = own.add(json.dumps(f"{held.url}/held").encode())
        held.wait_for("/held")
        path = f"/tasks/{task_id}?wait=60"
        running = own.ask("GET", f"/tasks/{task_id}")
        known = {"if-none-match": running.header("etag")}
        with answer_of(own.ask, "GET", path, None, known) as ended:
            time.sleep(0.1)
            assert not ended.done()
            held.release()
        assert ended.result().json["status"] == "COMPLETED"
        tags = {running.header("etag"), ended.result().header("etag")}
        assert len(tags) == 2
        began = time.monotonic()
        both = {"if-none-match": ", ".join(tags)}
        assert own.ask("GET", path, None, {"if-none-match": '"x"'}).status == 200
        assert own.ask("GET", f"/tasks/{task_id}", None, both).status == 304
        assert time.monotonic() - began < 60  # the last change had been made: it was not waited for

    def test_a_version_that_does_not_change_is_304(self, own, held):
        """When the time is over, be it the last version or not; the preference was applied."""
        task_id = own.add(json.dumps(f"{held.url}/held").encode())
        held.wait_for("/held")
        path = f"/tasks/{task_id}"
        for form in ("{}", "*"):
            known = {"if-none-match": form.format(own.ask("GET", path).header("etag"))}
            began = time.monotonic()
            with own.connect() as connection:
                answer = connection.ask("GET", path, None, {**known, "prefer": "wait=1"})
            assert (answer.status, answer.header("preference-applied")) == (304, "wait=1")
            assert time.monotonic() - began > 0.9

    def test_a_change_without_an_event(self, own):
        """A submission that replaces the payload is no change of the status: the end has it."""
        debounce = {"key": "later", "delay_seconds": 600, "max_wait_seconds": 600}

        def submit(number: int) -> dict:
            body = {"payload": f"http://x.invalid/{number}", "debounce": debounce}
            return own.ask("POST", "/tasks", json.dumps(body).encode(), JSON).json

        path = f"/tasks/{submit(1)['id']}"
        known = {"if-none-match": own.ask("GET", path).header("etag")}
        with answer_of(own.ask, "GET", f"{path}?wait=2", None, known) as ended:
            time.sleep(0.2)
            assert submit(2)["existing"] == "debounced"
        answer = ended.result()
        assert (answer.status, answer.json["payload"]) == (200, "http://x.invalid/2")


class TestLeaving:
    @pytest.mark.parametrize("query", ["?wait=60", "?w%61it=60"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_client_that_leaves_is_not_waited_for(self, own, held, feeds, method, query):
        """Its place is free at once, and nothing of it is left."""
        target = f"{held.url}/held"
        path, body = "/tasks", payload(target)
        if method == "GET":
            path, body = f"/tasks/{own.add(json.dumps(target).encode())}", None
        [feed] = feeds
        for _ in range(3):
            with own.connect() as connection:
                lines = f"{method} {path}{query} HTTP/1.1\r\nhost: x\r\n"
                length = f"content-length: {len(body)}\r\n\r\n" if body else "\r\n"
                connection.send((lines + length).encode() + (body or b""))
                wait_until(lambda: feed._waiters)
            wait_until(lambda: not feed._waiters)

    def test_clients_that_leave_free_their_slots(self, empty_url, held, feeds):
        """With a low connection limit, later clients are served."""
        with LiveServer(database_url=empty_url, max_connections=4) as server:
            for _ in range(3):
                with contextlib.ExitStack() as stack:
                    for _ in range(4):
                        connection = stack.enter_context(wait_until(lambda: admitted(server)))
                        body = payload(f"{held.url}/held")
                        length = {"host": "x", "content-length": str(len(body))}
                        connection.send(request_bytes("POST", "/tasks?wait=60", body, length))
                    wait_until(lambda: sum(map(len, feeds[0]._waiters.values())) == 4)
                wait_until(lambda: not feeds[0]._waiters)
            with wait_until(lambda: admitted(server)):
                pass

    def test_a_shutdown_answers_all_requests(self, empty_url, held, feeds):
        """At once, with how their tasks stand."""
        answers = []
        with ThreadPoolExecutor(6) as threads:
            with LiveServer(database_url=empty_url) as server:
                for _ in range(3):
                    answers.append(threads.submit(post, server, f"{held.url}/held", "?wait=60"))
                wait_until(lambda: len(feeds[0]._waiters) == 3)
                for task in server.ask("GET", "/tasks").json:
                    path = f"/tasks/{task['id']}?wait=60"
                    answers.append(threads.submit(server.ask, "GET", path))
                wait_until(lambda: sum(map(len, feeds[0]._waiters.values())) == 6)
            for answer in answers:
                assert answer.result().status in (200, 201)
                assert answer.result().json["status"] in ("PENDING", "RUNNING")

    def test_many_wait_at_once(self, own, held, feeds):
        """A few hundred, each for a task of its own; all are answered when these end."""
        count = 200
        ids = [own.add(json.dumps(f"{held.url}/now?{n}").encode()) for n in range(3)]
        for task_id in ids:
            own.wait(task_id)
        blocked = [own.add(json.dumps(f"{held.url}/held?{n}").encode()) for n in range(count)]
        statuses = []

        def wait(task_id):
            statuses.append(own.ask("GET", f"/tasks/{task_id}?wait=30").json["status"])

        threads = [threading.Thread(target=wait, args=[task_id]) for task_id in blocked]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(feeds[0]._waiters) == count)
        held.release()
        for thread in threads:
            thread.join()
        assert statuses == ["COMPLETED"] * count
