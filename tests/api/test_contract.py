"""The contract of the API, row by row, as the Go program had it and as it is documented."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import uuid

import pytest

from tests.api.client import check_problem
from tests.api.target import BIG

JSON = {"content-type": "application/json"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
TASK_FIELDS = [
    "id",
    "payload",
    "status",
    "result",
    "error",
    "error_type",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "queue",
    "priority",
    "attempt",
    "max_attempts",
    "rescues",
    "tags",
    "expires_at",
    "backoff",
    "retry_on",
    "success_on",
    "sign",
    "credential",
    "unique",
    "debounce",
    "debounced",
    "retention_seconds",
    "completion",
    "callback_url",
    "callback_id",
    "callback_of",
    "schedule",
    "scheduled_at",
    "order_key",
    "on_failure",
    "group",
    "completion_of",
    "name",
    "after",
    "on_parent_failure",
    "held",
    "waiting_for",
]
RESULT_FIELDS = {
    "message": str,
    "result": str,
    "status": str,
    "status_code": int,
    "headers": dict,
    "content_type": str,
    "encoding": str,
    "url": str,
    "elapsed_seconds": float,
    "size": int,
}


def moment(text: str) -> dt.datetime:
    assert STAMP.fullmatch(text), text
    return dt.datetime.fromisoformat(text)


class TestPost:
    def test_the_response_is_the_task(self, server):
        """A 201 with the task and its Location."""
        answer = server.post(b'{"payload": "http://example.invalid/"}')
        assert answer.status == 201
        assert answer.header("content-type") == "application/json"
        task = answer.json
        assert list(task) == TASK_FIELDS
        assert answer.header("location") == f"/tasks/{task['id']}"
        assert str(uuid.UUID(task["id"])) == task["id"]
        assert task["payload"] == "http://example.invalid/"
        assert (task["status"], task["queue"], task["priority"]) == ("PENDING", "default", 0)
        assert (task["attempt"], task["max_attempts"], task["rescues"]) == (0, 1, 0)
        nothing_yet = ("result", "error_type", "started_at", "finished_at")
        assert {task[name] for name in nothing_yet} == {None}
        assert task["error"] == ""
        assert moment(task["created_at"]) <= moment(task["run_at"])
        assert abs(dt.datetime.now(dt.UTC) - moment(task["created_at"])).total_seconds() < 60

    def test_location_leads_to_the_task(self, server):
        """The path in Location returns the same task."""
        answer = server.post(b'{"payload": [1, 2.50]}')
        shown = server.ask("GET", answer.header("location"))
        assert shown.status == 200
        assert shown.header("content-type") == "application/json"
        assert list(shown.json) == TASK_FIELDS
        assert [shown.json[name] for name in ("id", "payload", "created_at")] == [
            answer.json[name] for name in ("id", "payload", "created_at")
        ]

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"content-type": "application/x-www-form-urlencoded"},
            {"content-type": "application/json; charset=latin-1"},
            {"content-type": "multipart/form-data"},
            {"content-type": "\xff nonsense ;;;="},
            {"content-type": "application/json", "accept": "image/png"},
            {"content-encoding": "identity"},
            {"content-encoding": ""},
        ],
    )
    def test_the_content_type_does_not_matter(self, server, headers):
        """``curl -d`` says it sends a form; whatever is said, JSON in UTF-8 is read."""
        answer = server.ask("POST", "/tasks", '{"payload": "\xe9"}'.encode(), headers)
        assert answer.status == 201
        assert answer.json["payload"] == "\xe9"

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "the body is empty"),
            (b" \r\n\t", "the body is empty"),
            (b"http://example.com/", "the body is not JSON"),
            (b'{"payload": "a"', "the body is not JSON"),
            (b'{"payload": "a"}}', "the body is not JSON"),
            (b'{"payload": "a"} {"payload": "b"}', "the body is not JSON"),
            (b"{'payload': 'a'}", "the body is not JSON"),
            (b'{"payload": NaN}', "the body is not JSON"),
            (b'{"payload": -Infinity}', "the body is not JSON"),
            (b'{"payload": "a\nb"}', "the body is not JSON"),
            (b'{"payload": 1}\x00', "the body is not JSON"),
            ('{"payload": 1}'.encode("utf-16-be"), "the body is not JSON"),
            ('{"payload": 1}'.encode("utf-16-le"), "the body is not JSON"),
            ('{"payload": 1}'.encode("utf-32-be"), "the body is not JSON"),
            (b'{"payload": "\xff"}', "the body is not UTF-8 (at byte 13)"),
            (b'{"payload": 1, "x": "\xed\xa0\x80"}', "the body is not UTF-8"),
            (b"null", "not a JSON object"),
            (b'"payload"', "not a JSON object"),
            (b"12345", "not a JSON object"),
            (b"{}", "payload is missing"),
            (b'{"payload": null}', "payload is null"),
            (b'{"payload":\tnull\n}', "payload is null"),
            (b'{"payload": 1, "payload": null}', "payload is null"),
        ],
    )
    def test_invalid_bodies_are_rejected(self, server, body, words):
        """The 400 says what is wrong and what to send."""
        check_problem(server.post(body), 400, words, '{"payload": "https://example.com/"}')

    @pytest.mark.parametrize(
        ("payload", "words"),
        [
            (b'"\\ud800"', "surrogate"),
            (b'"\\udc00\\ud800"', "surrogate"),
            (b'{"\\ud83dx": 1}', "surrogate"),
            (b"[" * 501 + b"]" * 501, "more than 500 levels deep"),
            (b'{"a":' * 501 + b"1" + b"}" * 501, "more than 500 levels deep"),
            (b"[" * 100_000 + b"]" * 100_000, "more than 500 levels deep"),
            (b'["\\ud800",' + b"[" * 100_000 + b"]" * 100_001, "more than 500 levels deep"),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_json_that_cannot_be_returned_is_rejected(self, server, payload, words):
        """Valid JSON that cannot be returned unchanged gets a 422 with the reason."""
        check_problem(server.post(b'{"payload": ' + payload + b"}"), 422, words)

    @pytest.mark.parametrize(
        "payload",
        [
            '"\\u0000"',
            '"\\ud83d\\ude00 \\/ \xe9 \U0001f600 \\u00e9 \x7f"',
            "1e400",
            "-0.0",
            "1E+05",
            str(2**4000),
            "9" * 5000,
            "0." + "1" * 5000,
            "[" * 500 + "]" * 500,
            "[" + '{"a":' * 499 + "1" + "}" * 499 + "]",
            '"' + "[{" * 1000 + '"',
            '[{"b": 1, "a": 2, "b": 3}]',
            '""',
            "false",
            "[ 1 ,\t2\r\n]",
            '"<script>\'"',
        ],
        ids=lambda payload: payload[:20],
    )
    def test_payloads_are_returned_byte_for_byte(self, server, payload):
        """Accepted payloads are unchanged: numbers, escapes, order and white space."""
        raw = payload.replace("<script>'\"", "<script>'").encode()
        if not raw.endswith(b'"') and payload.startswith('"'):
            raw += b'"'
        answer = server.post(b'{"result": [1], "payload": ' + raw + b' , "held": {}}')
        assert answer.status == 201, answer
        assert raw_payload(answer.body) == raw
        shown = server.ask("GET", answer.header("location"))
        assert raw_payload(shown.body) == raw

    def test_of_two_payloads_the_last_counts(self, server):
        """As in the Go program, and as nearly all readers do."""
        answer = server.post(b'{"payload": 1, "\\u0070ayload": 2}')
        assert (answer.status, answer.json["payload"]) == (201, 2)

    @pytest.mark.parametrize(
        "headers",
        [{"content-encoding": "gzip"}, {"content-encoding": "identity, br"}],
    )
    def test_compressed_bodies_are_rejected(self, server, headers):
        """415, and the answer says which coding is taken (RFC 9110, section 15.5.16)."""
        answer = server.ask("POST", "/tasks", b"\x1f\x8b\x08", headers)
        check_problem(answer, 415, "compressed")
        assert answer.header("accept-encoding") == "identity"

    def test_a_coding_in_a_second_field_is_seen(self, server):
        """Two Content-Encoding fields are one list."""
        with server.connect() as connection:
            connection.send(
                b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-encoding: identity\r\n"
                b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"
            )
            check_problem(connection.read(), 415)


def raw_payload(task: bytes) -> bytes:
    """The payload in a task's JSON, to the byte."""
    match = re.fullmatch(rb'\{"id":"[^"]+","payload":(.*),"status":"[A-Z]+",.*\}', task, re.DOTALL)
    assert match, task[:200]
    return match[1]


class TestResults:
    def test_json(self, server, target):
        """A JSON body is shown as it was sent, among the fields of the result."""
        task = server.run(json.dumps(f"{target.url}/json").encode())
        assert (task["status"], task["error"], task["error_type"]) == ("COMPLETED", "", None)
        result = task["result"]
        assert list(result) == list(RESULT_FIELDS)
        assert result["result"] == {"b": 1.5, "a": [float("inf"), "\0"]}
        assert (result["status"], result["status_code"]) == ("200 OK", 200)
        assert (result["content_type"], result["encoding"]) == ("application/json", "json")
        assert result["headers"]["content-type"] == "application/json"
        assert (result["url"], result["size"]) == (f"{target.url}/json", 35)
        assert result["message"]
        raw = server.ask("GET", f"/tasks/{task['id']}").body
        assert b'"result":{"b": 1.50, "a": [1e400, "\\u0000"]}' in raw

    def test_no_error_is_an_empty_text_wherever_a_task_is_shown(self, server, target):
        """Lists, selections of fields, exports and attempts agree with the task itself."""
        task_id = server.run(json.dumps(f"{target.url}/json").encode())["id"]
        lines = {"accept": "application/x-ndjson"}
        exported = server.ask("GET", "/tasks?fields=id,error", None, lines).body.splitlines()
        shown = [
            *server.ask("GET", "/tasks?limit=1000").json,
            *server.ask("GET", "/tasks?limit=1000&fields=id,error").json,
            *map(json.loads, exported),
        ]
        assert [task["error"] for task in shown if task.get("id") == task_id] == [""] * 3
        assert server.ask("GET", f"/tasks/{task_id}?fields=error").json == {"error": ""}
        [attempt] = server.ask("GET", f"/tasks/{task_id}/attempts").json
        assert (attempt["error"], attempt["error_type"]) == ("", None)

    def test_field_types(self, server, target):
        """Each field of a result has the type that is documented."""
        result = server.run(json.dumps(f"{target.url}/text").encode())["result"]
        assert {name: type(value) for name, value in result.items()} == RESULT_FIELDS
        assert result["elapsed_seconds"] > 0

    def test_times(self, server, target):
        """The times of a task are in order, in UTC with a Z; the end has one."""
        task = server.run(json.dumps(f"{target.url}/text").encode())
        times = [moment(task[f"{name}_at"]) for name in ("created", "started", "finished")]
        assert times == sorted(times)
        assert (task["attempt"], task["rescues"]) == (1, 0)

    @pytest.mark.parametrize(
        ("path", "encoding", "shown"),
        [
            ("/text", "text", "h\xe9llo"),
            ("/binary", "base64", base64.b64encode(b"\x89PNG\x00\xff").decode()),
            ("/nul", "base64", base64.b64encode(b"a\x00b").decode()),
            ("/surrogate", "text", '"\\ud800"'),
            ("/deep", "text", "[" * 5000 + "]" * 5000),
            ("/204", "text", ""),
        ],
    )
    def test_bodies_of_other_kinds(self, server, target, path, encoding, shown):
        """What is not JSON is kept as text, and what is no text as base64; none fails."""
        result = server.run(json.dumps(target.url + path).encode())["result"]
        assert (result["encoding"], result["result"]) == (encoding, shown)

    def test_no_content(self, server, target):
        """An answer without a body has a result too."""
        result = server.run(json.dumps(f"{target.url}/204").encode())["result"]
        assert (result["status"], result["status_code"]) == ("204 No Content", 204)
        assert (result["content_type"], result["size"]) == (None, 0)

    def test_a_body_of_the_greatest_length(self, server, target):
        """1 MiB is kept whole."""
        result = server.run(json.dumps(f"{target.url}/big").encode())["result"]
        assert (result["size"], result["result"]) == (2**20, json.loads(BIG))

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("/404", "http error: status: 404 Not Found"),
            ("/500", "http error: status: 500 Internal Server Error"),
        ],
    )
    def test_an_error_status_fails_the_task(self, server, target, path, error):
        """The error's text is the Go program's; there is no result."""
        task = server.run(json.dumps(target.url + path).encode())
        assert (task["status"], task["result"]) == ("FAILED", None)
        assert (task["error"], task["error_type"]) == (error, "http_status")
        assert moment(task["finished_at"])

    @pytest.mark.parametrize(
        "payload", [b"12345", b"true", b"[]", b'{"url": "a"}', b'""', b'"ftp://x/"', b'"\\u0000"']
    )
    def test_a_payload_that_is_no_url_fails_at_once(self, server, payload):
        """It is taken, as in the Go program, and then fails, and is not tried again."""
        task = server.run(payload)
        assert (task["status"], task["error_type"]) == ("FAILED", "invalid_url")
        assert task["error"].startswith("invalid url")
        assert (task["attempt"], task["result"]) == (1, None)


class TestGet:
    def test_an_unknown_id(self, server):
        """404, as a problem."""
        check_problem(server.ask("GET", f"/tasks/{uuid.uuid4()}"), 404, "o task has this id")

    def test_upper_case_is_the_same_id(self, server):
        """A UUID is read in either case (RFC 9562, section 4)."""
        task_id = server.add(b"1")
        assert server.show(task_id.upper())["id"] == task_id

    @pytest.mark.parametrize(
        "form",
        [
            "{{{id}}}",
            "urn:uuid:{id}",
            "{plain}",
            "{id}0",
            "{short}",
            "%20{id}",
            "{id}%20",
            "{id}%0a",
            "{id}%00",
            "{id}/",
            "/{id}",
            "./{id}",
            "../tasks/{id}",
            "..%2ftasks%2f{id}",
            "{id}%2f",
            "{id}%2ex",
            "{id}%3f",
            "{id};x=1",
            "{wide}",
            "null",
            "0",
            "9" * 5000,
            "%",
            "%zz",
            "%ff%fe",
            "%F0%9F%98%80",
            "",
        ],
        ids=lambda form: form[:20] or "nothing",
    )
    def test_other_spellings_of_ids_are_a_404(self, server, form):
        """Other spellings of an id are a 404, never a redirect or an internal error."""
        task_id = server.add(b"1")
        wide = "%EF%BC%91" + task_id[1:]  # a fullwidth digit
        text = form.format(
            id=task_id, plain=task_id.replace("-", ""), short=task_id[:-1], wide=wide
        )
        check_problem(server.ask("GET", f"/tasks/{text}"), 404)

    def test_a_query_that_is_not_known(self, server):
        """422 names the parameter, as with pages."""
        task_id = server.add(b"1")
        check_problem(server.ask("GET", f"/tasks/{task_id}?x=%ff"), 422, "x")


class TestRoutes:
    @pytest.mark.parametrize(
        "target", ["/", "/task", "/tasks/", "//tasks", "/Tasks", "/tasks%2f", "/tasks/a/b", "/%"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_an_unknown_path(self, memory_server, method, target):
        """404 as a problem, which says where the tasks are; nothing is redirected."""
        check_problem(memory_server.ask(method, target, b"{}"), 404)

    @pytest.mark.parametrize("target", ["/%74asks", "/tasks?", "/tasks?limit=1"])
    def test_the_same_path(self, memory_server, target):
        """Escapes that mean the same are the same path."""
        assert memory_server.ask("GET", target).status == 200

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "X"])
    @pytest.mark.parametrize(
        ("target", "allowed"),
        [
            ("/tasks", "GET, HEAD, OPTIONS, POST"),
            (f"/tasks/{uuid.uuid4()}", "DELETE, GET, HEAD, OPTIONS"),
            ("/livez", "GET, HEAD, OPTIONS"),
            ("/readyz", "GET, HEAD, OPTIONS"),
        ],
        ids=["tasks", "task", "livez", "readyz"],
    )
    def test_a_wrong_method(self, memory_server, target, allowed, method):
        """405 as a problem with Allow, which its sentence names too."""
        answer = memory_server.ask(method, target, b"")
        if method in allowed.split(", "):  # it is right for this path, where nothing is
            check_problem(answer, 404)
            return
        check_problem(answer, 405, allowed)
        assert answer.header("allow") == allowed

    def test_posting_to_a_task(self, memory_server):
        """405: a POST is for the list."""
        check_problem(memory_server.ask("POST", f"/tasks/{uuid.uuid4()}", b"{}"), 405)

    @pytest.mark.parametrize(
        ("target", "allowed"),
        [("/tasks", "GET, HEAD, OPTIONS, POST"), ("/livez", "GET, HEAD, OPTIONS")],
    )
    def test_options(self, memory_server, target, allowed):
        """OPTIONS says what there is (RFC 9110, section 9.3.7)."""
        answer = memory_server.ask("OPTIONS", target)
        assert (answer.status, answer.body) == (200, b"")
        assert sorted(answer.header("allow").split(", ")) == allowed.split(", ")

    def test_head(self, server):
        """HEAD is GET without the body, and the connection can be used on."""
        task_id = server.add(b'"a payload of some length"')
        task = server.wait(task_id)
        with server.connect() as connection:
            head = connection.ask("HEAD", f"/tasks/{task_id}")
            get = connection.ask("GET", f"/tasks/{task_id}")
        assert (head.status, head.body) == (200, b"")
        assert head.header("content-length") == str(len(get.body))
        assert head.header("content-type") == "application/json"
        assert get.json == task

    def test_head_of_nothing(self, memory_server):
        """A problem has a head, too."""
        answer = memory_server.ask("HEAD", "/nothing")
        assert (answer.status, answer.body) == (404, b"")
        assert answer.header("content-type") == "application/problem+json"
        assert memory_server.ask("HEAD", "/livez").status == 200
