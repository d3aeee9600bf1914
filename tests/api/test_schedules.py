"""Schedules over HTTP: made, read, run, and refused with all that is wrong; conditional fetches."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.api.client import check_problem
from tests.service.processes import wait_until

URL = "http://127.0.0.1:9/"
SHOWN = [
    *(
        "name",
        "cron",
        "every_seconds",
        "start_at",
        "timezone",
        "task",
        "missed",
        "overlap",
        "conditional",
        "paused",
    ),
    *("created_at", "updated_at", "next_run_at", "last_run_at", "last_task_id", "last_task_status"),
    *("skipped_count", "last_skipped_at"),
]
HOUR = {"every_seconds": 3600, "task": {"payload": URL}}


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"s-{uuid.uuid4()}"


def put(server, name: str, body: object, headers=None):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.ask("PUT", f"/schedules/{name}", text, headers)


def made(server, name: str, body: object) -> dict:
    answer = put(server, name, body)
    assert answer.status in (200, 201), answer
    return answer.json


def faults(answer) -> dict[str, str]:
    """What is wrong, by places."""
    problem = check_problem(answer, 422)
    return {error["pointer"]: error["detail"] for error in problem["errors"]}


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


class TestMade:
    def test_a_schedule(self, server, name):
        """201 with where it is; then it is shown as it was answered, and its task to the byte."""
        template = b'{ "payload":"%s", "delay_seconds": 1e0 , "id": null }' % URL.encode()
        body = b'{"cron": "30 6 * * MON-FRI", "timezone": "Europe/Berlin", "task": %s}' % template
        answer = put(server, name, body)
        assert answer.status == 201
        assert answer.header("location") == f"/schedules/{name}"
        assert list(answer.json) == SHOWN
        assert template in answer.body
        schedule = answer.json
        assert (schedule["missed"], schedule["conditional"], schedule["paused"]) == (
            *("once", False, False),
        )
        assert moment(schedule["next_run_at"]) > moment(schedule["created_at"])
        assert server.ask("GET", f"/schedules/{name}").json == schedule

    def test_replaced_whole(self, server, name):
        """200; what is not said is not kept."""
        made(server, name, {**HOUR, "missed": "all", "conditional": True})
        answer = put(server, name, HOUR)
        assert answer.status == 200
        assert answer.header("location") is None
        assert (answer.json["missed"], answer.json["conditional"]) == ("once", False)

    def test_only_if_it_is_new(self, server, name):
        """With If-None-Match one that is there is left alone (RFC 9110, section 13.1.2)."""
        head = {"if-none-match": "*"}
        assert put(server, name, HOUR, head).status == 201
        check_problem(put(server, name, {**HOUR, "every_seconds": 5}, head), 412, "If-None-Match")
        assert server.ask("GET", f"/schedules/{name}").json["every_seconds"] == 3600.0
        for tags in ('"1"', "", "*, *"):
            check_problem(put(server, name, HOUR, {"if-none-match": tags}), 422, "If-None-Match")

    def test_a_schedule_that_was_read_can_be_put(self, server, name):
        """Also what only TaskFlow says of it; the times stay."""
        schedule = made(server, name, HOUR)
        again = made(server, name, schedule)
        assert again == {**schedule, "updated_at": again["updated_at"]}

    def test_a_start(self, server, name):
        """The first of the times, and where the others are counted from."""
        ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
        schedule = made(server, name, {**HOUR, "start_at": ahead.isoformat()})
        assert moment(schedule["next_run_at"]) == moment(schedule["start_at"]) == ahead

    def test_paused(self, server, name):
        """It has no next time, until it is resumed."""
        assert made(server, name, {**HOUR, "paused": True})["next_run_at"] is None
        assert made(server, name, HOUR)["next_run_at"] is None  # which does not say otherwise
        assert made(server, name, {**HOUR, "paused": False})["next_run_at"] is not None

    def test_deleted(self, server, name):
        """204, and then there is none."""
        made(server, name, HOUR)
        answer = server.ask("DELETE", f"/schedules/{name}")
        assert (answer.status, answer.body) == (204, b"")
        for method, path in (
            ("DELETE", f"/schedules/{name}"),
            ("GET", f"/schedules/{name}"),
            ("POST", f"/schedules/{name}/run"),
            ("GET", "/schedules/%20"),
        ):
            check_problem(server.ask(method, path), 404, "schedule")

    @pytest.mark.parametrize("verb", ["cancel", "run", "retry"])
    def test_verbs_are_names_like_others(self, server, verb):
        """They stand where no name can."""
        made(server, verb, HOUR)
        assert server.ask("GET", f"/schedules/{verb}").json["name"] == verb
        assert server.ask("POST", f"/schedules/{verb}/run").status == 201
        assert server.ask("DELETE", f"/schedules/{verb}").status == 204

    def test_pages(self, server):
        """By name, led on by Link to the end."""
        mark = uuid.uuid4().hex[:8]
        names = sorted(f"zz-{mark}-{letter}" for letter in "aB-0_.")
        for one in names:
            made(server, one, HOUR)
        found, path = [], f"/schedules?limit=4&cursor=zz-{mark}-"
        while path:
            answer = server.ask("GET", path)
            assert answer.status == 200
            found += [schedule["name"] for schedule in answer.json]
            link = answer.header("link")
            path = link and link[1:].partition(">")[0]
            assert not link or link.endswith('rel="next"')
        assert found == names
        for one in names:
            server.ask("DELETE", f"/schedules/{one}")


class TestNext:
    def runs(self, server, name: str, query: str = "") -> dict:
        answer = server.ask("GET", f"/schedules/{name}/next{query}")
        assert answer.status == 200
        return answer.json

    def test_next_runs(self, server, name):
        """Five of them, or as many as are asked for; a paused schedule says that it is paused."""
        schedule = made(server, name, HOUR)
        runs = self.runs(server, name)
        assert list(runs) == ["name", "paused", "times"]
        assert (runs["name"], runs["paused"], len(runs["times"])) == (name, False, 5)
        first = moment(schedule["next_run_at"])
        expected = [first + dt.timedelta(hours=n) for n in range(100)]
        assert [moment(text) for text in runs["times"]] == expected[:5]
        many = self.runs(server, name, "?count=100")["times"]
        assert [moment(text) for text in many] == expected
        made(server, name, {**HOUR, "paused": True})
        assert self.runs(server, name) == {**runs, "paused": True}
        assert self.runs(server, name, "?count=1")["times"] == runs["times"][:1]

    def test_times_of_a_zone(self, server, name):
        """They are computed in the time zone of the schedule, and shown in UTC."""
        body = {"cron": "0 0 29 2 *", "timezone": "Asia/Kathmandu", "task": {"payload": URL}}
        made(server, name, body)
        times = self.runs(server, name, "?count=100")["times"]
        assert times[0] == "2028-02-28T18:15:00Z"
        assert len(times) == 100

    @pytest.mark.parametrize(
        ("query", "word"),
        [
            *((f"count={count}", "from 1 to 100") for count in ("0", "101", "-1", "x", "1.5", "")),
            ("count=1&count=2", "more than once"),
            ("limit=5", "no parameter"),
        ],
    )
    def test_invalid_queries(self, server, name, query, word):
        """Each is rejected with what is accepted, whether the schedule exists or not."""
        check_problem(server.ask("GET", f"/schedules/{name}/next?{query}"), 422, word)

    def test_unknown_schedules(self, server, name):
        """There is nothing to compute."""
        check_problem(server.ask("GET", f"/schedules/{name}/next"), 404, "schedule")
        check_problem(server.ask("GET", "/schedules/%20/next"), 404, "schedule")


class TestFired:
    def test_a_time(self, server, target, name):
        """Its task is run, and says of which schedule it is and for which time."""
        start_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        body = {**HOUR, "start_at": start_at.isoformat(), "task": {"payload": f"{target.url}/json"}}
        made(server, name, body)
        schedule = wait_until(lambda: self.fired(server, name))
        task = server.wait(schedule["last_task_id"])
        assert (task["status"], task["schedule"]) == ("COMPLETED", name)
        assert moment(task["scheduled_at"]) == start_at
        assert {"schedule", "scheduled_at"} < set(task)
        assert moment(schedule["next_run_at"]) == start_at + dt.timedelta(hours=1)
        shown = server.ask("GET", f"/schedules/{name}").json
        assert shown["last_task_status"] == "COMPLETED"
        assert moment(shown["last_run_at"]) >= start_at

    @staticmethod
    def fired(server, name: str) -> dict | None:
        schedule = server.ask("GET", f"/schedules/{name}").json
        return schedule if schedule["last_task_id"] else None

    def test_manual_runs(self, server, target, name):
        """201 and the task; a body is passed over; the times stay, and a paused one runs, too."""
        template = {"payload": f"{target.url}/json", "delay_seconds": 0.01, "tags": {"a": 1}}
        schedule = made(server, name, {**HOUR, "task": template})
        answer = server.ask("POST", f"/schedules/{name}/run", b"whatever")
        assert answer.status == 201
        assert answer.header("location") == f"/tasks/{answer.json['id']}"
        assert (answer.json["schedule"], answer.json["scheduled_at"]) == (name, None)
        task = server.wait(answer.json["id"])
        assert (task["status"], task["tags"]) == ("COMPLETED", {"a": 1})
        shown = server.ask("GET", f"/schedules/{name}").json
        assert (shown["next_run_at"], shown["last_task_id"]) == (
            schedule["next_run_at"],
            task["id"],
        )
        made(server, name, {**HOUR, "paused": True})
        assert server.ask("POST", f"/schedules/{name}/run").status == 201

    def test_overlap(self, server, name):
        """A manual run is rejected while a task is open, or cancels it, as the schedule says."""
        task = {"payload": URL, "delay_seconds": 3600}
        assert made(server, name, {**HOUR, "task": task})["overlap"] == "allow"
        schedule = made(server, name, {**HOUR, "task": task, "overlap": "skip"})
        assert (schedule["skipped_count"], schedule["last_skipped_at"]) == (0, None)
        first = server.ask("POST", f"/schedules/{name}/run").json["id"]
        problem = check_problem(server.ask("POST", f"/schedules/{name}/run"), 409, name)
        assert problem["type"] == "/problems/schedule-overlap"
        patch = json.dumps({"overlap": "cancel_previous"}).encode()
        changed = server.ask("PATCH", f"/schedules/{name}", patch)
        assert changed.json["overlap"] == "cancel_previous"
        second = server.ask("POST", f"/schedules/{name}/run")
        assert second.status == 201
        assert server.ask("GET", f"/tasks/{first}").json["status"] == "CANCELED"
        assert server.ask("PATCH", f"/schedules/{name}", b'{"overlap": null}').status == 200
        assert server.ask("POST", f"/schedules/{name}/run").status == 201
        assert server.ask("GET", f"/tasks/{second.json['id']}").json["status"] == "PENDING"

    def test_only_schedules_set_the_schedule_of_a_task(self, server, name):
        """A POST cannot set the schedule of a task; a task that was read can be resubmitted."""
        body = {"payload": URL, "schedule": name, "scheduled_at": "2026-11-24T06:57:50Z"}
        answer = server.post(json.dumps(body).encode())
        assert answer.status == 201
        assert (answer.json["schedule"], answer.json["scheduled_at"]) == (None, None)


class TestRefused:
    def test_all_at_once(self, server, name):
        """Each error has its pointer; errors of the task are under /task."""
        body = {
            "cron": "61 * * * *",
            "timezone": "Europe/Utopia",
            "missed": "never",
            "overlap": "wait",
            "pasued": True,
            "name": "other",
            "start_at": "tomorrow",
            "task": {"payload": {"url": URL, "mehtod": "GET"}, "priority": 1000},
        }
        found = faults(put(server, name, body))
        assert set(found) == {
            *("#/cron", "#/timezone", "#/missed", "#/overlap"),
            *("#/pasued", "#/name", "#/start_at"),
            *("#/task/payload/mehtod", "#/task/priority"),
        }
        assert "minute" in found["#/cron"]
        assert "Europe/Berlin" in found["#/timezone"]
        assert "skip, once, all" in found["#/missed"]
        assert "allow, skip, cancel_previous" in found["#/overlap"]
        assert "did you mean paused?" in found["#/pasued"]
        check_problem(server.ask("GET", f"/schedules/{name}"), 404)

    @pytest.mark.parametrize(
        ("body", "pointer", "word"),
        [
            ({"task": {"payload": URL}}, "#", "either cron or every_seconds"),
            ({**HOUR, "cron": None, "every_seconds": None}, "#", "either cron or every_seconds"),
            ({**HOUR, "cron": "* * * * *"}, "#/every_seconds", "together with cron"),
            ({**HOUR, "every_seconds": 0.5}, "#/every_seconds", "from 1 to"),
            ({**HOUR, "every_seconds": 1e9}, "#/every_seconds", "from 1 to"),
            ({**HOUR, "every_seconds": "60"}, "#/every_seconds", "from 1 to"),
            ({**HOUR, "paused": "no"}, "#/paused", "true or false"),
            ({**HOUR, "overlap": True}, "#/overlap", "allow, skip, cancel_previous"),
            ({**HOUR, "overlap": "Skip"}, "#/overlap", "allow, skip, cancel_previous"),
            ({"cron": "0 0 30 2 *", "task": {"payload": 1}}, "#/cron", "day of the month"),
            ({"cron": "0 0 LW * */7", "task": {"payload": 1}}, "#/cron", "never comes"),
            ({"cron": "* * * * * *", "task": {"payload": 1}}, "#/cron", "five fields"),
            ({"cron": "*" * 300, "task": {"payload": 1}}, "#/cron", "five fields"),
            (
                {"cron": "* * * * *", "start_at": "2027-01-01T00:00:00Z", "task": {"payload": 1}},
                "#/start_at",
                "every_seconds",
            ),
            ({"every_seconds": 60}, "#/task", "task is missing"),
            ({"every_seconds": 60, "task": URL}, "#/task", "an object"),
            ({"every_seconds": 60, "task": {}}, "#/task", "payload is missing"),
            ({"every_seconds": 60, "task": {"payload": None}}, "#/task", "payload is null"),
            (
                {"every_seconds": 60, "task": {"payload": URL, "run_at": "2027-01-01T00:00:00Z"}},
                "#/task/run_at",
                "fixed time",
            ),
            (
                {
                    "every_seconds": 60,
                    "task": {"payload": URL, "expires_at": "2027-01-01T00:00:00Z"},
                },
                "#/task/expires_at",
                "fixed time",
            ),
            (
                {
                    "every_seconds": 60,
                    "conditional": True,
                    "task": {"payload": {"url": URL, "body": "x"}},
                },
                "#/conditional",
                "GET and HEAD",
            ),
            (
                {
                    "every_seconds": 60,
                    "conditional": True,
                    "task": {"payload": {"url": URL, "headers": {"if-None-match": '"1"'}}},
                },
                "#/task/payload/headers/if-None-match",
                "leave it out",
            ),
        ],
    )
    def test_invalid_schedules(self, server, name, body, pointer, word):
        """Is refused at its place, in words that say what would be taken."""
        found = faults(put(server, name, body))
        assert list(found) == [pointer]
        assert word in found[pointer]

    @pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b'"x"'])
    def test_bodies_that_are_not_objects(self, server, name, body):
        """400, as for a task."""
        check_problem(put(server, name, body), 400, "cron")

    def test_invalid_names(self, server):
        """422 for one that is to be made."""
        for name in ("-a", "a%20b", "a" * 65, "%C3%A9"):
            check_problem(put(server, name, HOUR), 422, "letters, digits")

    @pytest.mark.parametrize(
        ("query", "word"),
        [
            ("limit=0", "from 1 to 1000"),
            ("limit=1001", "from 1 to 1000"),
            ("limit=x", "from 1 to 1000"),
            ("cursor=%20", "cursor"),
            ("limit=1&limit=2", "more than once"),
            ("nane=x", "no parameter"),
        ],
    )
    def test_queries(self, server, query, word):
        """Parameters are named, with what is taken."""
        check_problem(server.ask("GET", f"/schedules?{query}"), 422, word)

    def test_a_compressed_body(self, server, name):
        """415, as for a task."""
        check_problem(put(server, name, HOUR, {"content-encoding": "gzip"}), 415)


class Versions(ThreadingHTTPServer):
    """A web server whose page has a version; it keeps what it was asked by."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.version: str | None = '"1"'
        self.date = "Thu, 26 Nov 2026 10:00:00 GMT"
        self.repeats = True
        self.asked: list[tuple[str | None, str | None]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Page(BaseHTTPRequestHandler):
    server: Versions
    timeout = 10

    def do_GET(self) -> None:
        requested = self.headers["If-None-Match"], self.headers["If-Modified-Since"]
        self.server.asked.append(requested)
        version = self.server.version
        is_known = version is not None and requested[0] == version
        self.send_response(304 if is_known else 200)
        if version and (self.server.repeats or not is_known):
            self.send_header("ETag", version)
            self.send_header("Last-Modified", self.server.date)
        if not is_known:
            self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"" if is_known else b"hello")

    def log_message(self, *_: object) -> None:
        pass


class TestConditional:
    @pytest.fixture
    def page(self):
        with Versions() as page:
            yield page

    def run(self, server, name: str) -> dict:
        answer = server.ask("POST", f"/schedules/{name}/run")
        assert answer.status == 201
        return server.wait(answer.json["id"])

    @pytest.mark.parametrize("repeats", [True, False])
    def test_unchanged_resources(self, server, page, name, repeats):
        """COMPLETED with not_modified, again and again, until it changes."""
        page.repeats = repeats
        made(server, name, {**HOUR, "conditional": True, "task": {"payload": page.url}})
        first = self.run(server, name)
        assert first["result"]["result"] == "hello"
        assert "not_modified" not in first["result"]
        for _ in range(3):
            task = self.run(server, name)
            assert (task["status"], task["error"]) == ("COMPLETED", "")
            assert task["result"]["not_modified"] is True
            assert (task["result"]["status_code"], task["result"]["size"]) == (304, 0)
        page.version = '"2"'
        changed = self.run(server, name)
        assert changed["result"]["result"] == "hello"
        assert "not_modified" not in changed["result"]
        assert self.run(server, name)["result"]["not_modified"] is True
        date = page.date
        assert page.asked == [
            (None, None),
            *[('"1"', date)] * 4,
            ('"2"', date),
        ]

    def test_a_target_without_validators(self, server, page, name):
        """Is asked for all of it each time."""
        page.version = None
        made(server, name, {**HOUR, "conditional": True, "task": {"payload": page.url}})
        for _ in range(2):
            assert self.run(server, name)["result"]["result"] == "hello"
        assert page.asked == [(None, None)] * 2

    def test_unconditional_schedules(self, server, page, name):
        """Its requests are unconditional, and a 304 is a failure."""
        made(server, name, {**HOUR, "task": {"payload": page.url}})
        for _ in range(2):
            assert self.run(server, name)["status"] == "COMPLETED"
        assert page.asked == [(None, None)] * 2
        headers = {"If-None-Match": '"1"'}
        template = {"payload": {"url": page.url, "headers": headers}}
        made(server, name, {**HOUR, "task": template})
        task = self.run(server, name)
        assert (task["status"], task["error_type"]) == ("FAILED", "http_status")

    def test_with_statuses_of_its_own(self, server, page, name):
        """304 is success all the same, for it was asked for."""
        template = {"payload": {"url": page.url}, "success_on": [200]}
        made(server, name, {**HOUR, "conditional": True, "task": template})
        self.run(server, name)
        assert self.run(server, name)["result"]["not_modified"] is True
