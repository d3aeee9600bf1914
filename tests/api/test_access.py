"""Who may do what, over HTTP: roles, refusals, and nothing from afar without keys."""

from __future__ import annotations

import pytest

from taskflow.api.access.api_keys import ApiKeys, Role, read_keys
from taskflow.api.access.request_head import RequestHead
from taskflow.api.access.roles import Access, AccessPolicy, Caller, PathPolicies
from taskflow.model.errors import Forbidden, Unauthorized
from taskflow.service import MEMORY_URL
from taskflow.settings import Settings
from tests.api.client import check_problem
from tests.api.live import LiveServer

KEYS = {role: f"key-that-may-{role}-and-no-more" for role in ("read", "write", "admin")}
BODY = b'{"payload": 1}'
EVERYBODY = Caller(None, Role.ADMIN)
ALL_PATHS = [
    "/tasks",
    "/tasks/x",
    "/",
    "/nothing",
    "/metrics",
    "/openapi.json",
    "//tasks",
    "/livez/",
]


@pytest.fixture(scope="module")
def guarded():
    """A server with a key for each role."""
    api_keys = ",".join(f"{role}r:{role}:{key}" for role, key in KEYS.items())
    with LiveServer(database_url=MEMORY_URL, api_keys=api_keys) as server:
        yield server


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("target", ALL_PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_no_key(guarded, method, target):
    """401 whatever the path, also where nothing is, with how to come in and no error code."""
    answer = guarded.ask(method, target, BODY if method in ("POST", "PUT") else None)
    assert answer.status == 401
    assert answer.header("www-authenticate") == 'Bearer realm="taskflow"'
    if method != "HEAD":
        check_problem(answer, 401, "key", "Authorization: Bearer")


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer " + "x" * 40,
        "Bearer",
        "Bearer ",
        f"Bearer {KEYS['read'][:-1]}",
        f"Bearer {KEYS['read']}x",
        f"Bearer {KEYS['read'].upper()}",
        f"Bearer {KEYS['read']} {KEYS['read']}",
        f"Bearer {KEYS['read']}, Bearer {KEYS['read']}",
        "Bearer \xff\xfe",
        f"Basic {KEYS['read']}",
        KEYS["read"],
        "",
    ],
)
def test_an_invalid_key(guarded, credentials):
    """The response is a 401 with RFC 6750's error code, and does not repeat the key."""
    answer = guarded.ask("GET", "/tasks", headers={"authorization": credentials})
    check_problem(answer, 401, "key")
    assert 'error="invalid_token"' in answer.header("www-authenticate")
    assert KEYS["read"] not in repr(answer)


def test_two_keys_in_a_request(guarded):
    """Which one is meant? Neither."""
    with guarded.connect() as connection:
        field = f"authorization: Bearer {KEYS['read']}\r\n".encode()
        connection.send(b"GET /tasks HTTP/1.1\r\nhost: localhost\r\n" + field * 2 + b"\r\n")
        check_problem(connection.read(), 401)


@pytest.mark.parametrize(
    ("role", "method", "status"),
    [
        ("read", "GET", 200),
        ("read", "HEAD", 200),
        ("read", "POST", 403),
        ("read", "DELETE", 403),
        ("write", "GET", 200),
        ("write", "POST", 201),
        ("write", "DELETE", 405),
        ("admin", "GET", 200),
        ("admin", "POST", 201),
    ],
)
def test_roles(guarded, role, method, status):
    """Each role includes the roles before it; a route rejects all roles below its own."""
    answer = guarded.ask(method, "/tasks", BODY if method == "POST" else None, bearing(KEYS[role]))
    assert answer.status == status


def test_too_small_a_role(guarded):
    """403 says which role it takes, in words and in RFC 6750's."""
    answer = guarded.ask("POST", "/tasks", BODY, bearing(KEYS["read"]))
    check_problem(answer, 403, "role write", "has read")
    challenge = answer.header("www-authenticate")
    assert 'error="insufficient_scope"' in challenge
    assert challenge.endswith('scope="write"')
    check_problem(guarded.ask("POST", "/nothing", BODY, bearing(KEYS["read"])), 403)
    check_problem(guarded.ask("GET", "/nothing", None, bearing(KEYS["read"])), 404)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_how_a_key_is_sent(guarded, scheme):
    """The scheme is not particular about capitals (RFC 9110, section 11.1)."""
    headers = {"authorization": f"{scheme} {KEYS['read']}"}
    assert guarded.ask("GET", "/tasks", None, headers).status == 200


def test_keys_are_accepted_in_headers_only(guarded):
    """Addresses end up in logs and histories."""
    assert guarded.ask("GET", f"/tasks?access_token={KEYS['read']}").status == 401


@pytest.mark.parametrize("target", ["/livez", "/readyz"])
def test_health_checks_need_no_key(guarded, target):
    """Load balancers have no key; these paths reveal only whether the service is healthy."""
    assert guarded.ask("GET", target).body == b"ok\n"
    assert guarded.ask("GET", target, None, bearing("nonsense")).status == 200


def test_a_rejected_body_does_not_end_the_connection(guarded):
    """The body is read completely, so that the connection can be used again."""
    with guarded.connect() as connection:
        assert connection.ask("POST", "/tasks", BODY * 10_000).status == 401
        assert connection.ask("POST", "/tasks", BODY, bearing(KEYS["write"])).status == 201


def test_keys_are_not_logged(guarded, events):
    """Neither valid keys nor invalid ones are logged."""
    for key in (*KEYS.values(), "not-a-key-that-is-known"):
        guarded.ask("POST", "/tasks", b"{", bearing(key))
        assert key not in repr(events)


def test_without_keys_no_key_is_needed(memory_server):
    """On the loopback address; a key that is sent nevertheless is ignored."""
    assert memory_server.ask("GET", "/tasks?limit=1").status == 200
    assert memory_server.ask("GET", "/tasks?limit=1", None, bearing("nonsense")).status == 200


def head(server: str | None) -> RequestHead:
    return RequestHead("GET", "/tasks", "http", server, "192.0.2.1", {})


@pytest.mark.parametrize("server", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None])
def test_near(server):
    """The loopback in all its forms, and sockets in the file system, need no keys."""
    assert (
        Access(ApiKeys(), PathPolicies(), allows_anonymous=False).caller_of(head(server))
        == EVERYBODY
    )


@pytest.mark.parametrize("server", ["192.0.2.1", "0.0.0.0", "::", "fe80::1", "10.0.0.1", "db"])
def test_far(server):
    """Any other address is refused without keys, unless that is wanted."""
    with pytest.raises(Forbidden, match="TASKFLOW_API_KEYS"):
        Access(ApiKeys(), PathPolicies(), allows_anonymous=False).caller_of(head(server))
    assert (
        Access(ApiKeys(), PathPolicies(), allows_anonymous=True).caller_of(head(server))
        == EVERYBODY
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_paths_for_admins(method):
    """Every method of such a path needs the role ``admin``; other paths need what they did."""
    keys = read_keys(Settings(api_keys=",".join(f"{r}r:{r}:{key}" for r, key in KEYS.items())))
    policies = PathPolicies([("/secret/{name}", AccessPolicy.ADMIN_KEY)])
    access = Access(keys, policies, allows_anonymous=False)

    def caller_of(role: str, path: str) -> Caller:
        headers = bearing(KEYS[role])
        return access.caller_of(RequestHead(method, path, "http", None, None, headers))

    for role in ("read", "write"):
        with pytest.raises(Forbidden, match="needs a key with the role admin") as caught:
            caller_of(role, "/secret/a")
        assert caught.value.scope == "admin"
    assert caller_of("admin", "/secret/a").role is Role.ADMIN
    assert caller_of("write", "/secrets").role is Role.WRITE


@pytest.mark.parametrize("has_keys", [False, True])
def test_paths_with_a_token(has_keys):
    """Everybody may ``POST`` there, also from another machine, and is anonymous; no key is read."""
    keys = read_keys(Settings(api_keys=f"one:admin:{KEYS['admin']}")) if has_keys else ApiKeys()
    policies = PathPolicies([("/secret/{token}", AccessPolicy.URL_TOKEN)])
    access = Access(keys, policies, allows_anonymous=False)
    for headers in ({}, bearing("nonsense"), bearing(KEYS["admin"])):
        for path in ("/secret/a", "/secret/a/b"):
            head = RequestHead("POST", path, "http", "192.0.2.1", "192.0.2.2", headers)
            assert access.caller_of(head) == Caller(None, None)
    for method, path in (("GET", "/secret/a"), ("PUT", "/secret/a"), ("POST", "/secrets")):
        head = RequestHead(method, path, "http", "192.0.2.1", "192.0.2.2", {})
        with pytest.raises(Unauthorized if has_keys else Forbidden):
            access.caller_of(head)
