"""Targets that answer 202, work on, and report the outcomes of their attempts."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import pytest

from taskflow.service import MEMORY_URL
from taskflow.tracing import otel
from tests.api.client import Answer, check_problem, in_chunks
from tests.api.conftest import PUBLIC_URL, open_database
from tests.api.deferred import CALLBACK, PATIENCE_SECONDS, Parked, Worker
from tests.api.live import LiveServer
from tests.api.test_tracing import Spans

UNKNOWN = "01900000-0000-7000-8000-000000000000"
KEY = "a-key-of-an-admin-of-this-service"
OVER = "This URL belongs to no attempt in progress; nothing was changed."


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    with LiveServer(
        database_url=MEMORY_URL,
        public_url=PUBLIC_URL,
        key=KEY,
        cors_origins=("https://a.example",),
    ) as server:
        yield server


def check_over(answer: Answer) -> None:
    """It is the one response to anything that belongs to no attempt in progress."""
    problem = check_problem(answer, 410)
    assert problem["type"] == "/problems/attempt-over"
    assert problem["detail"] == OVER


class TestReports:
    @pytest.mark.parametrize(
        ("body", "content_type", "shown", "encoding"),
        [
            (b'{"rows": 4711}', "application/json", {"rows": 4711}, "json"),
            (b'{"rows": 4711}', None, {"rows": 4711}, "json"),
            ("h\xe9llo".encode("latin-1"), "text/plain; charset=latin-1", "h\xe9llo", "text"),
            (b"\x89PNG\x00", "image/png", "iVBORwA=", "base64"),
            (b"", None, "", "text"),
        ],
    )
    def test_the_body_is_the_result(self, server, worker, body, content_type, shown, encoding):
        """It is kept like the body of a response, with the URL of the task, masked."""
        parked = Parked(server, worker, "/accept?token=hidden")
        waiting = parked.wait()
        assert (waiting["status"], waiting["result"]) == ("RUNNING", None)
        assert waiting["waiting_for"]["reason"] == "completion"
        assert waiting["completion"] == CALLBACK
        headers = {} if content_type is None else {"content-type": content_type}
        answer = parked.report("", body, headers)
        assert answer.status == 200
        assert answer.json == {"task_id": parked.id, "status": "COMPLETED"}
        task = server.show(parked.id)
        assert (task["status"], task["waiting_for"], task["attempt"]) == ("COMPLETED", None, 1)
        result = task["result"]
        assert (result["result"], result["encoding"]) == (shown, encoding)
        assert (result["message"], result["status"]) == ("completed", "200 OK")
        assert result["content_type"] == content_type
        assert result["headers"] == headers
        assert result["url"] == f"{worker.url}/accept?token=***"
        assert (result["size"], result["status_code"]) == (len(body), 200)
        assert result["elapsed_seconds"] > 0
        [attempt] = server.ask("GET", f"/tasks/{parked.id}/attempts").json
        assert (attempt["status"], attempt["status_code"]) == ("COMPLETED", 200)
        if body:
            assert server.ask("GET", f"/tasks/{parked.id}/result").status == 200

    def test_before_the_response(self, server, worker):
        """A target may be done before its 202 arrives, which then changes nothing."""
        parked = Parked(server, worker, "/later")
        assert parked.report("", b"1").json["status"] == "COMPLETED"
        worker.may_answer.set()
        time.sleep(0.2)
        task = server.show(parked.id)
        assert (task["status"], task["result"]["result"]) == ("COMPLETED", 1)
        check_over(parked.report("", b"2"))

    def test_another_response_is_the_outcome(self, server, worker):
        """A target that is done at once need not report."""
        parked = Parked(server, worker, "/short")
        task = server.wait(parked.id)
        assert (task["status"], task["result"]["result"]) == ("COMPLETED", "short")
        check_over(parked.report("", b"late"))

    def test_a_failure_is_retried(self, server, worker):
        """The next attempt has another URL; that of the first one changes nothing any more."""
        parked = Parked(server, worker, max_attempts=2, backoff=[0.01])
        first = parked.path
        answer = parked.report("/failure", b'{"error": "locked"}')
        assert answer.json == {"task_id": parked.id, "status": "PENDING"}
        parked.path = worker.path()
        assert parked.path != first
        for what in ("", "/failure", "/heartbeat"):
            check_over(server.ask("POST", first + what, b""))
        assert server.show(parked.id)["status"] == "RUNNING"
        answer = parked.report("/failure", b"")
        assert answer.json["status"] == "FAILED"
        task = server.show(parked.id)
        assert (task["error_type"], task["attempt"]) == ("reported", 2)
        assert task["error"] == "reported: the target reported a failure"
        made = server.ask("GET", f"/tasks/{parked.id}/attempts").json
        assert [one["error"] for one in made] == ["reported: locked", task["error"]]

    def test_a_final_failure(self, server, worker):
        """It is not retried, whatever attempts are left."""
        parked = Parked(server, worker, max_attempts=5)
        answer = parked.report(
            "/failure", b'\xef\xbb\xbf{"error": "no \\u0000 rows", "retry": false}'
        )
        assert answer.json["status"] == "FAILED"
        task = server.show(parked.id)
        assert (task["status"], task["attempt"]) == ("FAILED", 1)
        assert task["error"].startswith("reported: no ")
        assert "\0" not in task["error"]

    def test_heartbeats(self, server, worker):
        """Each gives the attempt the whole time again; without them it is a timeout."""
        options = {"completion": {"mode": "callback", "within_seconds": 1}}
        parked = Parked(server, worker, **options)
        parked.wait()
        moments = []
        for _ in range(4):
            time.sleep(0.5)
            answer = parked.report("/heartbeat")
            assert answer.status == 200, answer
            moments.append(answer.json["overdue_at"])
        assert moments == sorted(set(moments))
        task = server.wait(parked.id)
        assert (task["status"], task["error_type"]) == ("FAILED", "timeout")
        check_over(parked.report("/heartbeat"))
        check_over(parked.report("", b"late"))

    def test_pages(self, server, worker):
        """The dashboard says what such a task waits for."""
        parked = Parked(server, worker)
        parked.wait()
        page = server.ask("GET", f"/ui/tasks/{parked.id}").body.decode()
        assert "Waits for<dd>its target has accepted the work" in page
        assert "Completion<dd>reported by its target, within 1 h of a 202" in page
        assert ">PARKED<" in server.ask("GET", "/ui/tasks").body.decode()
        assert parked.report("", b"1").status == 200

    def test_a_canceled_task(self, server, worker):
        """Its target learns of it."""
        parked = Parked(server, worker)
        parked.wait()
        assert server.ask("POST", f"/tasks/{parked.id}/cancel").json["status"] == "CANCELED"
        check_over(parked.report("/heartbeat"))
        check_over(parked.report("", b"1"))
        assert server.show(parked.id)["status"] == "CANCELED"

    def test_one_of_two_reports(self, server, worker):
        """Of reports at the same moment one is stored, and the other changes nothing."""
        parked = Parked(server, worker)
        found: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=lambda n=n: found.put(parked.report("", b"%d" % n)))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers = [found.get() for _ in threads]
        assert sorted(one.status for one in answers) == [200] + [410] * 7

    def test_polls(self, server, worker):
        """The mode poll has no URL for the target, and the outcome is at its Location."""
        options = {"completion": {"mode": "poll", "within_seconds": 60}}
        payload = {"url": f"{worker.url}/accept", "method": "POST"}
        task_id = server.post(json.dumps({"payload": payload, **options}).encode()).json["id"]
        assert worker.urls.get(timeout=PATIENCE_SECONDS) == ""
        task = server.wait(task_id)
        assert (task["status"], task["result"]["result"]) == ("COMPLETED", "polled")
        assert task["result"]["url"] == f"{worker.url}/jobs/1"


class TestNoOracle:
    def test_all_wrong_urls_are_alike(self, server, worker):
        """Nobody learns from a response whether a task exists, runs, or has such an attempt."""
        parked = Parked(server, worker)
        parked.wait()
        other = Parked(server, worker)
        plain = server.add(b'"x:"')
        token = parked.path.rpartition("/")[2]
        changed = ("B" if token[0] == "A" else "A") + token[1:]
        canceled = Parked(server, worker)
        server.ask("POST", f"/tasks/{canceled.id}/cancel")
        wrong = [
            f"/completions/{parked.id}/{changed}",
            f"/completions/{parked.id}/{token[:-1]}",
            f"/completions/{parked.id}/{token}=",
            f"/completions/{parked.id}/{token}%20",
            f"/completions/{parked.id}/%00",
            f"/completions/{parked.id}/%C3%A9",
            f"/completions/{parked.id}/" + "x" * 5000,
            f"/completions/{other.id}/{token}",
            f"/completions/{plain}/{token}",
            f"/completions/{UNKNOWN}/{token}",
            f"/completions/{uuid.uuid4()}/{token}",
            f"/completions/no-id/{token}",
            canceled.path,
        ]
        expected = server.ask("POST", wrong[0], b"1")
        check_over(expected)
        for path in wrong:
            for what in ("", "/failure", "/heartbeat"):
                answer = server.ask("POST", path + what, b"not JSON")
                assert answer.body == expected.body
                assert names_of(answer) == names_of(expected)
        assert parked.report("", b"1").status == 200
        assert other.report("", b"1").status == 200

    def test_attempts_in_the_other_mode(self, memory_server, worker):
        """A token that is derived in the same way is not valid: nobody was given it."""
        payload = {"url": f"{worker.url}/later", "method": "POST"}
        for completion in (None, {"mode": "poll", "within_seconds": 60}):
            document = {"payload": payload, "completion": completion}
            task_id = memory_server.post(json.dumps(document).encode()).json["id"]
            assert worker.urls.get(timeout=PATIENCE_SECONDS) == ""
            check_over(memory_server.ask("POST", f"/completions/{task_id}/{'A' * 43}", b""))

    def test_a_body_is_read_for_a_valid_url_only(self, server, worker):
        """A client without one cannot make the service keep bodies."""
        parked = Parked(server, worker)
        large = b"x" * (2**20 + 1)
        check_over(server.ask("POST", f"/completions/{UNKNOWN}/x", large))
        check_over(server.ask("POST", f"/completions/{parked.id}/x/failure", large))
        check_problem(parked.report("", large), 413)
        check_problem(parked.report("/failure", large), 413)
        assert parked.report("", b"1").status == 200


class TestBodies:
    def test_the_size(self, worker):
        """A result has the limit of responses, whatever that of requests is."""
        with LiveServer(
            database_url=MEMORY_URL, public_url=PUBLIC_URL, max_result_bytes=100, max_body_bytes=200
        ) as server:
            parked = Parked(server, worker)
            check_problem(parked.report("", b"x" * 101), 413, "limit of 100 bytes")
            chunked = in_chunks(b"x" * 101, 10)
            headers = {"transfer-encoding": "chunked"}
            check_problem(parked.report("", chunked, headers), 413, "limit of 100 bytes")
            check_problem(parked.report("/failure", b" " * 40_000), 413, "limit of 32768 bytes")
            assert parked.report("", b"x" * 100).status == 200

    def test_a_larger_result_than_requests(self, worker):
        """The limit of submissions does not apply."""
        with LiveServer(
            database_url=MEMORY_URL, public_url=PUBLIC_URL, max_body_bytes=1000
        ) as server:
            parked = Parked(server, worker)
            assert parked.report("", b"x" * 500_000).status == 200
            assert server.show(parked.id)["result"]["size"] == 500_000

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            (b"x", 400, "the body is not JSON"),
            (b"[]", 400, "not a JSON object"),
            (b"\xff", 400, "not UTF-8"),
            (b'{"error": 5}', 422, "error must be text of 0 to 1000 characters"),
            (b'{"error": "%s"}' % (b"x" * 1001), 422, "error must be text"),
            (b'{"retry": "no"}', 422, "retry must be true or false"),
            (b'{"eror": ""}', 422, "did you mean error?"),
            (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", 422, "no field a"),
        ],
    )
    def test_invalid_failures(self, memory_server, worker, body, status, words):
        """They change nothing, so a target can correct them."""
        parked = Parked(memory_server, worker)
        answer = parked.report("/failure", body)
        check_problem(answer, status, *([] if "field" in words else [words]))
        assert parked.report("/failure").json["status"] == "FAILED"

    def test_compressed_bodies(self, memory_server, worker):
        """415, as everywhere."""
        parked = Parked(memory_server, worker)
        headers = {"content-encoding": "gzip"}
        check_problem(parked.report("", b"\x1f\x8b", headers), 415)
        check_problem(parked.report("/failure", b"\x1f\x8b", headers), 415)
        assert parked.report("", b"1", {"content-encoding": "identity"}).status == 200

    def test_a_body_that_breaks_off(self, memory_server, worker):
        """It changes nothing."""
        parked = Parked(memory_server, worker)
        with memory_server.connect() as connection:
            head = f"POST {parked.path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345"
            connection.send(head.encode())
        time.sleep(0.2)
        assert memory_server.show(parked.id)["status"] == "RUNNING"
        assert parked.report("", b"1").status == 200

    def test_a_slow_body(self, worker):
        """408, and nothing is changed."""
        with LiveServer(
            database_url=MEMORY_URL, public_url=PUBLIC_URL, request_seconds=0.3
        ) as server:
            parked = Parked(server, worker)
            with server.connect() as connection:
                head = f"POST {parked.path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n1"
                connection.send(head.encode())
                check_problem(connection.read(), 408)
            assert parked.report("", b"1").status == 200


class TestAccess:
    def test_no_key_is_needed(self, guarded, worker):
        """And one that is sent does not matter."""
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "x"}):
            parked = Parked(guarded, worker)
            with guarded.connect() as connection:
                answer = connection.ask("POST", parked.path, b"1", headers)
                assert answer.status == 200
                check_over(connection.ask("POST", parked.path, b"1", headers))

    def test_other_methods_and_paths_need_one(self, guarded, worker):
        """The path is open for POST alone."""
        parked = Parked(guarded, worker)
        with guarded.connect() as connection:
            for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
                check_problem(connection.ask(method, parked.path), 401)
            check_problem(connection.ask("POST", "/completionsx", b""), 401)
            check_problem(connection.ask("POST", "/completions", b""), 401)
        check_problem(guarded.ask("GET", parked.path), 405)
        check_problem(guarded.ask("POST", f"{parked.path}/other", b""), 404)

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"},
        ],
    )
    def test_pages_of_other_origins(self, guarded, worker, headers):
        """A page that learns of a URL cannot use it in the browsers of its visitors."""
        parked = Parked(guarded, worker)
        check_problem(parked.report("", b"1", headers), 403, "pages of another")
        check_problem(parked.report("/failure", b"", headers), 403, "pages of another")
        assert parked.report("", b"1", {"origin": "https://a.example"}).status == 200

    def test_hosts(self, worker):
        """The name in Host must be one of the service, as everywhere."""
        with LiveServer(
            database_url=MEMORY_URL, public_url=PUBLIC_URL, allowed_hosts=("tasks.example.com",)
        ) as server:
            parked = Parked(server, worker)
            check_problem(parked.report("", b"1", {"host": "rebound.example"}), 421)
            assert parked.report("", b"1", {"host": "tasks.example.com"}).status == 200

    def test_the_rate_limit(self, worker):
        """It applies to each address without a key, also to wrong URLs."""
        with LiveServer(
            database_url=MEMORY_URL, public_url=PUBLIC_URL, key=KEY, rate_limit=0.001, rate_burst=3
        ) as server:
            parked = Parked(server, worker)
            with server.connect() as connection:
                for _ in range(3):
                    check_over(connection.ask("POST", f"/completions/{UNKNOWN}/x", b""))
                refused = connection.ask("POST", parked.path, b"1")
            check_problem(refused, 429, "rate limit exceeded")
            assert refused.header("ratelimit-policy") == '"post";q=3;w=3000'
            assert server.show(parked.id)["status"] == "RUNNING"


class TestSecrets:
    def test_nothing_shows_the_token(self, server, worker, events):
        """No task, attempt, event, page, metric or log event."""
        parked = Parked(server, worker, max_attempts=2, backoff=[0.01])
        token = parked.path.rpartition("/")[2]
        parked.wait()
        places = [
            *(f"/tasks/{parked.id}", f"/tasks/{parked.id}/attempts", f"/ui/tasks/{parked.id}"),
            *("/tasks?limit=1000", "/metrics", "/nodes", "/audit?limit=1000", "/hosts"),
        ]
        for last in ("/heartbeat", "/failure"):
            assert parked.report(last).status == 200
            for place in places:
                answer = server.ask("GET", place)
                assert answer.status == 200, place
                assert token.encode() not in answer.body, place
        assert token not in json.dumps(events, default=str)

    def test_no_span_has_it(self, worker, monkeypatch):
        """Spans have the path of a request, but not the token in it."""
        spans = Spans()
        monkeypatch.setattr(otel, "start", partial(otel.start, spans.processor))
        with LiveServer(database_url=MEMORY_URL, public_url=PUBLIC_URL, traces="on") as server:
            parked = Parked(server, worker)
            token = parked.path.rpartition("/")[2]
            for path in ("", "/x", "%2Fx"):
                assert server.ask("POST", f"/completions//{token}{path}", b"").status == 404
                assert server.ask("POST", f"//completions/x/{token}{path}", b"").status == 404
            assert parked.report("/heartbeat").status == 200
            assert parked.report("", b"1").status == 200
        found = [span.to_json() for span in spans.all]
        assert not [one for one in found if token in one]
        assert [one for one in found if f"/completions/{parked.id}/***/heartbeat" in one]

    def test_encrypted_tasks(self, worker):
        """The result has the URL, and is encrypted like others."""
        with LiveServer(
            database_url=MEMORY_URL, public_url=PUBLIC_URL, encrypt=("payloads", "results")
        ) as server:
            parked = Parked(server, worker, "/accept?sig=hidden")
            assert parked.report("", b'{"secret": 1}').status == 200
            result = server.show(parked.id)["result"]
            assert (result["result"], result["message"]) == ({"secret": 1}, "completed")
            assert result["url"] == f"{worker.url}/accept?sig=***"

    def test_what_looks_encrypted_is_not(self, server, worker):
        """A result that a target reports is shown as it is, also if it has the form of our own."""
        parked = Parked(server, worker)
        body = b'{"$encrypted":"AAAA"}'
        assert parked.report("", body).status == 200
        assert server.show(parked.id)["result"]["result"] == json.loads(body)
        assert server.ask("GET", f"/tasks/{parked.id}/result").body == body

    def test_a_node_without_the_key_of_a_payload(self, worker, postgres_server):
        """It stores the result nevertheless, with the host of the task in place of its URL."""
        with open_database(postgres_server) as url:
            settings = {"database_url": url, "public_url": PUBLIC_URL}
            with LiveServer(**settings, encrypt=("payloads",)) as server:
                parked = Parked(server, worker)
                parked.wait()
                with LiveServer(**settings, encryption_keys="") as other:
                    answer = other.ask("POST", parked.path, b'{"$encrypted":"AAAA"}')
                    assert answer.status == 200
                result = server.show(parked.id)["result"]
        assert result["result"] == {"$encrypted": "AAAA"}
        assert result["url"] == urlsplit(worker.url).netloc


class TestSubmissions:
    @pytest.mark.parametrize(
        ("completion", "words"),
        [
            ({"mode": "callback"}, "completion must be an object of mode and within_seconds"),
            ({"mode": "push", "within_seconds": 5}, "completion must be an object"),
            ({"mode": "poll", "within_seconds": 0.5}, "completion must be an object"),
            ({"mode": "poll", "within_seconds": 1e9}, "completion must be an object"),
            ({"mode": "poll", "within_seconds": 5, "url": "x"}, "completion must be an object"),
            ("callback", "completion must be an object"),
        ],
    )
    def test_invalid_ones(self, memory_server, completion, words):
        """422, with what is allowed."""
        document = {"payload": "http://127.0.0.1:9/", "completion": completion}
        answer = memory_server.post(json.dumps(document).encode())
        problem = check_problem(answer, 422, words)
        assert problem["errors"][0]["pointer"] == "#/completion"

    def test_without_a_public_url(self, target):
        """Nowhere could a target report, so each way to submit rejects it; polls need none."""
        callback = {"payload": f"{target.url}/text", "completion": CALLBACK}
        poll = {**callback, "completion": {"mode": "poll", "within_seconds": 60}}
        with LiveServer(database_url=MEMORY_URL) as server:

            def ask(method: str, path: str, body: object) -> Answer:
                return server.ask(method, path, json.dumps(body).encode())

            group = {"on_complete": callback, "tasks": [poll, callback]}
            schedule = {"every_seconds": 3600, "task": callback}
            for answer, pointers in (
                (ask("POST", "/tasks", callback), ["#/completion/mode"]),
                (ask("POST", "/tasks", [poll, callback]), ["#/1/completion/mode"]),
                (
                    ask("POST", "/groups", group),
                    ["#/on_complete/completion/mode", "#/tasks/1/completion/mode"],
                ),
                (ask("PUT", "/schedules/a", schedule), ["#/task/completion/mode"]),
            ):
                problem = check_problem(answer, 422, "needs TASKFLOW_PUBLIC_URL")
                assert [one["pointer"] for one in problem["errors"]] == pointers
            task = server.wait(ask("POST", "/tasks", poll).json["id"])
            assert task["status"] == "COMPLETED"

    def test_the_header_is_reserved(self, memory_server):
        """A task with a completion URL cannot set the header itself; others can."""
        payload = {"url": "http://127.0.0.1:9/", "headers": {"x-taskflow-completion-URL": "x"}}
        document = {"payload": payload, "completion": CALLBACK}
        answer = memory_server.post(json.dumps(document).encode())
        problem = check_problem(answer, 422, "x-taskflow-completion-URL is set by TaskFlow")
        [error] = problem["errors"]
        assert error["pointer"] == "#/payload/headers/x-taskflow-completion-URL"
        assert memory_server.post(json.dumps({"payload": payload}).encode()).status == 201

    def test_schedules_and_groups(self, server, worker):
        """Their tasks can be completed by their targets."""
        template = {
            "payload": {"url": f"{worker.url}/accept", "method": "POST"},
            "completion": CALLBACK,
        }
        name = f"long-{uuid.uuid4().hex}"
        body = json.dumps({"every_seconds": 3600, "task": template}).encode()
        assert server.ask("PUT", f"/schedules/{name}", body).status in (200, 201)
        task = server.ask("POST", f"/schedules/{name}/run").json
        assert task["completion"] == CALLBACK
        assert server.ask("POST", worker.path(), b"1").json["task_id"] == task["id"]
        body = json.dumps({"on_complete": template, "tasks": [template]}).encode()
        group = server.ask("POST", "/groups", body).json
        assert server.ask("POST", worker.path(), b"1").status == 200
        completed = server.ask("POST", worker.path(), b"2").json["task_id"]
        assert server.show(completed)["completion_of"] == group["id"]

    def test_a_task_can_be_submitted_again_as_it_was_shown(self, server, worker):
        """What it waits for is ignored."""
        parked = Parked(server, worker)
        shown = json.dumps(parked.wait()).encode()
        again = server.post(shown)
        assert again.json["completion"] == CALLBACK
        assert server.ask("POST", worker.path(), b"1").json["task_id"] == again.json["id"]
        assert parked.report("", b"1").status == 200


def names_of(answer: Answer) -> list[str]:
    return [name for name, _ in answer.fields]
