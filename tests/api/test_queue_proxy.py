"""The egress proxy of a queue over HTTP: who sets it, and that nobody sees its password."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.egress_proxy import USERINFO
from tests.receiver import Receiver
from tests.service.test_egress_proxy import proxy_process
from tests.smoke import free_port

KEYS = {role: f"key-with-role-{role}" for role in ("read", "write", "admin")}
SETTING = ",".join(f"{role}:{role}:{key}" for role, key in KEYS.items())
SCOPED_KEY = "key-of-an-admin-of-mail"
URL = "http://worker:%40:hidden-one%2F%40hidden-one@proxy.example:3128"
SHOWN = "http://***@proxy.example:3128"
PATCH = "application/merge-patch+json"


@pytest.fixture
def server(empty_url) -> Iterator[LiveServer]:
    """A server of each kind with a key of each role."""
    with LiveServer(database_url=empty_url, api_keys=SETTING) as server:
        yield server


def ask(server: LiveServer, method: str, path: str, document=None, *, role: str = "admin"):
    headers = {
        "authorization": f"Bearer {KEYS[role]}",
        "content-type": PATCH if method == "PATCH" else "application/json",
    }
    body = None if document is None else json.dumps(document).encode()
    return server.ask(method, path, body, headers)


def proxy_of(answer) -> str | None:
    assert answer.status in (200, 201), answer
    return answer.json["egress_proxy"]


class TestWhoSetsIt:
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_admins_only(self, server, method):
        """Another key is refused, sets or removes nothing, and may change the rest."""
        refused = ask(server, method, "/queues/mail", {"egress_proxy": URL}, role="write")
        check_problem(refused, 403, "egress_proxy needs a key with the role admin")
        assert 'scope="admin"' in refused.header("www-authenticate")
        check_problem(ask(server, "GET", "/queues/mail"), 404)
        assert proxy_of(ask(server, method, "/queues/mail", {"egress_proxy": URL})) == SHOWN
        for other in (None, "", "direct", "http://other.example"):
            refused = ask(server, method, "/queues/mail", {"egress_proxy": other}, role="write")
            check_problem(refused, 403)
        for settings in ({"rate": 5}, {"egress_proxy": SHOWN, "sign": False}):
            changed = ask(server, method, "/queues/mail", settings, role="write")
            assert proxy_of(changed) == SHOWN
        ask(server, "POST", "/queues/mail/pause", role="write")
        assert proxy_of(ask(server, "GET", "/queues/mail", role="read")) == SHOWN

    def test_keys_for_all_queues_only(self):
        """A proxy may be anywhere in the network, also for an admin of some queues."""
        keys = f"{SETTING},mail:admin:queues=mail:{SCOPED_KEY}"
        headers = {"authorization": f"Bearer {SCOPED_KEY}"}
        with LiveServer(database_url=MEMORY_URL, api_keys=keys) as server:
            assert proxy_of(ask(server, "PUT", "/queues/mail", {"egress_proxy": URL})) == SHOWN
            for proxy in ("http://10.0.0.5:2375", "direct", None):
                body = json.dumps({"egress_proxy": proxy}).encode()
                refused = server.ask("PUT", "/queues/mail", body, headers)
                check_problem(refused, 403, "not limited to some queues")
            assert proxy_of(server.ask("PUT", "/queues/mail", b'{"rate": 5}', headers)) == SHOWN

    def test_without_keys(self, empty_url):
        """Local callers are admins where there are no keys."""
        with LiveServer(database_url=empty_url) as server:
            answer = server.ask("PUT", "/queues/mail", json.dumps({"egress_proxy": URL}).encode())
            assert proxy_of(answer) == SHOWN


class TestItsValue:
    def test_it_stays_until_it_is_named(self, server):
        """A PUT that does not know of it changes nothing; null and "" stand for the setting."""
        ask(server, "PUT", "/queues/mail", {"egress_proxy": URL})
        assert proxy_of(ask(server, "PUT", "/queues/mail", {"rate": 5})) == SHOWN
        for nothing in (None, ""):
            for method in ("PUT", "PATCH"):
                ask(server, method, "/queues/mail", {"egress_proxy": URL})
                changed = ask(server, method, "/queues/mail", {"egress_proxy": nothing})
                assert proxy_of(changed) is None
        assert proxy_of(ask(server, "PUT", "/queues/mail", {"egress_proxy": "direct"})) == "direct"

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_a_masked_value_is_kept(self, server, method):
        """A queue is sent back as it was shown; masked credentials go to no other proxy."""
        ask(server, "PUT", "/queues/mail", {"egress_proxy": URL})
        shown = ask(server, "GET", "/queues/mail").json
        assert proxy_of(ask(server, method, "/queues/mail", shown)) == SHOWN
        for other in ("http://***@evil.example:3128", "https://***@proxy.example:3128"):
            answer = ask(server, method, "/queues/mail", {"egress_proxy": other})
            [error] = check_problem(answer, 422, "masked when it was shown")["errors"]
            assert error["pointer"] == "#/egress_proxy"
        answer = ask(server, method, "/queues/post", {"egress_proxy": SHOWN})
        check_problem(answer, 422, "send the real value")

    @pytest.mark.parametrize(
        "url",
        [
            *("proxy.example:3128", "socks5://hidden-one@a", "http://a/path", "http://a?b", "none"),
            *("http://hidden-one:%0A@a", "http://hidden-one@a:0", "http://hidden-one@127.1"),
        ],
    )
    def test_invalid(self, server, url):
        """The error says what is valid, and does not repeat the value."""
        answer = ask(server, "PUT", "/queues/mail", {"egress_proxy": url})
        [error] = check_problem(answer, 422, "not the URL of a proxy")["errors"]
        assert error["pointer"] == "#/egress_proxy"
        assert b"hidden-one" not in answer.body


def test_nobody_sees_the_password(server, events):
    """Not in answers to any key, lists, pages, metrics or the log."""
    ask(server, "PUT", "/queues/mail", {"egress_proxy": URL, "paused": True})
    task = ask(server, "POST", "/tasks", {"payload": "http://a.example/", "queue": "mail"}).json
    paths = (
        "/queues",
        "/queues/mail",
        "/stats",
        f"/tasks/{task['id']}",
        "/tasks",
        "/ui",
        "/metrics",
    )
    for role in KEYS:
        for path in paths:
            answer = ask(server, "GET", path, role=role)
            assert answer.status == 200, (path, answer)
            assert b"hidden-one" not in answer.body
    assert SHOWN.encode() in ask(server, "GET", "/ui").body
    assert "hidden-one" not in str(events)


def test_the_password_is_encrypted(empty_url):
    """In the database, if there are keys; what looks like it is not accepted from clients."""
    with LiveServer(database_url=empty_url) as server:
        server.ask("PUT", "/queues/mail", json.dumps({"egress_proxy": URL}).encode())
        forged = {"egress_proxy": "http://$encrypted:QUJD@proxy.example:3128"}
        answer = server.ask("PUT", "/queues/mail", json.dumps(forged).encode())
        check_problem(answer, 422, "send the real value")
        if server.is_in_memory:
            return
        with psycopg.connect(empty_url) as connection:
            [(stored,)] = connection.execute("SELECT settings::text FROM taskflow_queues")
        assert "$encrypted:" in stored
        assert "hidden-one" not in stored


def test_tasks_go_through_it(empty_url):
    """From the POST to the target, with the password that a masked value keeps."""
    port = free_port()
    with (
        LiveServer(database_url=empty_url) as server,
        Receiver() as receiver,
        proxy_process(port),
    ):
        proxy = f"http://{USERINFO}@localhost:{port}"
        shown = server.ask("PUT", "/queues/mail", json.dumps({"egress_proxy": proxy}).encode())
        for method in ("PUT", "PATCH"):
            changed = server.ask(method, "/queues/mail", shown.body)
            assert proxy_of(changed) == f"http://***@localhost:{port}"
        url = receiver.url.replace("127.0.0.1", "target.example") + "/through"
        answer = server.post(json.dumps({"payload": url, "queue": "mail"}).encode())
        task = server.wait(answer.json["id"])
        assert (task["status"], task["attempt"]) == ("COMPLETED", 1)
        receiver.wait_for("/through")
