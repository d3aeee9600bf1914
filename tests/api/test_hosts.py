"""Names that this service answers to: a page must not come in by pointing its own name here."""

from __future__ import annotations

import pytest

from taskflow.api.access.request_head import Hosts, allowed_hosts, is_loopback_bind, name_of
from taskflow.model.errors import Misdirected
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer

OURS = ["localhost", "LOCALHOST:8080", "a.localhost", "127.0.0.1:8080", "[::1]:8080", "[::1]"]
FOREIGN = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]


@pytest.fixture(scope="module")
def laptop():
    """A server as it is without any settings."""
    with LiveServer(database_url=MEMORY_URL, allowed_hosts=()) as server:
        yield server


@pytest.mark.parametrize("host", [*OURS, "192.0.2.1", "localhost."])
def test_our_own(laptop, host):
    """Our own name and all addresses, with and without a port."""
    assert laptop.ask("GET", "/tasks", None, {"host": host}).status == 200


@pytest.mark.parametrize("host", [*FOREIGN, "x", "a..b", "localhost@evil", "127.1", "0x7f.1"])
@pytest.mark.parametrize(("method", "target"), [("GET", "/tasks"), ("POST", "/x")])
def test_a_stranger(laptop, host, method, target):
    """421, whatever the path; the answer says which setting has the names."""
    answer = laptop.ask(method, target, None, {"host": host})
    check_problem(answer, 421, "TASKFLOW_ALLOWED_HOSTS")


def test_health_checks_may_use_any_host(laptop):
    """Load balancers use any name."""
    assert laptop.ask("GET", "/livez", None, {"host": "x"}).status == 200


def test_a_request_without_host(laptop):
    """A request without Host is from no browser."""
    with laptop.connect() as connection:
        connection.send(b"GET /tasks HTTP/1.0\r\n\r\n")
        assert connection.read().status == 200


def test_names_that_are_set():
    """They are answered to beside our own, and no others."""
    with LiveServer(database_url=MEMORY_URL, allowed_hosts=("tasks.example", "My-Box")) as server:
        for host in ("tasks.example", "TASKS.example:443", "my-box", "localhost"):
            assert server.ask("GET", "/tasks", None, {"host": host}).status == 200
        assert server.ask("GET", "/tasks", None, {"host": "a.tasks.example"}).status == 421


def test_with_keys_any_will_do():
    """A page that points its name here has no key; so a container needs no list of names."""
    key = {"authorization": "Bearer a-key-of-one-client"}
    settings = {"database_url": MEMORY_URL, "api_keys": "me:a-key-of-one-client"}
    with LiveServer(allowed_hosts=(), **settings) as server:
        assert server.ask("GET", "/tasks", None, {"host": "x", **key}).status == 200
    with LiveServer(allowed_hosts=("tasks.example",), **settings) as server:
        assert server.ask("GET", "/tasks", None, {"host": "x", **key}).status == 421


def test_the_name_that_is_listened_on():
    """Without keys, the configured bind address is an accepted Host."""
    hosts = allowed_hosts([], bind="box.example:8080", has_keys=False)
    hosts.check("box.example")
    with pytest.raises(Misdirected):
        hosts.check("other.example")


def test_any_name():
    """A star stands for all."""
    Hosts(["*"]).check("evil.example")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Example.COM:80", "example.com"),
        ("example.com.", "example.com"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("x:", "x"),
        ("", ""),
    ],
)
def test_the_name_in_a_host(host, name):
    """Without the port, the brackets and the dot of the root, in small letters."""
    assert name_of(host) == name


@pytest.mark.parametrize(
    ("bind", "is_near"),
    [
        ("127.0.0.1:8080", True),
        ("127.9.9.9:0", True),
        ("[::1]:8080", True),
        ("localhost:8080", True),
        ("unix:/run/taskflow.sock", True),
        ("0.0.0.0:8080", False),
        ("[::]:8080", False),
        ("192.0.2.1:8080", False),
        ("box.example:8080", False),
    ],
)
def test_where_it_listens(bind, is_near):
    """The loopback in its forms and sockets in the file system are for this machine only."""
    assert is_loopback_bind(bind) is is_near
