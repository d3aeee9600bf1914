"""GET /tasks: what can be looked for, which fields are shown, and streams of all that match."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import uuid
from urllib.parse import quote, urlencode

import psutil
import psycopg
import pytest

from taskflow.api.listing import STREAM_PAGE
from taskflow.api.reading.request_headers import wants_lines
from taskflow.model.outcome import ErrorType
from taskflow.schema.query import FIELDS
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.test_costs import statements_told

LINES = {"accept": "application/x-ndjson"}
LATER = {"delay_seconds": 3600}


@pytest.fixture
def own_server(empty_url):
    """A server of each kind without tasks in it."""
    with LiveServer(database_url=empty_url) as server:
        yield server


def add(server, payload, **fields) -> str:
    answer = server.post(json.dumps({"payload": payload, **LATER, **fields}).encode())
    assert answer.status == 201, answer
    return answer.json["id"]


def found(server, *pairs, **query) -> list[str]:
    """The ids of a page of what is asked for."""
    answer = server.ask("GET", f"/tasks?{urlencode([*pairs, *query.items()])}")
    assert answer.status == 200, answer
    return [task["id"] for task in answer.json]


def stream(server, query="", headers=LINES) -> list[dict]:
    answer = server.ask("GET", f"/tasks?{query}", None, headers)
    assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson"), answer
    assert answer.body.count(b"\n") == len(answer.body.splitlines())
    return [json.loads(line) for line in answer.body.splitlines()]


class TestFilters:
    def test_states(self, own_server):
        """One state or several, together with other filters; also in bulk actions."""
        server = own_server
        assert server.ask("PUT", "/queues/mail", b'{"paused": true}').status == 201
        later = add(server, "http://a.example/")
        held = add(server, "http://a.example/", queue="mail", delay_seconds=0)
        other = add(server, "http://b.example/", queue="mail", delay_seconds=0)
        failed = server.run(b"7")["id"]
        assert found(server, state="scheduled") == [later]
        assert found(server, state="held") == [other, held]
        assert found(server, state="held,scheduled", host="a.example") == [held, later]
        assert found(server, state="due") == found(server, state="running") == []
        assert found(server) == [failed, other, held, later]
        check_problem(
            server.ask("GET", "/tasks?state=pending"), 422, "state must be one of due, scheduled"
        )
        filters = {"state": ["held", "due"], "host": "b.example"}
        for dry_run in (True, False):
            body = json.dumps({**filters, "dry_run": dry_run}).encode()
            assert server.ask("POST", "/tasks/cancel", body).json["count"] == 1
        assert found(server, state="held") == [held]
        check_problem(server.ask("POST", "/tasks/cancel", b'{"state": 7}'), 422, "state must be")

    def test_the_oldest_first(self, own_server):
        """Pages and streams in this order, whose links lead to newer tasks."""
        ids = [add(own_server, "http://a.example/") for _ in range(5)]
        answer = own_server.ask("GET", "/tasks?order=oldest&limit=2")
        pages = [[task["id"] for task in answer.json]]
        while (link := answer.header("link")) is not None:
            answer = own_server.ask("GET", link.partition(">")[0].removeprefix("<"))
            pages.append([task["id"] for task in answer.json])
        assert [task_id for page in pages for task_id in page] == ids
        assert [task["id"] for task in stream(own_server, "order=oldest&fields=id")] == ids
        assert found(own_server, order="newest") == ids[::-1]
        check_problem(own_server.ask("GET", "/tasks?order=up"), 422, "order must be one of newest")

    def test_each(self, own_server):
        """By queue, tags, host, error, text in the URL, and all of them together."""
        server = own_server
        one = add(server, "http://A.example:8080/Path?q=1", queue="mail", tags={"a": 1, "b": True})
        two = add(server, {"url": "http://b.example/päth"}, tags={"a": "1", "b": "x y"})
        three = add(server, "http://[::1]/", queue="mail", tags={"a": "one"})
        failed = server.run(b"7")
        assert found(server, queue="mail") == [three, one]
        assert found(server, queue="default") == [failed["id"], two]
        assert found(server, tag="a:1") == [two, one]
        assert found(server, ("tag", "a:1"), ("tag", "b:true")) == [one]
        assert found(server, ("tag", "a:1"), ("tag", "a:one")) == []
        assert found(server, tag="b:x y") == [two]
        assert found(server, host="a.example") == found(server, host="A.EXAMPLE.") == [one]
        assert found(server, host="[::1]") == found(server, host="0::1") == [three]
        assert found(server, host="a.example:8080") == []
        assert found(server, error_type="invalid_url") == [failed["id"]]
        assert found(server, url_contains="/Path?q") == [one]
        assert found(server, url_contains="/path?q") == []
        assert found(server, url_contains="päth") == [two]
        for prefix in (two, two[:-1], two[:24], two.replace("-", ""), two.upper()[:35]):
            assert two in found(server, id_prefix=prefix), prefix
        assert found(server, id_prefix=two) == [two]
        assert found(server, id_prefix=two, queue="mail") == []
        same = [one for one in (failed["id"], three, two, one) if one.startswith(two[:8])]
        assert found(server, id_prefix=two[:8]) == same
        assert found(server, id_prefix="f" * 8) == found(server, id_prefix="0" * 32) == []
        assert found(server, queue="mail", host="::1", status="PENDING,FAILED") == [three]
        assert found(server, queue="mail", error_type="dns") == []

    def test_moments(self, own_server):
        """From a moment on, that moment included, and up to one, which is not."""
        server = own_server
        ids = [server.run(b"1")["id"] for _ in range(3)]
        waiting = add(server, "http://x/")
        tasks = [server.show(task_id) for task_id in [*ids, waiting]]
        created = tasks[1]["created_at"]
        assert found(server, created_after=created) == [waiting, ids[2], ids[1]]
        assert found(server, created_before=created) == [ids[0]]
        assert found(server, created_after=created, created_before=created) == []
        finished = tasks[1]["finished_at"]
        assert found(server, finished_after=finished) == [ids[2], ids[1]]
        assert found(server, finished_before=finished) == [ids[0]]
        assert found(server, finished_before="9999-12-31T23:59:59Z") == ids[::-1]
        assert found(server, created_after="0001-01-01T00:00:00+23:59") == [waiting, *ids[::-1]]
        in_another_zone = created.replace("Z", "+00:00")
        assert found(server, created_before=in_another_zone) == [ids[0]]

    def test_they_stay_in_the_link(self, own_server):
        """Who follows the links sees all that match, and nothing else."""
        text = 'a:1 & "2" <é>;,%'
        ids = [
            add(own_server, f"http://x/{n}", tags={"t": text[2:], "n": n % 2}) for n in range(10)
        ]
        query = [
            ("tag", f"t:{text[2:]}"),
            ("tag", "n:1"),
            ("url_contains", "x/"),
            ("fields", "id,tags"),
        ]
        target, seen = f"/tasks?{urlencode([*query, ('limit', 2)])}", []
        while target is not None:
            answer = own_server.ask("GET", target)
            assert [list(task) for task in answer.json] == [["id", "tags"]] * len(answer.json)
            seen += [task["id"] for task in answer.json]
            link = answer.header("link")
            target = link and link.partition(">")[0].removeprefix("<")
        assert seen == ids[::-2]

    @pytest.mark.parametrize(
        ("name", "values"),
        {
            "queue": ["", "a b", "-", "é", "x" * 65, "a\n", "a\0"],
            "tag": ["", "color", ":red", "a b:c", "a:\0", "a:b\n", "é:1", "a:" + "x" * 257],
            "host": ["", "a b", "a/b", "x@y", "a?", "a#", "\0", "x" * 256, "a\\b"],
            "error_type": ["", "nothing", "TIMEOUT", "timeout,dns", "null"],
            "created_after": ["", "yesterday", "2026-11-24", "2026-11-24T06:57:50", "0", "1e9"],
            "created_before": ["2026-13-01T00:00:00Z", "2026-11-24T06:57:50 01:00"],
            "finished_after": ["null", "\0"],
            "finished_before": ["NaN", "9999-12-31T23:59:60Z2"],
            "url_contains": ["", "a\nb", "\0", "\x7f"],
            "id_prefix": [
                "",
                "01a20c5",
                "01a20c5g",
                "--------",
                "a" * 33,
                "01a20c58--b6",
                "a" * 8 + "\n",
            ],
            "fields": ["", "id,", "nothing", "ID", "id, status", "*", "\0"],
        }.items(),
    )
    def test_invalid_values(self, server, name, values):
        """422, naming the parameter and what is allowed; twice is too often for all but tags."""
        for value in values:
            answer = server.ask("GET", f"/tasks?{urlencode({name: value})}")
            problem = check_problem(answer, 422, "must be")
            assert problem["detail"].startswith(f"{name} must be "), value
        if name != "tag":
            answer = server.ask("GET", f"/tasks?{name}=x&{name}=x")
            check_problem(answer, 422, f"{name} is given more than once")

    def test_sixteen_tags(self, server):
        """A filter can have as many tags as a task, and no more."""
        for count, status in ((16, 200), (17, 422)):
            query = "&".join(f"tag=t{n}:{n}" for n in range(count))
            assert server.ask("GET", f"/tasks?{query}").status == status

    def test_all_errors_are_reported(self, server):
        """All errors are in one response, each with its parameter."""
        answer = server.ask("GET", "/tasks?limit=0&x=1&created_after=2026-11-24T06:57:50+01:00")
        check_problem(answer, 422, "limit must", "'x'", "created_after must be a date", "%2B")

    @pytest.mark.parametrize("error_type", list(ErrorType))
    def test_error_types(self, server, error_type):
        """Each that there is can be looked for."""
        assert server.ask("GET", f"/tasks?error_type={error_type}").status == 200

    @pytest.mark.parametrize("text", ["'; DROP TABLE x", "%", "_", "\\", "{}", "%(x)s", "é\ufffd"])
    def test_texts_are_texts(self, server, text):
        """Whatever they are to databases: they find themselves and nothing else."""
        url = f"http://x/{uuid.uuid4()}/"
        added = add(server, url + text, tags={"text": text})
        add(server, url, tags={"text": "x"})
        assert found(server, ("url_contains", url + text)) == [added]
        assert added in found(server, tag=f"text:{text}")


class TestFields:
    def test_in_a_list(self, server):
        """Just these, in the order of the task, each as it is in the whole."""
        task_id = server.run(b'{"url": "nothing"}')["id"]
        [whole] = [task for task in server.ask("GET", "/tasks").json if task["id"] == task_id]
        for fields in (["id"], ["id", "status", "error"], list(whole)):
            answer = server.ask("GET", f"/tasks?fields={','.join(reversed(fields))},id")
            [task] = [task for task in answer.json if task["id"] == task_id]
            assert list(task.items()) == [(name, whole[name]) for name in whole if name in fields]

    @pytest.mark.parametrize("field", FIELDS)
    def test_of_one_task(self, server, target, field):
        """Each alone, of a task with a result."""
        task = server.run(json.dumps(f"{target.url}/json").encode())
        answer = server.ask("GET", f"/tasks/{task['id']}?fields={field}")
        assert (answer.status, answer.json) == (200, {field: task[field]})

    def test_invalid_fields(self, server):
        """A 422 for unknown fields and parameters."""
        task_id = add(server, "http://x/")
        for query in ("fields=nothing", "fields=", "fields=id&fields=id"):
            check_problem(server.ask("GET", f"/tasks/{task_id}?{query}"), 422, "fields ")
        check_problem(server.ask("GET", f"/tasks/{task_id}?other=1"), 422, "other")
        check_problem(server.ask("GET", f"/tasks/{uuid.uuid4()}?fields=id"), 404)

    def test_small_fields_of_large_tasks(self, own_server):
        """A page without what is large is not shortened by it."""
        for _ in range(20):
            add(own_server, "x" * (2**20 - 100))
        assert len(own_server.ask("GET", "/tasks").json) == 17
        answer = own_server.ask("GET", "/tasks?fields=id,status")
        assert (len(answer.json), answer.header("link")) == (20, None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        (["*/*"], False),
        (["application/*"], False),
        (["application/json"], False),
        (["text/html, application/xhtml+xml, */*;q=0.8"], False),
        (["application/x-ndjson"], True),
        (["APPLICATION/X-NDJSON; charset=utf-8"], True),
        (["application/ndjson"], True),
        (["application/x-ndjson, */*"], True),
        (["application/x-ndjson;q=0.5, */*;q=0.1"], True),
        (["application/x-ndjson;q=0.5, */*"], False),
        (["application/x-ndjson;q=0"], False),
        (["application/x-ndjson;q=zero"], False),
        (["application/x-ndjson, application/json"], False),
        (["application/json;q=0.9", "application/x-ndjson"], True),
        (["application/json", "application/x-ndjson;q=0.9"], False),
    ],
)
def test_accept_of_lines(values, expected):
    """Lines are sent if ``Accept`` names them and does not prefer JSON."""
    assert wants_lines(values) is expected


class TestStream:
    def test_all_that_match(self, own_server):
        """Newest first, each once, whatever has come meanwhile, however many pages it are."""
        count = 2 * STREAM_PAGE + 7
        tasks = [{"payload": f"http://x/{n}", "queue": f"q{n % 2}", **LATER} for n in range(count)]
        answer = own_server.ask("POST", "/tasks", json.dumps(tasks).encode())
        ids = [task["id"] for task in answer.json]
        assert [task["id"] for task in stream(own_server)] == ids[::-1]
        assert stream(own_server) == own_server.ask("GET", "/tasks?limit=1000").json
        some = stream(own_server, "queue=q1&fields=id")
        assert some == [{"id": task_id} for task_id in ids[1::2][::-1]]
        assert stream(own_server, "queue=none") == []
        assert stream(own_server, "status=COMPLETED") == []

    @pytest.mark.parametrize("limit", [1, STREAM_PAGE, STREAM_PAGE + 1, 1500, "0" * 30 + "9"])
    def test_a_limit(self, memory_server, limit):
        """As many as are asked for, also more than a page has."""
        tasks = [{"payload": 1, **LATER}] * 1600
        assert memory_server.ask("POST", "/tasks", json.dumps(tasks).encode()).status == 201
        assert len(stream(memory_server, f"limit={limit}")) == int(limit)

    @pytest.mark.parametrize("limit", ["0", "-1", "", "1.0", "9" * 30, "%EF%BC%91"])
    def test_invalid_limits(self, server, limit):
        """A 422 before anything is streamed."""
        answer = server.ask("GET", f"/tasks?limit={limit}", None, LINES)
        check_problem(answer, 422, "limit must be a whole number from 1 on")

    def test_a_line_is_a_line(self, own_server):
        """Payloads are kept with the line ends in them, and are shown on one line all the same."""
        own_server.post(
            b'{"payload": {"url":\r\n "http://x/\\n",\n\n"body": "\\r\\n"}, "delay_seconds": 9}'
        )
        [task] = stream(own_server)
        assert task["payload"] == {"url": "http://x/\n", "body": "\r\n"}

    def test_from_a_cursor_on(self, own_server):
        """A stream goes on where a page ended."""
        ids = [add(own_server, n) for n in range(5)]
        link = own_server.ask("GET", "/tasks?limit=2").header("link")
        cursor = link.partition("cursor=")[2].partition(">")[0]
        assert [task["id"] for task in stream(own_server, f"cursor={cursor}")] == ids[2::-1]

    def test_head(self, server):
        """The head alone, and the connection goes on."""
        with server.connect() as connection:
            for _ in range(2):
                answer = connection.ask("HEAD", "/tasks", None, LINES)
                assert (answer.status, answer.body) == (200, b"")
                assert answer.header("content-type") == "application/x-ndjson"
            assert connection.ask("GET", "/livez").status == 200

    def test_large_tasks(self, own_server):
        """Each page is bounded in bytes, and all of them come."""
        ids = [add(own_server, "x" * (2**20 - 100)) for _ in range(20)]
        assert [task["id"] for task in stream(own_server)] == ids[::-1]


FILL = """
INSERT INTO taskflow_tasks (payload, size_bytes, run_at, host)
SELECT to_json('http://x/' || repeat('x', 400)), 411, now() + interval '1 hour', n || '.example'
FROM generate_series(1, %s) AS n
"""


def fill(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL, [count])
        connection.execute("VACUUM ANALYZE taskflow_tasks")


@contextlib.contextmanager
def streaming(server, query="", *, is_narrow=False):
    """A connection on which a stream has begun; a narrow one has little room for what comes."""
    with server.connect() as connection:
        if is_narrow:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"GET /tasks?{query} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n"
        connection.send(head.encode())
        assert connection.read_raw_head()[0] == 200
        yield connection


@contextlib.contextmanager
def pages_counted():
    """How many pages were read from the database up to now."""
    statements = []

    def note(query, params):
        # What only a page or the search for one says; what is done by the clock does not count.
        statements.append("WITH newest AS" in str(query) or "fits" in str(query))

    with statements_told(note):
        yield lambda: sum(statements)


def resident_mib() -> float:
    """What this process has in memory now."""
    return psutil.Process().memory_info().rss / 2**20


def settled(count) -> int:
    """The count once it has not changed for longer than a page takes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        before = count()
        time.sleep(2.0)
        if count() == before:
            return before
    raise AssertionError("it never ends")


class TestLongStreams:
    COUNT = 50_000

    @pytest.mark.long
    def test_constant_memory(self, database_uri):
        """50,000 tasks, of 45 MB as JSON: the process does not grow with them."""
        with LiveServer(database_url=database_uri) as server:
            fill(database_uri, self.COUNT)
            stream(server, "limit=1000")
            before, maximum, lines = resident_mib(), 0.0, 0
            with streaming(server) as connection:
                while chunk := connection.read_chunk():
                    lines += chunk.count(b"\n")
                    maximum = max(maximum, resident_mib())
            assert lines == self.COUNT
            assert maximum - before < 15

    def test_clients_that_do_not_read_or_leave(self, database_uri):
        """A stream reads only as many rows as its client, and stops when the client leaves."""
        with LiveServer(database_url=database_uri) as server:
            fill(database_uri, self.COUNT)
            with pages_counted() as count:
                with streaming(server, is_narrow=True) as connection:
                    connection.read_chunk()
                    waited_at = settled(count)
                    assert 0 < waited_at < self.COUNT / STREAM_PAGE / 2
                assert settled(count) <= waited_at + 1
            server.check_serves()

    def test_clients_that_leave_during_a_search(self, database_uri):
        """Also when there is nothing to be sent to them: the search ends in the middle."""
        with LiveServer(database_url=database_uri) as server:
            fill(database_uri, 4 * self.COUNT)
            with pages_counted() as count:
                with streaming(server, f"host=7.example&url_contains={quote('x' * 100)}"):
                    pass
                assert settled(count) < 40
            server.check_serves()

    def test_an_outage_during_a_stream(self, database_uri, postgres_server):
        """The last line reports the error, so that the stream is not mistaken for complete."""
        name = psycopg.conninfo.conninfo_to_dict(database_uri)["dbname"]
        with LiveServer(database_url=database_uri) as server:
            fill(database_uri, self.COUNT)
            with streaming(server) as connection:
                body = connection.read_chunk()
                with psycopg.connect(postgres_server, autocommit=True) as other:
                    other.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                while chunk := connection.read_chunk():
                    body += chunk
            *tasks, last = [json.loads(line) for line in body.splitlines()]
            assert 0 < len(tasks) < self.COUNT
            assert all("id" in task for task in tasks)
            assert list(last) == ["error"]
            assert last["error"]["status"] == 503
            check_problem(server.ask("GET", "/tasks", None, LINES), 503)

    def test_tasks_that_are_added_meanwhile(self):
        """They are not included, and no task is included twice."""
        lines = b'{"payload": "' + b"x" * 300 + b'", "delay_seconds": 3600}\n'
        headers = {"content-type": "application/x-ndjson", "prefer": "return=minimal"}
        with LiveServer(database_url=MEMORY_URL) as server:
            assert server.ask("POST", "/tasks", lines * 20_000, headers).status == 200
            with streaming(server, "fields=id,payload") as connection:
                body = connection.read_chunk()
                late = server.add(b'"late"')
                while chunk := connection.read_chunk():
                    body += chunk
        ids = [json.loads(line)["id"] for line in body.splitlines()]
        assert len(ids) == 20_000
        assert ids == sorted(set(ids), reverse=True)
        assert late not in ids
