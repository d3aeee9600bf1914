"""What a POST may say beside the payload: what is taken and shown, and what is refused, where."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from taskflow.model.options import WEBHOOK_SECONDS
from taskflow.model.task import Task
from taskflow.schema.tasks import TaskRequest
from tests.api.client import check_problem
from tests.api.live import LiveServer

URL = "http://127.0.0.1:9/"
TOO_LONG = "9" * 5000  # digits, of more than Python reads
FAR = "2999-12-31T23:59:59Z"
SAID = (
    *("queue", "priority", "max_attempts", "run_at", "expires_at", "backoff", "retry_on"),
    *("success_on", "sign", "credential", "tags", "retention_seconds", "callback_url"),
    *("order_key", "on_failure"),
)
LATER = {"delay_seconds": 3600}  # so that nothing runs it meanwhile
NO_TEXT: list[Any] = [1, True, [], {}]
NO_NUMBER: list[Any] = [True, "1", [], {}]


def post(server: LiveServer, **fields: object):
    return server.post(json.dumps({"payload": URL, **fields}).encode())


def taken(server: LiveServer, **fields: object) -> dict[str, Any]:
    """The task as the POST showed it, which is how it is shown later."""
    answer = post(server, **fields)
    assert answer.status == 201, answer
    shown = server.show(answer.json["id"])
    assert {name: shown[name] for name in SAID} == {name: answer.json[name] for name in SAID}
    return answer.json


def refused(server: LiveServer, **fields: object) -> dict[str, str]:
    """What is wrong, by places; for each there are words with the name of the field."""
    problem = check_problem(post(server, **fields), 422)
    for error in problem["errors"]:
        assert error.keys() == {"pointer", "detail"}
    return {error["pointer"]: error["detail"] for error in problem["errors"]}


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


class TestTaken:
    def test_the_schedule_of_the_standard_webhooks(self, server):
        """It is shown as its waits, and has all of its attempts unless the task says otherwise."""
        task = taken(server, backoff="webhook", **LATER)
        assert (task["backoff"], task["max_attempts"]) == (list(WEBHOOK_SECONDS), 10)
        task = taken(server, backoff="webhook", max_attempts=2, **LATER)
        assert (len(task["backoff"]), task["max_attempts"]) == (9, 2)
        assert "or webhook" in refused(server, backoff="fast")["#/backoff"]

    def test_nothing(self, server):
        """What is not said is shown as it is kept: as the settings say, where they are asked."""
        task = taken(server)
        assert task["run_at"] == task["created_at"]
        shown = {
            "queue": "default",
            "priority": 0,
            "max_attempts": 1,
            "tags": {},
            "expires_at": None,
            "backoff": None,
            "retry_on": None,
            "success_on": None,
            "sign": None,
            "credential": None,
            "retention_seconds": None,
            "callback_url": None,
            "callback_id": None,
            "callback_of": None,
            "order_key": None,
            "on_failure": None,
            "waiting_for": None,
        }
        assert {name: task[name] for name in shown} == shown

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("queue", "default"),
            ("queue", "a"),
            ("queue", "A.b_c-9" + "x" * 57),
            ("priority", -100),
            ("priority", 100),
            ("max_attempts", 1),
            ("max_attempts", 100),
            ("expires_at", FAR),
            ("expires_at", "2999-01-01T00:00:00.123456Z"),
            ("backoff", {}),
            ("backoff", {"initial_seconds": 0.0, "factor": 1.0, "max_seconds": 86400.0}),
            ("backoff", {"factor": 100.0}),
            ("backoff", [0.0]),
            ("backoff", [1.5] * 100),
            ("retry_on", []),
            ("retry_on", [100, 999, "1xx", "9xx"]),
            ("retry_on", [404] * 50),
            ("success_on", [404, "2xx"]),
            ("success_on", []),
            ("sign", True),
            ("sign", False),
            ("tags", {}),
            ("tags", {"a": "", "b": "x" * 256, "c": 2**53 - 1, "d": 1 - 2**53, "e": False}),
            ("tags", {f"tag.{n}_-": n for n in range(16)}),
            ("tags", {"x" * 64: 'é\U0001f600 /~"\\'}),
            ("callback_url", "https://example.com/done?a=%20#b"),
            ("callback_url", "http://a" + "a" * 8184),
            ("retention_seconds", 0.0),
            ("retention_seconds", 315_576_000.0),
        ],
    )
    def test_each_field(self, server, name, value):
        """It is shown as it was said, at once and later."""
        assert taken(server, **LATER, **{name: value})[name] == value

    @pytest.mark.parametrize("key", ["a", "x" * 255, "é\U0001f600 /~'\"\\"])
    @pytest.mark.parametrize("on_failure", ["continue", "hold", None])
    def test_an_order_key(self, server, key, on_failure):
        """It is shown as it was said; without a due time, since it waits for its turn."""
        fields = {"order_key": key, "on_failure": on_failure, "queue": "ordered"}
        task = post(server, **fields, priority=0, run_at="2020-01-01T00:00:00Z").json
        assert task["run_at"] is None
        assert task["waiting_for"].keys() == {"reason", "task_id", "detail"}
        assert (task["waiting_for"]["reason"], task["waiting_for"]["task_id"]) == (
            "order_key",
            None,
        )
        shown = server.show(task["id"])
        for one in (task, shown):
            assert (one["order_key"], one["on_failure"]) == (key, on_failure or "continue")
        again = server.post(server.ask("GET", f"/tasks/{task['id']}").body)
        assert again.status == 201, again
        assert again.json["order_key"] == key

    def test_a_task_that_was_read_is_submitted_again(self, server):
        """Whatever decides when it runs: the new task gets a time of its own."""
        debounce = {"key": "again", "delay_seconds": 600, "max_wait_seconds": 600}
        task = post(server, debounce=debounce).json
        again = server.post(server.ask("GET", f"/tasks/{task['id']}").body)
        assert (again.status, again.json["existing"]) == (200, "debounced")
        ordered = {**task, "debounce": None, "order_key": "again", "run_at": FAR}
        assert server.post(json.dumps(ordered).encode()).status == 201
        assert refused(server, order_key="again", run_at=FAR).keys() == {"#/run_at"}

    @pytest.mark.parametrize("name", ["priority", "max_attempts"])
    def test_whole_numbers(self, server, name):
        """2.0 is one, as JSON has but one kind of numbers."""
        body = '{"payload": "%s", "%s": %s, "delay_seconds": 9}'
        for text in ("2", "2.0", "2e0", "0.2e1"):
            assert server.post((body % (URL, name, text)).encode()).json[name] == 2

    def test_a_delay(self, server):
        """Counted from when the task is stored."""
        for seconds in (0, 1.5, 31_622_400):
            task = taken(server, delay_seconds=seconds)
            waits = moment(task["run_at"]) - moment(task["created_at"])
            assert waits == dt.timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (FAR, FAR),
            ("2999-06-01T12:00:00+02:00", "2999-06-01T10:00:00Z"),
            ("2999-06-01t12:00:00.5z", "2999-06-01T12:00:00.500000Z"),
            ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z"),
        ],
    )
    def test_a_moment(self, server, text, shown):
        """In any zone, and at the end of time; shown in UTC."""
        task = taken(server, run_at=text, expires_at=text)
        assert moment(task["run_at"]) == moment(task["expires_at"]) == moment(shown)
        assert task["run_at"].endswith("Z")

    @pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
    def test_a_moment_that_is_past(self, server, text):
        """To be run since then is to be run now."""
        task = taken(server, run_at=text, queue="past")
        assert task["run_at"] == task["created_at"]
        assert server.wait(task["id"])["status"] == "FAILED"

    def test_run_at_in_the_future(self, server):
        """An idle node does not run the task before."""
        task_id = post(server, run_at=FAR).json["id"]
        server.run(b'"x:"')
        assert server.show(task_id)["status"] == "PENDING"

    def test_expires_at_in_the_past(self, server):
        """An expired task is accepted, and fails without an attempt."""
        answer = post(server, expires_at="2000-01-01T00:00:00Z")
        assert answer.status == 201
        task = server.wait(answer.json["id"])
        assert (task["status"], task["error_type"]) == ("FAILED", "expired")
        assert task["error"] == "expired: it was still waiting at its expires_at"
        assert (task["attempt"], task["started_at"]) == (0, None)
        assert server.ask("GET", f"/tasks/{task['id']}/attempts").json == []

    def test_null(self, server):
        """Fields that a task shows as null can be submitted as null."""
        names = (
            "run_at",
            "delay_seconds",
            "expires_at",
            "backoff",
            "retry_on",
            "success_on",
            "sign",
            "credential",
            "tags",
        )
        task = taken(server, **dict.fromkeys((*names, "callback_url", "retention_seconds")))
        assert task["tags"] == {}
        assert task["backoff"] is task["retention_seconds"] is task["expires_at"] is None

    def test_again_as_it_was_read(self, server):
        """What was shown of a task, open or at its end, is a task that says the same."""
        output: dict[str, Any] = {
            "queue": "again",
            "priority": 5,
            "max_attempts": 2,
            "expires_at": FAR,
            "backoff": [0.5],
            "retry_on": ["5xx"],
            "success_on": [200],
            "sign": False,
            "tags": {"a": 1},
            "retention_seconds": 60.0,
            "callback_url": "https://example.com/",
        }
        first = taken(server, **output, **LATER)
        ended = server.run(b'"x:"')
        for task in (first, ended):
            body = server.ask("GET", f"/tasks/{task['id']}").body
            answer = server.post(body)
            assert answer.status == 201, answer
            again = answer.json
            assert again["id"] != task["id"]
            assert {name: again[name] for name in output} == {name: task[name] for name in output}
        assert first["run_at"] == server.post(json.dumps(first).encode()).json["run_at"]


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "values", "words"),
        [
            (
                "queue",
                [*NO_TEXT, None, "", "-a", ".a", "a b", "a/b", "é", "a\n", "x" * 65],
                "1 to 64",
            ),
            (
                "priority",
                [*NO_NUMBER, None, -101, 101, 0.5, TOO_LONG],
                "a whole number from -100 to 100",
            ),
            (
                "max_attempts",
                [*NO_NUMBER, None, 0, 101, 1.5, 1e300],
                "a whole number from 1 to 100",
            ),
            (
                "run_at",
                [*NO_TEXT, "", "now", "2026-11-24", "2026-11-24T06:57:50", "2026-13-01T00:00:00Z"],
                "a date and time with a zone",
            ),
            (
                "expires_at",
                [*NO_TEXT, "2026-11-24T25:00:00Z", "10000-01-01T00:00:00Z"],
                "a date and time with a zone",
            ),
            (
                "delay_seconds",
                [*NO_NUMBER, -0.001, 31_622_401, 1e300, TOO_LONG],
                "a number of seconds from 0 to 31622400",
            ),
            (
                "retention_seconds",
                [*NO_NUMBER, -1, 315_576_001],
                "a number of seconds from 0 to 315576000",
            ),
            ("sign", [*NO_NUMBER[1:], 0, 1], "true or false"),
            (
                "order_key",
                [*NO_TEXT, "", "a\n", "\0", "a\x1fb", "\x7f", "x" * 256],
                "text of 1 to 255",
            ),
            (
                "callback_url",
                [*NO_TEXT, "", "a", "ftp://a.example/", "http://", "http://a b/", "http://é/"],
                "an http or https URL",
            ),
            ("callback_url", ["http://a\n", "http://a" + "a" * 8185], "an http or https URL"),
            ("retry_on", [503, "5xx", {}, {"a": 1}, [404] * 51], "a list of up to 50 statuses"),
            ("success_on", [True, "2xx", {"a": 1}], "a list of up to 50 statuses"),
            (
                "backoff",
                [1, True, "1", [], [1] * 101],
                "a list of 1 to 100 waits, or webhook",
            ),
            (
                "tags",
                [1, True, "a", [], ["a"], {f"a{n}": 1 for n in range(17)}],
                "an object of up to 16 names",
            ),
        ],
    )
    def test_each_field(self, server, name, values, words):
        """By its place, and with what is allowed there."""
        for value in values:
            text = value if value == TOO_LONG else json.dumps(value)
            body = f'{{"payload": 1, "{name}": {text}}}'
            problem = check_problem(server.post(body.encode()), 422, words)
            [error] = problem["errors"]
            assert error["pointer"] == f"#/{name}"
            assert error["detail"].startswith(f"{name} must be ")

    @pytest.mark.parametrize(
        ("name", "value", "places"),
        [
            ("tags", {"a/b": 1, "ok": 1, "~c": 1, "d": None, "": 1}, ["a~1b", "~0c", "d", ""]),
            ("tags", {"a": "x" * 257, "b": 2**53, "c": 1.5, "d": [], "e": "\n", "f": 1}, "abcde"),
            ("tags", {"team": {"name": "a"}}, ["team"]),
            (
                "backoff",
                {"initial_seconds": -1, "factor": 0.5, "max_seconds": 1},
                ["initial_seconds", "factor"],
            ),
            ("backoff", {"factor": None}, ["factor"]),
            ("backoff", {"maximum": 1, "max_seconds": 86_401}, ["maximum", "max_seconds"]),
            ("backoff", [1, -1, 86_401, "1"], "123"),
            ("retry_on", [503, 99, "5xx", "5XX", "0xx", 1000, 404.5, None], "134567"),
            ("success_on", ["20x", True, [], 200], "012"),
        ],
    )
    def test_parts(self, server, name, value, places):
        """Errors within a list or an object have their own JSON pointers (RFC 6901)."""
        assert list(refused(server, **{name: value})) == [f"#/{name}/{place}" for place in places]

    def test_all_at_once(self, server):
        """Errors of the payload are included; the message has the first three."""
        answer = post(
            server, priority=101, delay_seconds=-1, tags={"a b": 1}, queue="", backoff=[-1]
        )
        problem = check_problem(answer, 422, "priority must be", "and so on, 5 in all")
        assert [error["pointer"] for error in problem["errors"]] == [
            "#/priority",
            "#/delay_seconds",
            "#/tags/a b",
            "#/queue",
            "#/backoff/0",
        ]

    def test_an_order_key_and_what_reorders(self, server):
        """Each field that would reorder the tasks of a key has its place in the answer."""
        keyed = [("unique", {"key": "a"}), ("debounce", {"key": "a", "delay_seconds": 1})]
        for name, value in (*keyed, ("priority", 1), ("delay_seconds", 0.1), ("run_at", FAR)):
            found = refused(server, order_key="a", **{name: value})
            assert list(found) == [f"#/{name}"]
            assert found[f"#/{name}"].endswith("together with order_key")
        assert list(refused(server, order_key="a", priority=-1, run_at=FAR)) == [
            "#/priority",
            "#/run_at",
        ]

    def test_on_failure(self, server):
        """It is about an order key, and one of two words."""
        for value in ("continue", "hold"):
            assert refused(server, on_failure=value) == {
                "#/on_failure": "on_failure needs order_key"
            }
        for value in ("stop", "", 1, []):
            assert list(refused(server, order_key="a", on_failure=value)) == ["#/on_failure"]

    def test_a_moment_and_a_delay(self, server):
        """There is one due time: the two are not taken together, but null is none."""
        assert refused(server, run_at=FAR, delay_seconds=5) == {
            "#/delay_seconds": "delay_seconds must not be given together with run_at"
        }
        assert taken(server, run_at=None, delay_seconds=5)
        assert taken(server, run_at=FAR, delay_seconds=None)

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("priorty", "priority"),
            ("Priority", "priority"),
            ("max_attempt", "max_attempts"),
            ("maxAttempts", "max_attempts"),
            ("expire_at", "expires_at"),
            ("retryon", "retry_on"),
            ("call_back_url", "callback_url"),
            ("tag", "tags"),
            ("payloads", "payload"),
        ],
    )
    def test_misspelt(self, server, name, meant):
        """What looks like a field of ours must not be passed over as if it was a stranger's."""
        found = refused(server, **{name: 1})
        assert found == {f"#/{name}": f"there is no field {name!r}; did you mean {meant}?"}

    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("delay", "did you mean delay_seconds?"),
            ("retention", "did you mean retention_seconds?"),
            ("delaySeconds", "did you mean delay_seconds?"),
            ("countdown", "did you mean delay_seconds?"),
            ("max_retries", "did you mean max_attempts?"),
            ("retries", "did you mean max_attempts?"),
            ("scheduled_for", "did you mean run_at?"),
            ("eta", "did you mean run_at?"),
            ("webhook", "did you mean callback_url?"),
            ("callback-url", "did you mean callback_url?"),
            (
                "ttl",
                "use expires_at (not started from then on) or retention_seconds (kept for)",
            ),
            ("idempotency_key", "the key is sent as the header Idempotency-Key"),
            ("Idempotency-Key", "the key is sent as the header Idempotency-Key"),
            ("cron", "cron is for PUT /schedules/NAME, beside a task"),
            ("stranger", f"known are {', '.join(TaskRequest.__struct_fields__)}"),
            ("x/y~z", f"known are {', '.join(TaskRequest.__struct_fields__)}"),
            ("", f"known are {', '.join(TaskRequest.__struct_fields__)}"),
        ],
    )
    def test_called_otherwise(self, server, name, advice):
        """No field is ignored: what it is called here, or what there is."""
        pointer = name.replace("~", "~0").replace("/", "~1")
        assert refused(server, **{name: 1}) == {
            f"#/{pointer}": f"there is no field {name!r}; {advice}"
        }

    @pytest.mark.parametrize(
        "name", ["method", "headers", "body", "timeout_seconds", "follow_redirects"]
    )
    def test_fields_of_the_payload(self, server, name):
        """A request's fields beside a URL would change nothing about the request."""
        found = refused(server, **{name: 1})
        assert found[f"#/{name}"] == f"there is no field {name!r}; {name} goes inside payload"
        assert f'{{"url": "{URL}", "{name}": ...}}' in found["#/payload"]

    @pytest.mark.parametrize(
        ("body", "pointers", "example"),
        [
            ({"url": "http://a.b/"}, ["#/url", "#/payload"], '{"payload": "http://a.b/"}'),
            (
                {"url": "http://a.b/", "method": "PUT", "queue": "a"},
                ["#/url", "#/method", "#/payload"],
                '{"payload": {"url": "http://a.b/", "method": ...}}',
            ),
            ({"Payload": 1}, ["#/Payload", "#/payload"], '{"payload": "https://example.com/"}'),
            ({"payload": None, "a": 1}, ["#/a", "#/payload"], "payload is null; send"),
        ],
    )
    def test_without_a_payload(self, server, body, pointers, example):
        """The right body is shown, made of what was sent."""
        for sent, under in ((body, ""), ([{"payload": 1}, body], "/1")):
            answer = server.post(json.dumps(sent).encode())
            problem = check_problem(answer, 422)
            reported = {one["pointer"]: one["detail"] for one in problem["errors"]}
            assert list(reported) == [one.replace("#", f"#{under}") for one in pointers]
            assert example in reported[f"#{under}/payload"]

    def test_a_task_can_be_sent_back(self, server):
        """All that a task shows is accepted, and what only TaskFlow can say of it is ignored."""
        shown = server.show(server.add(b'"http://a.invalid/"'))
        again = server.post(json.dumps(shown | {"run_at": None}).encode())
        assert (again.status, again.json["id"] != shown["id"]) == (201, True)
        ignored = set(Task.__struct_fields__) - set(TaskRequest.__struct_fields__)
        assert taken(server, **{name: {"what": "ever"} for name in ignored})["status"] == "PENDING"

    def test_misspelled_fields_among_other_errors(self, server):
        """Each unknown field has its pointer, and other errors are reported in one response."""
        assert list(refused(server, priorty=1, stranger=1, tag={}, priority=999)) == [
            "#/priorty",
            "#/stranger",
            "#/tag",
            "#/priority",
        ]

    def test_a_long_name(self, server):
        """It is truncated in the message, and its pointer is complete."""
        [(pointer, detail)] = refused(server, **{"a" * 100_000: 1}).items()
        assert pointer == "#"
        assert len(detail) < 400

    def test_many_unknown_fields(self, server):
        """Only some are reported: all of the names would block other requests."""
        names = [f"callbak_{n:05}" for n in range(50_000)]
        body = json.dumps({"payload": 1, "delay_seconds": 9, **dict.fromkeys(names, 1)}).encode()
        problem = check_problem(server.post(body), 422, "21 in all")
        assert problem["errors"][-1] == {
            "pointer": "#",
            "detail": "the body has more fields that do not exist",
        }

    def test_backoff(self, server):
        """The fields of an object inside have their names, too."""
        found = refused(server, backoff={"initial_seconds": 1, "factr": 2})
        assert list(found) == ["#/backoff/factr"]
        assert found["#/backoff/factr"].endswith("no field 'factr'; did you mean factor?")

    @pytest.mark.parametrize("name", ["priority", "tags", "backoff", "retry_on", "stranger"])
    def test_however_deep(self, server, name):
        """Nesting is no fault of ours at any depth, where the reader's stack ends included."""
        with server.connect() as connection:
            for depth in (2, 499, 501, *range(700, 1010), 100_000):
                body = b'{"payload": 1, "delay_seconds": 9, "%b": %b%b}' % (
                    name.encode(),
                    b"[" * depth,
                    b"]" * depth,
                )
                status = connection.ask("POST", "/tasks", body).status
                assert status == 422, depth
