"""The dashboard without a browser: formatting, charts, forms, headers and streams."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import subprocess
import uuid
from html.parser import HTMLParser
from urllib.parse import urlencode

import msgspec
import psycopg
import pytest

from taskflow.api.dashboard import formatting, live_region
from taskflow.api.dashboard.forms import FormError, document_of, errors_by_field, form_of
from taskflow.api.dashboard.pages import POLICY
from taskflow.model.errors import Unprocessable
from taskflow.model.options import Backoff
from taskflow.model.task import Task, TaskStatus
from taskflow.model.zones import zone_database
from taskflow.schema.new_task import new_task_of
from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
COMPLETED, FAILED, CANCELED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED


def task_of(payload: object, **fields) -> Task:
    raw = msgspec.Raw(json.dumps(payload).encode())
    return Task(
        id=uuid.UUID(int=7), payload=raw, status=COMPLETED, created_at=NOW, run_at=NOW, **fields
    )


class TestShowing:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (None, formatting.NOTHING),
            (0.0042, "4 ms"),
            (1.26, "1.3 s"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (90_061, "1 d 1 h"),
        ],
    )
    def test_seconds(self, value, shown):
        assert formatting.seconds(value) == shown

    @pytest.mark.parametrize(
        ("value", "shown"), [(None, formatting.NOTHING), (0, "0%"), (0.004, "0.4%"), (0.5, "50%")]
    )
    def test_percent(self, value, shown):
        assert formatting.percent(value) == shown

    @pytest.mark.parametrize(("value", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB")])
    def test_size(self, value, shown):
        assert formatting.size(value) == shown

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain", "plain"),
            ("h\xe9llo \u4e16\U0001f600", "h\xe9llo \u4e16\U0001f600"),
            ("a\nb\tc\r\n", "a\nb\tc\n"),
            ("\x1b[31m", "\\u{1b}[31m"),
            ("a\u202eb", "a\\u{202e}b"),
            ("a\u2028b\u200d\ufeff", "a\\u{2028}b\\u{200d}\\u{feff}"),
            ("\ud800", "\\u{d800}"),
        ],
    )
    def test_nothing_is_hidden(self, text, shown):
        """Invisible characters, and characters that reverse text, are escaped."""
        assert formatting.visible(text) == shown

    def test_json_is_pretty_with_its_numbers(self):
        assert formatting.pretty(b'{"a":1.50,"b":[1e400]}') == (
            '{\n  "a": 1.50,\n  "b": [\n    1e400\n  ]\n}'
        )

    @pytest.mark.parametrize(
        "document",
        [
            b"[]",
            b' {"a" : [ ], "b\\"" : { }, "c,:[]{}" : [[1, -2.5e10], {"d": "\\\\", "e": null}]} ',
            b'["a \\"b\\" [c]", true, {"\xc3\xa9": [{}, []]}]',
        ],
    )
    def test_json_is_laid_out_as_usual(self, document):
        assert formatting.pretty(document).encode() == msgspec.json.format(document, indent=2)

    def test_json_deep_in_brackets_is_not_laid_out_to_its_end(self):
        """A megabyte of it would be half a gigabyte of indentation."""
        document = b"[" * 450 + b",".join([b"1"] * 500_000) + b"]" * 450
        shown = formatting.pretty(document)
        assert formatting.MAX_SHOWN_CHARACTERS < len(shown) < 2 * formatting.MAX_SHOWN_CHARACTERS

    def test_an_address_is_no_option_of_curl(self):
        """Pasting the command sends the request of the task and does not write files."""
        command = formatting.curl_of_request(task_of("--output=.profile"))
        assert command.endswith(" --url --output=.profile")

    @pytest.mark.parametrize(
        ("payload", "shown"),
        [
            ("http://a/", "http://a/"),
            ({"url": "http://a/"}, "http://a/"),
            ({"url": "http://a/", "body": None}, "http://a/"),
            ({"url": "http://a/", "body": 1}, "POST http://a/"),
            ({"url": "http://a/", "method": "PUT"}, "PUT http://a/"),
            (12345, "12345"),
            ([1], "[1]"),
        ],
    )
    def test_target(self, payload, shown):
        assert formatting.target(task_of(payload)) == shown

    def test_commands_survive_a_shell(self):
        """The shell passes every argument on unchanged."""
        evil = "'; echo $(id) `id` \"\n"
        task = task_of({"url": f"http://a/{evil}", "headers": {"X": "y'"}, "body": evil})
        for command in (
            formatting.curl_of_request(task),
            formatting.curl_of_task(task, "http://b"),
        ):
            script = f"curl() {{ printf '%s\\0' \"$@\"; }}; {command}"
            words = subprocess.run(
                ["bash", "-c", script], capture_output=True, text=True, check=True
            ).stdout.split("\0")
            assert "uid=" not in " ".join(words)
            assert any(evil in word or json.dumps(evil) in word for word in words)


class TestForms:
    @pytest.mark.parametrize(
        ("form", "document"),
        [
            ({"url": " http://a/ "}, {"payload": "http://a/"}),
            ({"url": "http://a/", "method": "GET", "body": ""}, {"payload": "http://a/"}),
            (
                {"url": "http://a/", "method": "PUT", "headers": "X: 1\r\nY:  a:b\n\n"},
                {
                    "payload": {
                        "url": "http://a/",
                        "headers": {"X": "1", "Y": "a:b"},
                        "method": "PUT",
                    }
                },
            ),
            (
                {
                    "url": "http://a/",
                    "body": "text",
                    "timeout_seconds": "2.5",
                    "delay_seconds": "60",
                },
                {
                    "payload": {"url": "http://a/", "body": "text", "timeout_seconds": 2.5},
                    "delay_seconds": 60,
                },
            ),
            (
                {"url": "http://a/", "tags": "a: 1\nb: true\nc: 01\nd: x"},
                {"payload": "http://a/", "tags": {"a": 1, "b": True, "c": "01", "d": "x"}},
            ),
        ],
    )
    def test_documents(self, form, document):
        made = json.loads(document_of(form))
        if isinstance(made["payload"], dict) and made["payload"].get("method") == "GET":
            del made["payload"]["method"]  # said where a body would make it another one
        assert made == document

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1, 10 60", [1, 10, 60]),
            ("0.5", [0.5]),
            ("webhook", "webhook"),
            ('{"initial_seconds": 1}', {"initial_seconds": 1}),
            ("[1, 2]", [1, 2]),
            ("[1,", "[1,"),
            ("404, 5xx", [404, "5xx"]),
            ("5xx", ["5xx"]),
            ("1e999, nan", ["1e999", "nan"]),
        ],
    )
    def test_lists(self, text, value):
        """Numbers and words; a word alone and JSON as they are. The validation reports the rest."""
        assert json.loads(document_of({"url": "http://a/", "backoff": text}))["backoff"] == value

    def test_json_is_kept_to_the_letter(self):
        assert b'"body":{"a": 1.50}' in document_of({"url": "http://a/", "body": '{"a": 1.50}'})

    @pytest.mark.parametrize(
        ("form", "field"),
        [
            ({}, "url"),
            ({"url": "x", "priority": "high"}, "priority"),
            ({"url": "x", "headers": "no colon"}, "headers"),
            ({"url": "x", "tags": "none"}, "tags"),
        ],
    )
    def test_unreadable_fields_are_reported(self, form, field):
        with pytest.raises(FormError) as reported:
            document_of(form)
        assert reported.value.field == field

    def test_errors_are_shown_beside_their_fields(self):
        form = {
            "url": "http://a/",
            "method": "get",
            "headers": "Host: b\nContent-Length: 1",
            "priority": "1000",
        }
        with pytest.raises(Unprocessable) as reported:
            new_task_of(document_of(form), max_attempts=1, can_sign=False)
        errors = errors_by_field(reported.value.errors)
        assert errors.keys() == {"method", "headers", "priority"}
        assert "Host" in errors["headers"]
        assert "Content-Length" in errors["headers"]

    @pytest.mark.parametrize(
        "payload",
        [
            "http://a/",
            {"url": "http://a/", "method": "PUT", "headers": {"X": "1"}, "body": {"a": [1]}},
            {"url": "http://a/", "body": "text"},
            {"url": "http://a/", "method": "DELETE", "timeout_seconds": 2.5},
        ],
    )
    def test_there_and_back(self, payload):
        """A task makes a form that makes the same task."""
        options = {
            "tags": {"a": 1, "b": True, "c": "x"},
            "queue": "mail",
            "priority": 5,
            "retry_on": (404, "5xx"),
            "success_on": ("2xx",),
            "retention_seconds": 90.5,
        }
        for backoff in ((1, 2.5), Backoff(initial_seconds=1, factor=2, max_seconds=60)):
            task = task_of(payload, **options, backoff=backoff)
            document = json.loads(document_of(form_of(task)))
            assert document.pop("max_attempts") == 1
            made = msgspec.to_builtins({"payload": payload, **options, "backoff": backoff})
            assert document == json.loads(json.dumps(made))


PAGES = ["/ui", "/ui/tasks", "/ui/submit", "/ui/many/cancel", "/ui/tasks/x", "/ui/nothing"]


@pytest.mark.parametrize("path", PAGES)
def test_only_own_scripts_run(memory_server, path):
    """The policy in the headers of every page allows no others, and no page has inline scripts."""
    answer = memory_server.ask("GET", path)
    assert answer.header("content-security-policy") == POLICY
    assert "unsafe" not in POLICY
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cache-control") == "no-store"
    text = answer.body.decode()
    assert " style=" not in text
    assert " onclick=" not in text
    assert "<script>" not in text


def test_the_root_redirects_to_the_dashboard(memory_server):
    """Browsers are redirected to the dashboard; programs get a 404."""
    person = memory_server.ask("GET", "/", headers={"accept": "text/html,*/*"})
    assert (person.status, person.header("location")) == (303, "/ui")
    assert memory_server.ask("GET", "/").status == 404


def test_a_confirmation_is_for_the_times_that_were_counted(memory_server):
    """An age moves on, so the button of the confirmation has the time instead."""
    memory_server.post(b'{"payload": "x:", "delay_seconds": 3600, "queue": "aged"}')
    page = memory_server.ask("GET", "/ui/many/cancel?queue=aged&created_after=2h").body.decode()
    [action] = re.findall(r'action="(/ui/many/cancel[^"]+)"', page)
    assert re.search(r"created_after=20\d\d-", action)
    assert memory_server.ask("GET", "/ui/many/cancel?created_after=soon").status == 422


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b""),
        ("", b"all="),
        ("", b"all=0"),
        ("?all=1", b""),
        ("?order=oldest", b""),
        ("?columns=id&limit=5", b""),
        ("?status=,", b""),
        ("?failure=", b"all=1"),
        ("?state=", b"all=1"),
        ("?queue=kept&failure=", b""),
        ("?queue=kept&queue=", b""),
        ("?queue=%20", b"all=1"),
    ],
)
@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_an_action_on_all_tasks_must_say_so(memory_server, verb, query, body):
    """A missing or empty filter is a mistake unless the form has the field of the confirmation."""
    task_id = memory_server.post(b'{"payload": "x:", "delay_seconds": 3600, "queue": "kept"}').json[
        "id"
    ]
    if verb == "delete":
        assert memory_server.ask("POST", f"/tasks/{task_id}/cancel", b"").status == 200
    before = memory_server.show(task_id)
    answer = memory_server.ask("POST", f"/ui/many/{verb}{query}", body)
    assert answer.status == 422
    assert answer.header("content-type").startswith("text/html")
    assert memory_server.show(task_id) == before


def test_the_confirmation_for_all_tasks_says_so():
    """Without a filter, its form has the field that the action needs; with one, it has not."""
    with LiveServer(database_url=MEMORY_URL) as server:
        task_id = server.post(b'{"payload": "x:", "delay_seconds": 3600, "queue": "a"}').json["id"]
        field = b'<input type="hidden" name="all" value="1">'
        assert field not in server.ask("GET", "/ui/many/cancel?queue=a").body
        assert field in server.ask("GET", "/ui/many/cancel").body
        answer = server.ask("POST", "/ui/many/cancel", b"all=1")
        assert b"1 task canceled" in answer.body
        assert server.show(task_id)["status"] == "CANCELED"


def test_bulk_actions_need_a_verb(memory_server):
    assert memory_server.ask("GET", "/ui/many/explode").status == 404


def test_open_pages_do_not_delay_the_shutdown():
    """Streams are closed properly when the shutdown begins."""
    with contextlib.ExitStack() as stack:
        with LiveServer(database_url=MEMORY_URL) as server:
            connections = [stack.enter_context(server.connect()) for _ in range(2)]
            paths = ("/ui/live", "/ui/tasks/live")
            for connection, path in zip(connections, paths, strict=True):
                connection.send(f"GET {path} HTTP/1.1\r\nHost: {connection.host}\r\n\r\n".encode())
                assert connection.read_raw_head()[0] == 200
        for connection in connections:
            while connection.read_chunk():
                pass
            assert connection.is_closed()


@pytest.mark.parametrize("path", ["/ui/live", "/ui/tasks/live"])
def test_head_of_a_stream(memory_server, path):
    """The response is immediate, and the connection can be used again."""
    with memory_server.connect() as connection:
        assert connection.ask("HEAD", path).header("content-type") == "text/event-stream"
        assert connection.ask("GET", "/livez").status == 200


def test_a_stream_follows_a_task_until_it_is_finished(server, target):
    """The stream sends the region as JSON, and an event of its own at the end."""
    task_id = server.add(json.dumps(f"{target.url}/json").encode())
    server.wait(task_id)
    answer = server.ask("GET", f"/ui/tasks/{task_id}/live")
    assert answer.header("content-type") == "text/event-stream"
    events = answer.body.decode().split("\n\n")
    reported = [event for event in events if event.startswith("event: region\ndata: ")]
    assert "COMPLETED" in json.loads(reported[-1].partition("data: ")[2])
    assert events[-2] == "event: end\ndata: {}"


def test_a_form_with_too_many_fields(memory_server):
    body = "&".join(f"a{number}=b" for number in range(100)).encode()
    for path in ("/ui/submit", "/ui/sign-in"):
        answer = memory_server.ask("POST", path, body)
        assert answer.status == 400
        assert b"at most 50 fields" in answer.body


@pytest.mark.parametrize(
    ("field", "text", "status"),
    [
        ("body", "[" * 3000 + "]" * 3000, 422),
        ("body", "[" * 100_000, 422),
        ("body", "NaN", 303),
        ("tags", "order: " + "9" * 5000, 422),
        ("tags", "order: " + "9" * 30, 303),
    ],
)
def test_a_form_with_too_large_values(memory_server, field, text, status):
    """It is rejected or taken as text, and never an internal error."""
    body = urlencode({"url": "http://127.0.0.1:1/", field: text}).encode()
    assert memory_server.ask("POST", "/ui/submit", body).status == status


def test_a_page_stays_small(memory_server):
    """Even if every character of a task must be escaped, which makes it eight times as long."""
    hidden = "\u202e" * 300_000
    for payload in (f"http://127.0.0.1:1/{hidden}", {"url": "http://127.0.0.1:1/", "body": hidden}):
        document = json.dumps(payload, ensure_ascii=False).encode()
        answer = memory_server.ask("GET", f"/ui/tasks/{memory_server.add(document)}")
        assert answer.status == 200
        assert len(answer.body) < 1_000_000
        assert answer.body.count(b"Too long for a command line.") == 2


def test_a_failed_attempt_shows_the_response(memory_server, target):
    """Status, headers and body, escaped."""
    task_id = memory_server.run(json.dumps(target.url + "/404").encode())["id"]
    page = memory_server.ask("GET", f"/ui/tasks/{task_id}").body.decode()
    assert '<details id="response-1">' in page
    assert f"404 Not Found · 13 B · text/plain · from {target.url}/404" in page
    assert "<dt>content-type<dd>text/plain" in page
    assert 'aria-label="Body of the response to attempt 1">no such thing</pre>' in page


def test_a_failed_attempt_shows_no_bytes(memory_server, target):
    """A binary body is not shown."""
    task_id = memory_server.run(json.dumps(target.url + "/500").encode())["id"]
    page = memory_server.ask("GET", f"/ui/tasks/{task_id}").body.decode()
    assert "500 Internal Server Error" in page
    assert "The body is not text." in page


@pytest.mark.parametrize("path", ["/ui/live", "/ui/tasks/live"])
def test_streams_end_so_that_the_session_is_checked(memory_server, monkeypatch, path):
    """The browser reconnects by itself, if its user is still signed in."""
    monkeypatch.setattr(live_region, "MAX_STREAM_SECONDS", 0.5)
    answer = memory_server.ask("GET", path)
    assert answer.status == 200
    assert answer.body.count(b"event: region") >= 1
    assert b"event: end" not in answer.body


def test_truncated_lists_of_queues_say_so():
    """This includes other queues that have settings but no tasks."""
    with LiveServer(database_url=MEMORY_URL) as server:
        for number in range(11):
            assert server.ask("PUT", f"/queues/q{number}", b"{}").status == 201
        assert b"The busiest 10." in server.ask("GET", "/ui").body
        listed = server.ask("GET", "/ui/queues").body
        assert listed.count(b'href="/ui/queues/q') == 11
        assert b"Only the first" not in listed


def test_held_tasks_are_among_the_due_ones():
    """So the count, its list and the time since when the oldest is due agree."""
    with LiveServer(database_url=MEMORY_URL) as server:
        assert server.ask("PUT", "/queues/halted", b'{"paused": true}').status == 201
        for queue, delay in (("halted", 0), ("halted", 0), ("later", 3600)):
            task = {"payload": "x:", "queue": queue, "delay_seconds": delay}
            assert server.post(json.dumps(task).encode()).status == 201
        page = server.ask("GET", "/ui").body.decode()
        assert (
            '<a class="tile" href="/ui/tasks?state=due,held"><b>2 <small>2 held</small></b>' in page
        )
        listed = server.ask("GET", "/ui/tasks?state=due,held&order=oldest").body
        assert listed.count(b'<td class="col-state">') == 2


class Forms(HTMLParser):
    """The forms of a page that change something: their paths, by whether a question hides them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.direct: set[str] = set()
        self.buttons: list[str] = []
        self._open: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "details":
            assert "open" not in attributes
            self._open.append(tag)
        if tag == "form" and attributes.get("method") == "post":
            (self.asked if self._open else self.direct).add(attributes["action"])
        if tag == "button":
            self.buttons.append(attributes.get("class", ""))

    def handle_endtag(self, tag):
        if tag == "details":
            self._open.pop()


def forms_of(server, path: str) -> Forms:
    answer = server.ask("GET", path)
    assert answer.status == 200
    return Forms(answer.body)


def test_cancel_and_delete_need_confirmation(memory_server):
    """Their buttons, styled as dangerous, are in a closed question; retry has no question."""
    task_id = memory_server.post(b'{"payload": "x", "delay_seconds": 3600}').json["id"]
    path = f"/ui/tasks/{task_id}"
    pending = forms_of(memory_server, path)
    assert (pending.asked, pending.direct) == ({f"{path}/cancel"}, set())
    assert pending.buttons == ["danger"]
    assert memory_server.ask("POST", f"{path}/cancel", b"").status == 303
    canceled = forms_of(memory_server, path)
    assert (canceled.asked, canceled.direct) == ({f"{path}/delete"}, {f"{path}/retry"})


def test_topics(memory_server):
    """The list, a topic with its endpoints, and an endpoint with its deliveries and actions."""
    memory_server.ask("PUT", "/topics/orders", b"{}")
    endpoint = {"url": "http://127.0.0.1:9/?token=secret", "max_attempts": 1}
    path = "/topics/orders/endpoints/billing"
    memory_server.ask("PUT", path, json.dumps(endpoint).encode())
    event = json.dumps({"type": "invoice.paid", "data": 1}).encode()
    [task_id] = memory_server.ask("POST", "/topics/orders/events", event).json["tasks"]
    while memory_server.ask("GET", f"/tasks/{task_id}").json["status"] != "FAILED":
        pass
    assert b'<a href="/ui/topics/orders">orders</a>' in memory_server.ask("GET", "/ui/topics").body
    topic = memory_server.ask("GET", "/ui/topics/orders").body
    page = f"/ui{path}"
    assert f'<a href="{page}">billing</a>'.encode() in topic
    assert b"failing</span> since" in topic
    shown = memory_server.ask("GET", page).body
    for text in (b"token=***", f'<a href="/ui/tasks/{task_id}">invoice.paid</a>'.encode()):
        assert text in shown
    assert b"secret" not in shown.replace(b"the secrets of the service", b"")
    assert f'<a href="{page}">'.encode() in memory_server.ask("GET", f"/ui/tasks/{task_id}").body
    assert forms_of(memory_server, page).direct == {f"{page}/test", f"{page}/recover"}
    assert forms_of(memory_server, page).asked == {f"{page}/disable"}
    assert memory_server.ask("GET", f"{page}?status=COMPLETED").body.count(b"/ui/tasks/") == 0
    assert memory_server.ask("POST", f"{page}/test", b"").status == 303
    assert memory_server.ask("POST", f"{page}/recover", b"").status == 303
    assert memory_server.ask("POST", f"{page}/disable", b"").status == 303
    assert b"disabled</span>: by request" in memory_server.ask("GET", page).body
    assert forms_of(memory_server, page).direct == {f"{page}/enable"}
    assert memory_server.ask("POST", f"{page}/test", b"").status == 409
    assert memory_server.ask("POST", f"{page}/enable", b"").status == 303
    assert memory_server.ask("GET", "/ui/topics/none").status == 404
    assert memory_server.ask("GET", "/ui/topics/orders/endpoints/none").status == 404


def test_groups(memory_server):
    """The list and the page of a group have its progress, and what its status allows."""
    group = {"name": "<b>", "on_complete": {"payload": "x:"}, "open": True}
    tasks = [{"payload": "x:"}, {"payload": "x", "delay_seconds": 3600}]
    body = json.dumps({**group, "tasks": tasks}).encode()
    group_id = memory_server.ask("POST", "/groups", body).json["id"]
    path = f"/ui/groups/{group_id}"
    while b"1 of 2 finished" not in (shown := memory_server.ask("GET", path)).body:
        assert shown.status == 200
    assert b"Group &lt;b&gt;" in shown.body
    assert forms_of(memory_server, path).direct == {f"{path}/close", f"{path}/retry"}
    assert forms_of(memory_server, path).asked == {f"{path}/cancel"}
    listed = memory_server.ask("GET", "/ui/groups").body.decode()
    assert f'<a href="{path}">&lt;b&gt;</a>' in listed
    [failed] = re.findall(r'<li><a href="(/ui/tasks/[^"]+)">', shown.body.decode())
    assert f'<a href="{path}">' in memory_server.ask("GET", failed).body.decode()
    assert memory_server.ask("POST", f"{path}/close", b"").status == 303
    assert forms_of(memory_server, path).direct == {f"{path}/retry"}
    assert memory_server.ask("POST", f"{path}/cancel", b"").status == 303
    assert b"CANCELED</span> 2 of 2 finished" in memory_server.ask("GET", path).body
    assert forms_of(memory_server, path).direct == set()
    assert memory_server.ask("GET", f"/ui/tasks?group={group_id}").body.count(b"/ui/tasks/01") >= 2
    assert memory_server.ask("GET", "/ui/groups?limit=x").status == 422


def test_a_task_that_holds_its_order_key(memory_server):
    """It can be skipped and canceled; the task behind it links to it, until it is skipped."""
    body = b'{"payload": "x:", "order_key": "a <b>", "on_failure": "hold", "queue": "ordered"}'
    holder, waiting = (memory_server.post(body).json["id"] for _ in range(2))
    memory_server.wait(holder)
    path = f"/ui/tasks/{holder}"
    assert forms_of(memory_server, path).direct == {f"{path}/retry", f"{path}/skip"}
    assert forms_of(memory_server, path).asked == {f"{path}/cancel", f"{path}/delete"}
    assert b"a &lt;b&gt;</a>, held until" in memory_server.ask("GET", path).body
    behind = memory_server.ask("GET", f"/ui/tasks/{waiting}").body.decode()
    assert (
        f'Waits for<dd><a href="/ui/tasks/{holder}">{holder}</a>: the task ahead failed' in behind
    )
    listed = memory_server.ask("GET", "/ui/tasks?queue=ordered&order_key=a+%3Cb%3E").body.decode()
    assert "WAITING</span> <small>for order" in listed
    assert "holds order" in listed
    assert memory_server.ask("POST", f"{path}/skip", b"").status == 303
    memory_server.wait(waiting)
    assert forms_of(memory_server, path).direct == {f"{path}/retry"}


def test_an_order_key_is_copied(memory_server):
    """The form of a copy has the order key, and what a failure does; and submits them."""
    body = b'{"payload": "x:", "order_key": "copied", "on_failure": "hold"}'
    task_id = memory_server.post(body).json["id"]
    page = memory_server.ask("GET", f"/ui/submit?from={task_id}").body.decode()
    assert re.search('name="order_key"[^>]* value="copied"', page)
    assert '<option value="hold" selected>' in page
    form = b"url=x%3A&order_key=copied&on_failure=hold"
    answer = memory_server.ask("POST", "/ui/submit", form)
    copy = memory_server.show(answer.header("location").rpartition("/")[2])
    assert (copy["order_key"], copy["on_failure"]) == ("copied", "hold")


def test_the_beginning_of_an_id(memory_server):
    """A pasted part of an id leads to its task; what no id can begin with is an error."""
    task_id = memory_server.add(b'"x:"')
    listed = memory_server.ask("GET", f"/ui/tasks?id_prefix=+{task_id[:-2]}+").body.decode()
    assert re.findall(r'href="/ui/tasks/([0-9a-f-]{36})"', listed) == [task_id]
    assert f'value="{task_id[:-2]}"' in listed
    wrong = memory_server.ask("GET", "/ui/tasks?id_prefix=01a2").body.decode()
    assert "id_prefix must be the first 8 or more hexadecimal digits" in wrong


def test_parents_and_children(memory_server):
    """The pages of tasks link to each other; a copy has the same parents."""
    new = (
        b'[{"payload": "x:", "name": "first", "delay_seconds": 3600},'
        b'{"payload": "x:", "name": "second", "after": ["first"], "on_parent_failure": "run"}]'
    )
    parent, child = (task["id"] for task in memory_server.post(new).json)
    page = memory_server.ask("GET", f"/ui/tasks/{child}").body.decode()
    assert f'After<dd><a href="/ui/tasks/{parent}">{parent}</a>' in page
    assert f'Waits for<dd><a href="/ui/tasks/{parent}">{parent}</a>: a parent has not' in page
    page = memory_server.ask("GET", f"/ui/tasks/{parent}").body.decode()
    assert f'Before<dd><a href="/ui/tasks/{child}">second</a>' in page
    listed = memory_server.ask("GET", f"/ui/tasks?parent={parent}").body.decode()
    assert "WAITING</span> <small>for parents" in listed
    copy = memory_server.ask("GET", f"/ui/submit?from={child}").body.decode()
    assert parent in copy
    assert '<option value="run" selected>' in copy
    form = f"url=x%3A&after={parent}&on_parent_failure=run".encode()
    answer = memory_server.ask("POST", "/ui/submit", form)
    made = memory_server.show(answer.header("location").rpartition("/")[2])
    assert (made["after"], made["on_parent_failure"]) == ([parent], "run")


def test_completion(memory_server):
    """The form has it, a copy has the same, and a task that waits for its outcome says so."""
    form = b"url=x%3A&completion=poll&within_seconds=5400&delay_seconds=3600"
    answer = memory_server.ask("POST", "/ui/submit", form)
    task_id = answer.header("location").rpartition("/")[2]
    assert memory_server.show(task_id)["completion"] == {"mode": "poll", "within_seconds": 5400}
    page = memory_server.ask("GET", f"/ui/tasks/{task_id}").body.decode()
    assert "Completion<dd>polled, within 1 h 30 min of a 202" in page
    assert "within_seconds" in page  # of the command that submits it again
    copy = memory_server.ask("GET", f"/ui/submit?from={task_id}").body.decode()
    assert '<option value="poll" selected>' in copy
    assert 'value="5400"' in copy
    for form, words in (
        (b"url=x%3A&completion=poll", "enter a number of seconds"),
        (b"url=x%3A&within_seconds=5", "choose who completes the task"),
        (b"url=x%3A&completion=poll&within_seconds=x", "must be a number"),
        (b"url=x%3A&completion=poll&within_seconds=0", "completion must be an object"),
    ):
        answer = memory_server.ask("POST", "/ui/submit", form)
        assert (answer.status, words in answer.body.decode()) == (422, True)


def test_pausing_a_queue_needs_confirmation(memory_server):
    """Resuming a queue and running a schedule need none."""
    assert memory_server.ask("PUT", "/queues/asks", b'{"rate": 5}').status in (200, 201)
    assert memory_server.ask("PUT", "/queues/rests", b'{"paused": true}').status in (200, 201)
    schedule = b'{"every_seconds": 3600, "task": {"payload": "x"}}'
    assert memory_server.ask("PUT", "/schedules/asks-not", schedule).status == 201
    overview = forms_of(memory_server, "/ui")
    assert "/ui/queues/asks/pause?back=overview" in overview.asked
    resume = "/ui/queues/rests/resume?back=overview"
    assert {resume, "/ui/schedules/asks-not/run"} <= overview.direct
    for page in ("/ui", "/ui/queues", "/ui/queues/asks", "/ui/schedules/asks-not"):
        forms = forms_of(memory_server, page)
        assert not any("/pause" in path or "/delete" in path for path in forms.direct)
    assert "/ui/schedules/asks-not/delete" in forms.asked


def test_the_page_of_a_schedule(memory_server):
    """It shows the next five runs, also of a paused schedule, and is linked from the overview."""
    schedule = b'{"cron": "0 0 29 2 *", "overlap": "skip", "task": {"payload": "x"}}'
    assert memory_server.ask("PUT", "/schedules/leap", schedule).status == 201
    assert 'href="/ui/schedules/leap"' in memory_server.ask("GET", "/ui").body.decode()
    page = memory_server.ask("GET", "/ui/schedules/leap").body.decode()
    assert re.findall(r'<li><time datetime="(\d+)-02-29', page) == [
        *("2028", "2032", "2036", "2040", "2044"),
    ]
    assert "/ui/schedules/leap/run" in forms_of(memory_server, "/ui/schedules/leap").direct
    assert "is paused" not in page
    assert memory_server.ask("PATCH", "/schedules/leap", b'{"paused": true}').status == 200
    page = memory_server.ask("GET", "/ui/schedules/leap").body.decode()
    assert "The schedule is paused." in page
    assert page.partition("<main")[2].count("<li>") == 5
    assert memory_server.ask("GET", "/ui/schedules/none").status == 404


@pytest.mark.parametrize(
    ("verb", "word", "kind"),
    [("cancel", "Cancel", "danger"), ("retry", "Retry", ""), ("delete", "Delete", "danger")],
)
def test_bulk_actions_need_confirmation(server, verb, word, kind):
    """The list has links only, to a page with the number of tasks."""
    queue = f"asked-{verb}"
    task_id = server.post(
        json.dumps({"payload": "x", "delay_seconds": 3600, "queue": queue}).encode()
    ).json["id"]
    listed = server.ask("GET", f"/ui/tasks?queue={queue}")
    # Those of selected tasks are tested in tests/browser; without a selection they do nothing.
    assert Forms(listed.body).direct == {"/ui/selected/retry"}
    assert Forms(listed.body).asked == {"/ui/views"}
    assert f'href="/ui/many/{verb}?queue={queue}">{word}…</a>'.encode() in listed.body
    if verb != "cancel":
        assert server.ask("POST", f"/tasks/{task_id}/cancel", b"").status == 200
    before = server.show(task_id)
    asking = server.ask("GET", f"/ui/many/{verb}?queue={queue}")
    assert f'<button class="{kind}">{word} 1 task</button>'.encode() in asking.body
    assert server.show(task_id) == before


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, formatting.NOTHING),
        ({"max_concurrency": 3}, "3 at once"),
        ({"rate": {"per_second": 5, "burst": 10}}, "5/s (burst 10)"),
        ({"per_host": {"max_concurrency": 2}}, "2 at once per host"),
        (
            {"max_concurrency": 3, "rate": 5, "per_host": {"max_concurrency": 2, "rate": 1}},
            "3 at once, 5/s, 2 at once per host, 1/s per host",
        ),
    ],
)
def test_limits_are_shown_with_their_meaning(memory_server, settings, shown):
    """In the table of queues."""
    body = json.dumps(settings).encode()
    assert memory_server.ask("PUT", "/queues/limited", body).status in (200, 201)
    page = memory_server.ask("GET", "/ui/queues").body.decode()
    row = page.partition('href="/ui/queues/limited"')[2].partition("<tr>")[0]
    assert f'<td data-label="Limits">{shown}\n' in row


def test_time_zones_of_nodes_are_shown_if_they_differ(database_uri):
    """Since schedules may then be due at different times; dead nodes are ignored."""
    with LiveServer(database_url=database_uri) as server, psycopg.connect(database_uri) as database:
        server.wait(server.add(b'"x"'))
        assert b"Time zones" not in server.ask("GET", "/ui").body
        for version, seconds in (("2001a", -60), ("2024a", 3600)):
            database.execute(
                "INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at, tz_version)"
                " VALUES (gen_random_uuid(), %s, 60, now() + make_interval(secs => %s), %s)",
                (version, seconds, version),
            )
            database.commit()
            page = server.ask("GET", "/ui").body.decode()
            assert ("different versions of the time zone database" in page) is (seconds > 0)
        assert '<td data-label="Time zones">2024a' in page
        assert f'<td data-label="Time zones">{zone_database().version}' in page
