"""Heartbeats over HTTP: made, read and changed with a key, and pinged without one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from taskflow.api.ping_urls import PINGS_BURST, ping_id_of, ping_token
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem, in_chunks
from tests.api.live import LiveServer

HOUR = {"every_seconds": 3600}
KEYS = {name: f"key-of-{name}-0123456789" for name in ("admin", "write", "read", "scoped")}
SETTING = ",".join(
    [
        *(f"{name}:{name}:{KEYS[name]}" for name in ("admin", "write", "read")),
        f"scoped:admin:queues=mail:{KEYS['scoped']}",
    ]
)
SHOWN = [
    *("name", "state", "state_since", "description", "every_seconds", "cron", "timezone"),
    *("grace_seconds", "max_run_seconds", "paused", "ping_url", "next_expected_at", "down_at"),
    *("started_at", "last_ping_at", "last_signal", "last_exit_code", "last_duration_seconds"),
    *("ping_count", "created_at", "updated_at"),
]


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"h-{uuid.uuid4()}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    with LiveServer(
        database_url=MEMORY_URL, api_keys=SETTING, public_url="https://tasks.example/base/"
    ) as server:
        yield server


def by(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[role]}"}


def put(server: LiveServer, name: str, body: object = HOUR, headers=None):
    return server.ask("PUT", f"/heartbeats/{name}", json.dumps(body).encode(), headers)


def made(server: LiveServer, name: str, **fields) -> str:
    """The path of the ping URL of a new heartbeat."""
    answer = put(server, name, {**HOUR, **fields})
    assert answer.status == 201, answer
    return urlsplit(answer.json["ping_url"]).path


def shown(server: LiveServer, name: str) -> dict:
    answer = server.ask("GET", f"/heartbeats/{name}")
    assert answer.status == 200
    return answer.json


def history(server: LiveServer, name: str) -> dict:
    return server.ask("GET", f"/heartbeats/{name}/history").json


def faults(answer) -> dict[str, str]:
    problem = check_problem(answer, 422)
    return {error["pointer"]: error["detail"] for error in problem["errors"]}


class TestDefinitions:
    def test_a_heartbeat_is_made_and_replaced(self, server, name):
        """Every field is shown in its order; it can be sent again as it was shown."""
        body = {
            "cron": "30 2 * * *",
            "timezone": "Europe/Berlin",
            "grace_seconds": 600,
            "max_run_seconds": 1800,
            "description": "Nightly backup",
        }
        created = put(server, name, body)
        assert (created.status, created.header("location")) == (201, f"/heartbeats/{name}")
        assert list(created.json) == SHOWN
        assert {**created.json, **body} == created.json
        assert (created.json["state"], created.json["paused"]) == ("new", False)
        again = put(server, name, created.json)
        assert again.status == 200
        assert {**again.json, "updated_at": None} == {**created.json, "updated_at": None}
        replaced = put(server, name, HOUR).json
        assert (replaced["cron"], replaced["every_seconds"]) == (None, 3600)
        assert (replaced["grace_seconds"], replaced["description"]) == (300, "")
        assert replaced["ping_url"] == created.json["ping_url"]

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({}, [""]),
            ({"cron": "* * * * *", "every_seconds": 60}, ["/every_seconds"]),
            ({"cron": "61 * * * *"}, ["/cron"]),
            ({"cron": "0 0 30 2 *"}, ["/cron"]),
            ({"cron": "* * * * *", "timezone": "Mars/Base"}, ["/timezone"]),
            ({"every_seconds": 9}, ["/every_seconds"]),
            ({"every_seconds": 60, "grace_seconds": 0}, ["/grace_seconds"]),
            ({"every_seconds": 60, "max_run_seconds": 1e9}, ["/max_run_seconds"]),
            ({"every_seconds": 60, "description": "a\0b"}, ["/description"]),
            ({"every_seconds": 60, "description": "x" * 501}, ["/description"]),
            ({"every_seconds": 60, "grace": 5}, ["/grace"]),
        ],
    )
    def test_what_is_wrong(self, server, name, body, pointers):
        """Each field that is invalid is named, and nothing is stored."""
        assert list(faults(put(server, name, body))) == [f"#{one}" for one in pointers]
        check_problem(server.ask("GET", f"/heartbeats/{name}"), 404, "heartbeat")

    def test_patches(self, server, name):
        """They change single fields; the result must be valid."""
        made(server, name, description="x")
        patched = server.ask("PATCH", f"/heartbeats/{name}", b'{"paused": true}').json
        assert (patched["state"], patched["description"]) == ("paused", "x")
        assert put(server, name).json["paused"]
        changed = server.ask(
            "PATCH", f"/heartbeats/{name}", b'{"every_seconds":null,"cron":"0 * * * *"}'
        )
        assert (changed.json["cron"], changed.json["every_seconds"]) == ("0 * * * *", None)
        assert "#" in faults(server.ask("PATCH", f"/heartbeats/{name}", b'{"cron":null}'))
        check_problem(server.ask("PATCH", "/heartbeats/none", b"{}"), 404, "heartbeat")

    def test_pages(self, server, name):
        """All heartbeats by name, a page at a time."""
        names = [f"{name}-{number}" for number in range(3)]
        for one in names:
            made(server, one)
        found, path = [], "/heartbeats?limit=2"
        while path:
            answer = server.ask("GET", path)
            found += [one["name"] for one in answer.json]
            link = answer.header("link")
            path = link and link.partition("<")[2].partition(">")[0]
        assert [one for one in found if one.startswith(name)] == names
        assert found == sorted(found)

    def test_a_deleted_heartbeat(self, server, name):
        """It and its URL are gone."""
        path = made(server, name)
        assert server.ask("DELETE", f"/heartbeats/{name}").status == 204
        for answer in (
            server.ask("DELETE", f"/heartbeats/{name}"),
            server.ask("GET", f"/heartbeats/{name}/history"),
            server.ask("POST", f"/heartbeats/{name}/rotate"),
            server.ask("GET", path),
        ):
            assert check_problem(answer, 404)["type"] == "/problems/heartbeat-not-found"


class TestPings:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
    def test_each_method_pings(self, server, name, method):
        """The response has no body, so cron sends no mail."""
        path = made(server, name)
        answer = server.ask(method, path)
        assert (answer.status, answer.body) == (204, b"")
        found = shown(server, name)
        assert (found["state"], found["last_signal"], found["ping_count"]) == ("up", "success", 1)
        assert found["next_expected_at"] < found["down_at"]

    @pytest.mark.parametrize(
        ("signal", "state", "last_signal", "exit_code"),
        [
            ("start", "started", "start", None),
            ("success", "up", "success", None),
            ("fail", "down", "fail", None),
            ("0", "up", "success", 0),
            ("00", "up", "success", 0),
            ("255", "down", "fail", 255),
            ("256", "down", "fail", None),
            ("-1", "down", "fail", None),
            ("3221225786", "down", "fail", None),
            ("KILL", "down", "fail", None),
            ("RTMIN+1", "down", "fail", None),
            ("0?rid=1", "up", "success", 0),
        ],
    )
    def test_what_a_job_reports(self, server, name, signal, state, last_signal, exit_code):
        """Its start, its end, or its exit code, by GET and by POST."""
        path = made(server, name)
        for method in ("GET", "POST"):
            assert server.ask(method, f"{path}/{signal}").status == 204
        found = shown(server, name)
        assert (found["state"], found["last_signal"], found["last_exit_code"]) == (
            state,
            last_signal,
            exit_code,
        )

    def test_the_history(self, server, name):
        """Pings with their notes, durations and addresses, and the changes of the state."""
        path = made(server, name)
        server.ask("GET", f"{path}/start")
        server.ask("POST", f"{path}/3", b"disk full\n", {"content-type": "text/plain"})
        server.ask("POST", path, "größer \0".encode() + b"\xff")
        found = history(server, name)
        last, failed, started = found["pings"]
        assert (started["signal"], started["note"], started["address"]) == (
            "start",
            None,
            "127.0.0.1",
        )
        assert (failed["exit_code"], failed["note"]) == (3, "disk full\n")
        assert failed["duration_seconds"] >= 0
        assert last["note"] == "größer \0\N{REPLACEMENT CHARACTER}"
        assert [(one["state"], one["reason"]) for one in found["transitions"]] == [
            ("up", "pinged"),
            ("down", "failed"),
            ("new", "created"),
        ]

    @pytest.mark.parametrize("is_chunked", [False, True])
    def test_long_bodies(self, server, name, is_chunked):
        """Their start is kept, and the ping counts."""
        path, body = made(server, name), b"x" * 200_000
        if is_chunked:
            head = {"transfer-encoding": "chunked"}
            assert server.ask("POST", path, in_chunks(body, 60_000), head).status == 204
        else:
            assert server.ask("POST", path, body).status == 204
        [ping] = history(server, name)["pings"]
        assert ping["note"] == "x" * 10_000

    @pytest.mark.parametrize("body", [b"{", b"\x1f\x8b", b'{"$encrypted":"AQAA"}'])
    def test_any_body(self, server, name, body):
        """It is not parsed, also if its headers say that it is something."""
        path = made(server, name)
        fields = {"content-type": "application/json", "content-encoding": "gzip"}
        assert server.ask("POST", path, body, fields).status == 204
        [ping] = history(server, name)["pings"]
        assert ping["note"].removeprefix(" ") == body.decode(errors="replace")

    def test_urls_that_do_not_exist(self, server, name):
        """All get the same response, whatever is wrong with them."""
        path = made(server, name)
        token = path.removeprefix("/ping/")
        forged = ping_token(uuid.uuid4(), b"another secret")
        seen = set()
        for wrong in (
            *("x", forged, token[:-1], f"{token}A", token.swapcase(), f"{token}=", "%00", "é"),
            *(f"{token}/stop", f"{token}/1.5", f"{token}/-", f"{token}/{'1' * 11}", "x/start"),
        ):
            for method in ("GET", "POST"):
                problem = check_problem(
                    server.ask(method, f"/ping/{wrong}".replace("é", "%C3%A9")), 404
                )
                seen.add((problem["type"], problem["detail"]))
        assert len(seen) == 1
        assert history(server, name)["pings"] == []

    def test_tokens(self):
        """They are valid with their secret only, in one spelling."""
        ping_id, secret = uuid.uuid4(), b"1" * 32
        token = ping_token(ping_id, secret)
        assert len(token) == 43
        assert ping_id_of(token, secret) == ping_id
        others = [token[:-1] + last for last in "AEIMQUYcgkosw048" if last != token[-1]]
        for wrong in ("", "A" * 43, token + "A", token[1:], "\N{SNOWMAN}" * 43, *others):
            assert ping_id_of(wrong, secret) is None
        assert ping_id_of(token, b"2" * 32) is None

    def test_a_rotated_url(self, server, name):
        """The old one is unknown from then on."""
        before = made(server, name)
        after = server.ask("POST", f"/heartbeats/{name}/rotate").json["ping_url"]
        check_problem(server.ask("GET", before), 404)
        assert server.ask("GET", urlsplit(after).path).status == 204

    def test_the_rate_limit(self, server, name):
        """Each heartbeat has its own; a URL that does not exist has none."""
        path, other = made(server, name), made(server, f"{name}-2")
        answers = [server.ask("GET", path) for _ in range(PINGS_BURST + 5)]
        assert answers[PINGS_BURST - 1].status == 204
        limited = [one for one in answers if one.status == 429]
        assert limited
        assert int(limited[0].header("retry-after")) >= 1
        assert server.ask("GET", other).status == 204
        assert {server.ask("GET", "/ping/x").status for _ in range(PINGS_BURST + 5)} == {404}

    def test_a_paused_heartbeat(self, server, name):
        """Pings are recorded, and it stays paused."""
        path = made(server, name, paused=True)
        assert server.ask("GET", f"{path}/fail").status == 204
        found = shown(server, name)
        assert (found["state"], found["ping_count"]) == ("paused", 1)


@pytest.mark.parametrize("name", ["live", "edit", "new"])
def test_a_heartbeat_can_have_the_name_of_an_action(server, name):
    """No page of the dashboard is in its place."""
    made(server, name)
    answer = server.ask("GET", f"/ui/heartbeats/{name}")
    assert answer.header("content-type").startswith("text/html")
    assert f"Heartbeat {name}" in answer.body.decode()
    assert b'data-live="/ui/live/heartbeats' in server.ask("GET", "/ui/heartbeats").body
    assert server.ask("DELETE", f"/heartbeats/{name}").status == 204


class TestAccess:
    def test_pings_need_no_key(self, guarded, name):
        """The URL has the address of the service; it cannot do anything else."""
        url = put(guarded, name, headers=by("write")).json["ping_url"]
        assert url.startswith("https://tasks.example/base/ping/")
        path = url.removeprefix("https://tasks.example/base")
        for method in ("GET", "HEAD", "POST"):
            assert guarded.ask(method, path).status == 204
        for method in ("PUT", "DELETE", "PATCH"):
            assert guarded.ask(method, path).status == 401
        assert guarded.ask("GET", f"/heartbeats/{name}").status == 401
        assert guarded.ask("GET", "/ping/x", headers=by("read")).status == 404

    def test_roles(self, guarded, name):
        """A key that may only read does not see the URL: it could ping with it."""
        put(guarded, name, headers=by("admin"))
        read = guarded.ask("GET", f"/heartbeats/{name}", headers=by("read")).json
        assert read["ping_url"] is None
        [listed] = [
            one
            for one in guarded.ask("GET", "/heartbeats?limit=1000", headers=by("read")).json
            if one["name"] == name
        ]
        assert listed["ping_url"] is None
        for method, path in (
            *(("PUT", ""), ("PATCH", ""), ("DELETE", "")),
            ("POST", "/rotate"),
        ):
            answer = guarded.ask(method, f"/heartbeats/{name}{path}", b"{}", by("read"))
            assert answer.status == 403

    def test_pages_of_forms(self, guarded, name):
        """A key that may only read gets an error instead of a form that it cannot send."""
        put(guarded, name, headers=by("write"))
        for path in ("/ui/new-heartbeat", f"/ui/heartbeats/{name}/edit"):
            assert b"<form" in guarded.ask("GET", path, headers=by("write")).body
            answer = guarded.ask("GET", path, headers=by("read"))
            assert answer.status == 403
            assert b"needs a key with the role write" in answer.body
            assert b"every_seconds" not in answer.body

    def test_keys_limited_to_queues(self, guarded, name):
        """Heartbeats are of no queue: such keys cannot use them."""
        put(guarded, name, headers=by("admin"))
        for method, path in (
            *(("GET", ""), ("GET", f"/{name}"), ("GET", f"/{name}/history")),
            *(("PUT", f"/{name}"), ("DELETE", f"/{name}"), ("POST", f"/{name}/rotate")),
        ):
            answer = guarded.ask(method, f"/heartbeats{path}", None, by("scoped"))
            assert answer.status == 403
