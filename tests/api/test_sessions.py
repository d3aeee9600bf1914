"""Sessions in browsers: what a cookie opens, for how long, and for whom it does not."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from taskflow.api.access.api_keys import ApiKeys, Key, Role, digest_of
from taskflow.api.access.sessions import COOKIE, MAX_SESSION_SECONDS, Sessions
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer

KEYS = {role: f"key-that-may-{role}-and-no-more" for role in ("read", "write")}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def guarded():
    keys = ",".join(f"{role}er:{role}:{key}" for role, key in KEYS.items())
    with LiveServer(database_url=MEMORY_URL, api_keys=keys) as server:
        yield server


def own(server, **fields):
    """The head of a request of a page of ours."""
    return {"origin": server.url, "sec-fetch-site": "same-origin", **fields}


def sign_in(server, role: str = "write", wanted: str = "", **fields):
    body = f"key={KEYS[role]}&next={quote(wanted)}".encode()
    return server.ask("POST", "/ui/sign-in", body, {**own(server), **FORM, **fields})


def cookie_of(answer) -> dict[str, str]:
    value, *_ = answer.header("set-cookie").split(";")
    return {"cookie": value}


def ring(name: str = "ada", key: str = KEYS["write"]) -> ApiKeys:
    return ApiKeys([Key(name, Role.WRITE, digest_of(key))])


class TestSessions:
    def test_a_session_is_known_on_all_nodes(self):
        """A session is valid on all nodes that share the secret, and on no others."""
        value = Sessions(ring(), b"secret").begin(KEYS["write"])
        assert Sessions(ring(), b"secret").key_of(f"{COOKIE}={value}").name == "ada"
        assert Sessions(ring(), b"another").key_of(f"{COOKIE}={value}") is None

    @pytest.mark.parametrize("keys", [ApiKeys(), ring("eve"), ring(key=KEYS["read"])])
    def test_a_session_ends_with_its_key(self, keys):
        """Also if another one has its name since."""
        value = Sessions(ring(), b"secret").begin(KEYS["write"])
        assert Sessions(keys, b"secret").key_of(f"{COOKIE}={value}") is None

    def test_a_session_expires(self, monkeypatch):
        sessions = Sessions(ring(), b"secret")
        cookie = f"{COOKIE}={sessions.begin(KEYS['write'])}"
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + MAX_SESSION_SECONDS - 1)
        assert sessions.key_of(cookie) is not None
        monkeypatch.setattr(time, "time", lambda: now + MAX_SESSION_SECONDS + 2)
        assert sessions.key_of(cookie) is None

    @pytest.mark.parametrize("text", ["", "x", "a.b.c", "WyJhIl0.aaaa.bbbb", "\xff", "=", ";;"])
    def test_invalid_cookies(self, text):
        assert Sessions(ring(), b"secret").key_of(f"{COOKIE}={text}") is None
        assert Sessions(ring(), b"secret").key_of(text) is None

    def test_an_unknown_key_starts_no_session(self):
        assert Sessions(ring(), b"secret").begin("no-such-key") is None


class TestSigningIn:
    def test_pages_redirect_to_the_sign_in(self, guarded):
        """Browsers are redirected to the sign-in with the requested page; programs get a 401."""
        answer = guarded.ask("GET", "/ui/tasks?queue=a%20b")
        assert (answer.status, answer.body) == (303, b"")
        assert answer.header("location") == "/ui/sign-in?next=%2Fui%2Ftasks%3Fqueue%3Da%2520b"
        stream = guarded.ask("GET", "/ui/live", headers={"accept": "text/event-stream"})
        check_problem(stream, 401, "an API key is required")

    def test_assets_need_no_session(self, guarded):
        """And of nothing else."""
        page = guarded.ask("GET", "/ui/sign-in")
        assert page.status == 200
        [address] = [
            part.partition('"')[0]
            for part in page.body.decode().split('href="')
            if "taskflow.css" in part.partition('"')[0]
        ]
        style = guarded.ask("GET", address)
        assert (style.status, style.header("content-type")) == (200, "text/css; charset=utf-8")
        assert "immutable" in style.header("cache-control")
        assert guarded.ask("GET", "/ui/assets/../keys").status in (303, 404)
        assert guarded.ask("GET", "/ui/assets/nothing").status == 404

    def test_the_cookie(self, guarded):
        """Scripts do not see it, other sites do not send it, and only pages get it."""
        answer = sign_in(guarded, wanted="/ui/tasks?status=FAILED")
        assert (answer.status, answer.header("location")) == (303, "/ui/tasks?status=FAILED")
        reported = answer.header("set-cookie")
        for part in ("HttpOnly", "SameSite=Lax", "Path=/ui", f"Max-Age={MAX_SESSION_SECONDS}"):
            assert part in reported
        assert "Secure" not in reported

    def test_it_is_for_tls_only_where_there_is_tls(self, guarded):
        """Also if a proxy takes it off."""
        host = guarded.url.partition("://")[2]
        assert "Secure" in sign_in(guarded, origin=f"https://{host}").header("set-cookie")

    def test_a_wrong_key(self, guarded):
        answer = guarded.ask("POST", "/ui/sign-in", b"key=wrong", {**own(guarded), **FORM})
        assert (answer.status, answer.header("set-cookie")) == (403, None)
        assert b"Unknown API key" in answer.body

    @pytest.mark.parametrize(
        "wanted",
        [
            *("https://evil.example/", "//evil.example", "/\\evil", "/uix", "/tasks", "", "ui"),
            *("/ui?a\r\nSet-Cookie: b=c", "/ui/\xe9"),
        ],
    )
    def test_it_leads_to_our_own_pages_only(self, guarded, wanted):
        assert sign_in(guarded, wanted=wanted).header("location") == "/ui"

    @pytest.mark.parametrize("fields", [{"origin": "http://evil.example"}, {"origin": "null"}])
    def test_other_sites_cannot_sign_users_in(self, guarded, fields):
        assert sign_in(guarded, **fields).status == 403


class TestSession:
    def test_it_opens_pages_and_nothing_else(self, guarded):
        """The API wants its key."""
        cookie = cookie_of(sign_in(guarded))
        assert guarded.ask("GET", "/ui", headers=cookie).status == 200
        assert guarded.ask("GET", "/tasks", headers=cookie).status == 401
        assert guarded.ask("GET", "/uix", headers=cookie).status == 401

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:1"},
        ],
    )
    def test_only_our_own_pages_can_use_it(self, guarded, fields):
        """Whatever a page of a stranger has a browser send."""
        cookie = cookie_of(sign_in(guarded))
        answer = guarded.ask("POST", "/ui/submit", b"url=no+url", {**cookie, **FORM, **fields})
        assert answer.status == 403

    def test_our_own_can(self, guarded):
        fields = {**cookie_of(sign_in(guarded)), **own(guarded), **FORM}
        answer = guarded.ask("POST", "/ui/submit", b"url=no+url", fields)
        assert answer.status == 303
        assert answer.header("location").startswith("/ui/tasks/")

    def test_roles_are_honoured(self, guarded):
        fields = {**cookie_of(sign_in(guarded, "read")), **own(guarded), **FORM}
        assert guarded.ask("GET", "/ui", headers=fields).status == 200
        answer = guarded.ask("POST", "/ui/submit", b"url=no+url", fields)
        check_problem(answer, 403, "needs a key with the role write")
        page = guarded.ask("GET", "/ui/submit", headers=fields)
        assert page.status == 403
        assert b"needs a key with the role write" in page.body
        assert b'action="/ui/submit"' not in page.body

    @pytest.mark.parametrize("path", ["/ui/submit", "/ui/many/cancel?queue=x", "/ui/tasks/x/retry"])
    def test_a_browser_gets_a_page_if_its_form_is_rejected(self, guarded, path):
        """Programs get a problem."""
        html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        fields = {**cookie_of(sign_in(guarded, "read")), **own(guarded), **FORM}
        page = guarded.ask("POST", path, b"url=no+url", fields | html)
        assert page.status == 403
        assert page.header("content-type").startswith("text/html")
        assert b"needs a key with the role write" in page.body
        check_problem(guarded.ask("POST", path, b"", fields), 403, "role write")
        foreign = fields | html | {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        assert guarded.ask("POST", path, b"url=no+url", foreign).status == 403

    def test_configured_origins_cannot_use_it(self):
        """They may ask the API, by a key."""
        friend = "http://friend.example"
        keys = f"ada:write:{KEYS['write']}"
        with LiveServer(database_url=MEMORY_URL, api_keys=keys, cors_origins=(friend,)) as server:
            cookie = cookie_of(sign_in(server))
            fields = {**cookie, **FORM, "origin": friend}
            assert server.ask("POST", "/ui/submit", b"url=no+url", fields).status == 403

    def test_sign_out(self, guarded):
        fields = {**cookie_of(sign_in(guarded)), **own(guarded)}
        answer = guarded.ask("POST", "/ui/sign-out", b"", fields)
        assert (answer.status, answer.header("location")) == (303, "/ui/sign-in")
        assert "Max-Age=0" in answer.header("set-cookie")

    @pytest.mark.parametrize("role", ["read", "write"])
    def test_signing_out_ends_a_copied_cookie(self, guarded, role):
        """With any role; the session of another browser goes on, and a stranger ends none."""
        mine, other = (cookie_of(sign_in(guarded, role)) for _ in range(2))
        assert guarded.ask("POST", "/ui/sign-out", b"", mine).status == 403
        assert guarded.ask("GET", "/ui", headers=mine).status == 200
        answer = guarded.ask("POST", "/ui/sign-out", b"", {**mine, **own(guarded)})
        assert (answer.status, answer.header("location")) == (303, "/ui/sign-in")
        answer = guarded.ask("GET", "/ui", headers=mine)
        assert (answer.status, answer.header("location")) == (303, "/ui/sign-in?next=%2Fui")
        stream = guarded.ask("GET", "/ui/live", headers={**mine, "accept": "text/event-stream"})
        check_problem(stream, 401, "session was ended")
        assert guarded.ask("POST", "/ui/sign-out", b"", {**mine, **own(guarded)}).status == 303
        assert guarded.ask("GET", "/ui", headers=other).status == 200

    def test_signing_out_ends_it_on_all_nodes(self, database_uri):
        """At once, and on nodes that start later."""
        fields = {"database_url": database_uri, "api_keys": f"ada:read:{KEYS['read']}"}
        with LiveServer(**fields) as one, LiveServer(**fields) as two:
            cookie = cookie_of(sign_in(one, "read"))
            assert two.ask("GET", "/ui", headers=cookie).status == 200
            assert one.ask("POST", "/ui/sign-out", b"", {**cookie, **own(one)}).status == 303
            assert two.ask("GET", "/ui", headers=cookie).status == 303
        with LiveServer(**fields) as three:
            assert three.ask("GET", "/ui", headers=cookie).status == 303

    def test_signing_out_ends_open_streams(self, guarded):
        """A page that is kept up to date shows nothing new after that."""
        cookie = cookie_of(sign_in(guarded))
        with guarded.connect() as connection:
            head = f"GET /ui/live HTTP/1.1\r\nHost: {connection.host}\r\nCookie: "
            connection.send(f"{head}{cookie['cookie']}\r\n\r\n".encode())
            assert connection.read_raw_head()[0] == 200
            guarded.ask("POST", "/ui/sign-out", b"", {**cookie, **own(guarded)})
            while connection.read_chunk():
                pass


def test_without_keys_no_sign_in(memory_server):
    """Without keys, no sign-in is needed."""
    assert memory_server.ask("GET", "/ui/sign-in").header("location") == "/ui"
    assert memory_server.ask("GET", "/ui").status == 200


@pytest.mark.parametrize("path", ["/ui/sign-in", "/docs"])
@pytest.mark.parametrize("begin", [b"key=", b"["])
def test_bodies_without_a_key_are_limited(guarded, path, begin):
    """An array of tasks may be long, and a form takes a hundred times its length to be read."""
    answer = guarded.ask("POST", path, begin + b"%41" * 20_000, FORM)
    assert answer.status == (413 if path == "/ui/sign-in" else 405)


def test_a_form_is_no_array(guarded):
    """However it begins: arrays may be longer than anything else."""
    cookie = cookie_of(sign_in(guarded))
    answer = guarded.ask(
        "POST", "/ui/submit", b"[" + b"a" * 2 * 2**20, {**own(guarded), **FORM, **cookie}
    )
    assert answer.status == 413


def test_a_long_way_back_is_no_hindrance(guarded):
    """The form has room for the longest address that is taken."""
    wanted = "/ui/tasks?url_contains=" + "%C3%A9" * 1000
    assert sign_in(guarded, wanted=wanted).header("location") == wanted
