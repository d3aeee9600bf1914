"""The pages of queues, schedules, hosts and nodes, without a browser."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from urllib.parse import urlencode

import pytest

from taskflow.api.dashboard.nodes import compared, differing
from taskflow.api.dashboard.settings_form import (
    QUEUE_FIELDS,
    SCHEDULE_FIELDS,
    errors_by_field,
    patch_of_form,
    queue_form_of,
)
from taskflow.model.errors import FieldError
from taskflow.model.monitoring import NodeRecord
from taskflow.model.queue_limits import HostLimits, QueueSettings, Rate
from taskflow.settings import Settings, catalogue, reported_settings
from taskflow.settings.fields import FINGERPRINTED, REPORTED, SECRETS
from tests.api.live import LiveServer
from tests.browser.target import SlowTarget

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)


def send(server: LiveServer, path: str, **form: str):
    return server.ask("POST", path, urlencode(form).encode())


def text_of(server: LiveServer, path: str) -> str:
    answer = server.ask("GET", path)
    assert answer.status == 200, answer
    return answer.body.decode()


def fields_of(page: str) -> dict[str, str]:
    """The fields of the forms of a page, with their values."""
    found = dict(re.findall(r'<input [^>]*name="([^"]+)"[^>]* value="([^"]*)"', page))
    for name, options in re.findall(
        r'<select id="[^"]+" name="([^"]+)".*?>(.*?)</select>', page, re.DOTALL
    ):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


class TestForms:
    def test_unchanged_fields_are_not_sent(self):
        """So a change that another user made meanwhile is kept."""
        shown = queue_form_of(
            QueueSettings(max_concurrency=3, rate=Rate(5, 10), per_host=HostLimits(2)), None
        )
        opened = {**shown, **{f"was-{name}": value for name, value in shown.items()}}
        assert patch_of_form(opened, QUEUE_FIELDS) == {}
        assert patch_of_form({**opened, "burst": "20"}, QUEUE_FIELDS) == {"rate": {"burst": 20}}
        assert patch_of_form({**opened, "max_concurrency": " "}, QUEUE_FIELDS) == {
            "max_concurrency": None
        }

    def test_an_emptied_rate_is_removed(self):
        """With its burst."""
        shown = queue_form_of(QueueSettings(rate=Rate(0.5, 10)), None)
        opened = {**shown, **{f"was-{name}": value for name, value in shown.items()}}
        assert patch_of_form({**opened, "rate": ""}, QUEUE_FIELDS) == {"rate": None}

    @pytest.mark.parametrize(
        ("text", "value"),
        [("5", 5), ("0.5", 0.5), ("many", "many"), ("nan", "nan"), ("1e999", "1e999"), ("-1", -1)],
    )
    def test_numbers(self, text, value):
        """What is none is sent as text, and rejected like any other request."""
        assert patch_of_form({"host_rate": text}, QUEUE_FIELDS) == {
            "per_host": {"rate": {"per_second": value}}
        }

    def test_choices(self):
        assert patch_of_form({"sign": "no", "was-sign": ""}, QUEUE_FIELDS) == {"sign": False}
        assert patch_of_form({"sign": "", "was-sign": "yes"}, QUEUE_FIELDS) == {"sign": None}

    @pytest.mark.parametrize(
        ("pointer", "field"),
        [
            ("#/max_concurrency", "max_concurrency"),
            ("#/rate", "rate"),
            ("#/rate/burst", "burst"),
            ("#/per_host", "host_max_concurrency"),
            ("#/per_host/rate", "host_rate"),
            ("#/per_host/rate/per_second", "host_rate"),
            ("#/credential", "credential"),
        ],
    )
    def test_errors_are_shown_at_their_field(self, pointer, field):
        assert errors_by_field([FieldError(pointer, "wrong")], QUEUE_FIELDS) == {field: "wrong"}

    def test_errors_of_no_field(self):
        assert errors_by_field([FieldError("#/name", "wrong")], SCHEDULE_FIELDS) == {}


class TestQueues:
    def test_edit_limits(self, memory_server):
        """The form has the current settings, sends what changed, and leads back to the page."""
        body = {"max_concurrency": 3, "per_host": {"max_concurrency": 2}, "sign": True}
        assert memory_server.ask("PUT", "/queues/edited", json.dumps(body).encode()).status == 201
        form = fields_of(text_of(memory_server, "/ui/queues/edited"))
        assert (form["max_concurrency"], form["sign"]) == ("3", "yes")
        # Another user changes another field meanwhile.
        assert memory_server.ask("PATCH", "/queues/edited", b'{"sign": false}').status == 200
        answer = send(memory_server, "/ui/queues/edited", **{**form, "rate": "5", "burst": "7"})
        assert (answer.status, answer.header("location")) == (303, "/ui/queues/edited")
        queue = memory_server.ask("GET", "/queues/edited").json
        assert queue["rate"] == {"per_second": 5, "burst": 7}
        assert (queue["max_concurrency"], queue["sign"]) == (3, False)
        form = fields_of(text_of(memory_server, "/ui/queues/edited"))
        send(memory_server, "/ui/queues/edited", **{**form, "rate": "", "host_max_concurrency": ""})
        queue = memory_server.ask("GET", "/queues/edited").json
        assert (queue["rate"], queue["per_host"]) == (None, None)

    def test_errors_are_beside_their_fields(self, memory_server):
        """The form keeps its values, and nothing is changed."""
        assert memory_server.ask("PUT", "/queues/wrong", b'{"rate": 5}').status == 201
        before = memory_server.ask("GET", "/queues/wrong").json
        form = fields_of(text_of(memory_server, "/ui/queues/wrong"))
        wrong = {**form, "max_concurrency": "0", "host_rate": "fast", "credential": "none"}
        answer = send(memory_server, "/ui/queues/wrong", **wrong)
        page = answer.body.decode()
        assert answer.status == 422
        assert 'role="alert"' in page
        for field in ("max_concurrency", "host_rate", "credential"):
            assert re.search(f'name="{field}"[^>]* aria-invalid="true"', page), field
            assert f'class="hint invalid" id="{field}-hint"' in page
        shown = fields_of(page)
        assert (shown["host_rate"], shown["was-host_rate"], shown["rate"]) == ("fast", "", "5")
        assert memory_server.ask("GET", "/queues/wrong").json == before

    def test_a_masked_proxy_is_kept(self, memory_server):
        """The page never has its password."""
        proxy = b'{"egress_proxy": "http://worker:s3cret@proxy.example:3128"}'
        assert memory_server.ask("PUT", "/queues/proxied", proxy).status == 201
        page = text_of(memory_server, "/ui/queues/proxied")
        assert "s3cret" not in page
        form = fields_of(page)
        assert "***" in form["egress_proxy"]
        assert send(memory_server, "/ui/queues/proxied", **{**form, "rate": "1"}).status == 303
        assert (
            memory_server.ask("GET", "/queues/proxied").json["egress_proxy"]
            == (form["egress_proxy"])
        )

    def test_pause_leads_back(self, memory_server):
        """To the page where the button is."""
        for back, page in (
            ("queue", "/ui/queues/back"),
            ("list", "/ui/queues"),
            ("overview", "/ui#queues"),
            ("//evil.example", "/ui/queues/back"),
        ):
            answer = send(memory_server, f"/ui/queues/back/pause?{urlencode({'back': back})}")
            assert (answer.status, answer.header("location")) == (303, page)
        assert memory_server.ask("GET", "/queues/back").json["paused"]
        assert "no task of this queue starts" in text_of(memory_server, "/ui/queues/back")

    def test_what_is_pending_can_be_purged(self, memory_server):
        """The page has the number, and a link to the page that counts and asks."""
        body = {"payload": "x", "delay_seconds": 3600, "queue": "full"}
        for _ in range(3):
            memory_server.post(json.dumps(body).encode())
        page = text_of(memory_server, "/ui/queues/full")
        link = "/ui/many/cancel?queue=full&amp;status=PENDING"
        assert f'href="{link}">Purge 3 pending…' in page
        assert "<strong>3</strong> tasks" in text_of(memory_server, link.replace("&amp;", "&"))

    def test_recent_failures(self, memory_server):
        task_id = memory_server.post(b'{"payload": "no url", "queue": "failing"}').json["id"]
        memory_server.wait(task_id)
        page = text_of(memory_server, "/ui/queues/failing")
        failures = page.partition('id="recent"')[2]
        assert f'href="/ui/tasks/{task_id}"' in failures
        assert "status=FAILED" in failures

    @pytest.mark.parametrize("name", ["none", "%2e%2e", "a%20b"])
    def test_unknown_queues(self, memory_server, name):
        assert memory_server.ask("GET", f"/ui/queues/{name}").status == 404

    @pytest.mark.parametrize("span", ["1h", "24h", "7d", "30d", "90d", "never"])
    def test_spans(self, memory_server, span):
        """An unknown one is an hour; each chart has a table of its values."""
        memory_server.wait(memory_server.post(b'{"payload": "x", "queue": "spans"}').json["id"])
        page = text_of(memory_server, f"/ui/queues/spans?span={span}")
        shown = "1h" if span == "never" else span
        assert f'href="/ui/queues/spans?span={shown}" aria-current="page"' in page
        assert page.count('<figure class="plot"') == 5
        assert page.count('<details class="data"') == 5


class TestSchedules:
    @pytest.fixture
    def schedule(self, memory_server):
        """A schedule of its own, with its name."""
        name = f"s{uuid.uuid4().hex[:12]}"
        body = {"cron": "30 6 * * *", "timezone": "Europe/Berlin", "task": {"payload": "x"}}
        answer = memory_server.ask("PUT", f"/schedules/{name}", json.dumps(body).encode())
        assert answer.status == 201
        return name

    def test_edit(self, memory_server, schedule):
        """From a cron expression to an interval, and the rules."""
        path = f"/ui/schedules/{schedule}"
        form = fields_of(text_of(memory_server, path))
        assert (form["cron"], form["timezone"], form["missed"], form["overlap"]) == (
            *("30 6 * * *", "Europe/Berlin", "once", "allow"),
        )
        changed = {**form, "cron": "", "every_seconds": "300", "overlap": "skip"}
        answer = send(memory_server, path, **changed)
        assert (answer.status, answer.header("location")) == (303, path)
        shown = memory_server.ask("GET", f"/schedules/{schedule}").json
        assert (shown["cron"], shown["every_seconds"], shown["overlap"]) == (None, 300, "skip")
        assert shown["task"] == {"payload": "x"}

    def test_preview(self, memory_server, schedule):
        """The next runs of the form, in the time zone of the form; nothing is changed."""
        path = f"/ui/schedules/{schedule}"
        before = memory_server.ask("GET", f"/schedules/{schedule}").json
        form = fields_of(text_of(memory_server, path))
        changed = {**form, "cron": "0 12 29 2 *", "timezone": "UTC", "preview": "yes"}
        answer = send(memory_server, path, **changed)
        page = answer.body.decode().partition('id="preview"')[2]
        assert answer.status == 200
        assert re.findall(r'<li><time datetime="(\d+-02-29T12):00', page) == [
            f"{year}-02-29T12" for year in (2028, 2032, 2036, 2040, 2044)
        ]
        assert fields_of(answer.body.decode())["cron"] == "0 12 29 2 *"
        assert memory_server.ask("GET", f"/schedules/{schedule}").json == before

    @pytest.mark.parametrize("preview", [{}, {"preview": "yes"}])
    @pytest.mark.parametrize(
        ("field", "value"),
        [("cron", "61 * * * *"), ("timezone", "Mars/Base"), ("every_seconds", "0")],
    )
    def test_errors_are_beside_their_fields(self, memory_server, schedule, field, value, preview):
        """Of a preview, too."""
        path = f"/ui/schedules/{schedule}"
        before = memory_server.ask("GET", f"/schedules/{schedule}").json
        form = fields_of(text_of(memory_server, path))
        answer = send(memory_server, path, **{**form, field: value, **preview})
        assert answer.status == 422
        assert f'class="hint invalid" id="{field}-hint"' in answer.body.decode()
        assert memory_server.ask("GET", f"/schedules/{schedule}").json == before

    def test_pause_and_resume(self, memory_server, schedule):
        path = f"/ui/schedules/{schedule}"
        assert send(memory_server, f"{path}/pause").header("location") == path
        assert memory_server.ask("GET", f"/schedules/{schedule}").json["paused"]
        assert send(memory_server, f"{path}/resume").status == 303
        assert not memory_server.ask("GET", f"/schedules/{schedule}").json["paused"]
        assert send(memory_server, "/ui/schedules/none/pause").status == 404

    def test_delete(self, memory_server, schedule):
        answer = send(memory_server, f"/ui/schedules/{schedule}/delete")
        assert (answer.status, answer.header("location")) == (303, "/ui/schedules")
        assert memory_server.ask("GET", f"/schedules/{schedule}").status == 404

    def test_a_run_that_overlaps(self, memory_server, schedule):
        """The page says why it was rejected."""
        patch = {"overlap": "skip", "task": {"delay_seconds": 3600}}
        target = f"/schedules/{schedule}"
        assert memory_server.ask("PATCH", target, json.dumps(patch).encode()).status == 200
        assert send(memory_server, f"/ui{target}/run").status == 303
        answer = send(memory_server, f"/ui{target}/run")
        assert answer.status == 409
        assert b"is PENDING or RUNNING" in answer.body.partition(b'role="alert"')[2]

    def test_history(self, memory_server, schedule):
        """The outcome of each run, which is a link to its task."""
        answer = send(memory_server, f"/ui/schedules/{schedule}/run")
        task_id = answer.header("location").rpartition("/")[2]
        memory_server.wait(task_id)
        history = text_of(memory_server, f"/ui/schedules/{schedule}").partition('id="history"')[2]
        assert f'href="/ui/tasks/{task_id}"' in history
        assert "run by a client" in history
        assert ">FAILED</span>" in history

    def test_pages(self, memory_server):
        """A link leads to the next page, and back to the first."""
        for number in range(51):
            body = b'{"every_seconds": 3600, "task": {"payload": "x"}}'
            assert memory_server.ask("PUT", f"/schedules/page-{number:02}", body).status == 201
        page = text_of(memory_server, "/ui/schedules?cursor=page-0&limit=50")
        link = re.search(r'href="(/ui/schedules\?cursor=page-49)"', page)
        assert link is not None
        assert "data-live" not in page  # the list is updated on its first page only
        page = text_of(memory_server, link[1])
        assert 'href="/ui/schedules/page-50"' in page
        assert 'href="/ui/schedules">First' in page


class TestHosts:
    def test_the_page_of_a_host(self, memory_server):
        """Its breaker since when, errors by type, and its pending tasks."""
        with SlowTarget() as target:
            body = {"payload": f"{target.url}/down", "queue": "of-host"}
            memory_server.wait(memory_server.post(json.dumps(body).encode()).json["id"])
            memory_server.post(json.dumps({**body, "delay_seconds": 3600}).encode())
            page = text_of(memory_server, f"/ui/hosts/{target.authority}")
            assert f'href="/ui/hosts/{target.authority}"'.replace(":", "%3A") in text_of(
                memory_server, "/ui/hosts"
            ).replace(":", "%3A")
        assert "circuit breaker closed" in page
        assert ">http_status</a>" in page
        waiting = page.partition('id="waiting"')[2].partition("</table>")[0]
        assert "queue=of-host" in waiting
        assert 'data-label="Pending">1<td' in waiting

    @pytest.mark.parametrize("host", ["none.example", "a%20b", "%3Cb%3E", "x" * 3000])
    def test_unknown_hosts(self, memory_server, host):
        """Any name may have been a host; the page says that nothing is known of it."""
        page = text_of(memory_server, f"/ui/hosts/{host}")
        assert "No pending tasks for this host." in page
        assert "<b>" in page
        assert "<b></h1>" not in page


class TestNodes:
    def test_the_page_of_a_node(self, memory_server):
        """Linked from the list, with its settings and without secrets."""
        [node] = memory_server.ask("GET", "/nodes").json
        assert f'href="/ui/nodes/{node["id"]}"' in text_of(memory_server, "/ui/nodes")
        page = text_of(memory_server, f"/ui/nodes/{node['id']}")
        assert "TASKFLOW_FETCH_TIMEOUT_SECONDS" in page
        assert node["settings"]["TASKFLOW_FETCH_TIMEOUT_SECONDS"] == "60"
        for name in ("none", str(uuid.UUID(int=7))):
            assert memory_server.ask("GET", f"/ui/nodes/{name}").status == 404

    def test_settings_that_differ(self):
        """Among nodes that are alive and report them."""

        def node(number: int, settings, *, alive: bool = True) -> NodeRecord:
            return NodeRecord(
                id=uuid.UUID(int=number),
                name=f"n{number}",
                version="1",
                workers=1,
                started_at=NOW,
                renewed_at=NOW,
                expires_at=NOW,
                alive=alive,
                running=0,
                longest_running_seconds=None,
                longest_running=[],
                settings=settings,
            )

        first = node(1, {"A": "1", "B": "x"})
        nodes = [
            first,
            node(2, {"A": "2", "B": "x"}),
            node(3, {"A": "2", "B": "x", "C": "new"}),
            node(4, {"A": "1", "B": "dead"}, alive=False),
            node(5, None),
        ]
        assert differing(nodes) == ["A", "C"]
        a, b = compared(first, nodes)
        assert (a.name, a.value, a.others, a.differs) == ("A", "1", (("2", 2),), True)
        assert (b.name, b.others, b.differs) == ("B", (("x", 2),), False)
        assert differing([first, node(5, None)]) == []
        assert compared(node(5, None), nodes) == []

    def test_no_secret_is_reported(self):
        """Neither a secret, nor a name of a host, a network or a file."""
        assert not SECRETS & {*REPORTED, *FINGERPRINTED}
        assert {*REPORTED, *FINGERPRINTED} <= {one.field for one in catalogue()}
        assert not any(name.endswith(("_file", "_dir")) for name in REPORTED)
        reported = reported_settings(
            Settings(
                database_url="postgresql://user:s3cret@db.example/x",
                api_keys="a:s3cret",
                allow_hosts=("inner.example",),
                deny_hosts=(),
                max_per_host=7,
            )
        )
        assert "s3cret" not in str(reported)
        assert "example" not in str(reported)
        assert reported["TASKFLOW_ALLOW_HOSTS"].startswith("fingerprint ")
        assert (reported["TASKFLOW_DENY_HOSTS"], reported["TASKFLOW_MAX_PER_HOST"]) == ("", "7")

    def test_fingerprints(self):
        """Equal for the same entries in any order."""
        one, same, other = (
            reported_settings(Settings(allow_hosts=hosts))["TASKFLOW_ALLOW_HOSTS"]
            for hosts in (("a.example", "b.example"), ("b.example", "a.example"), ("a.example",))
        )
        assert one == same != other
