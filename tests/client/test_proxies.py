"""Proxies: which one the environment names, and what a client does with it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import socket
import threading
from functools import partial
from urllib.parse import urlsplit

import pytest

import taskflow
from taskflow.client.errors import ClientError, InvalidEnvironment
from taskflow.client.proxies import is_loopback, proxy_for
from tests.cli.command import CommandLine
from tests.client.loops import run
from tests.service.processes import wait_until

ELSEWHERE = "http://taskflow.test"
ODD = [
    {"NO_PROXY": "localhost,fd07:b51a:cc66:f0::/64"},
    {"NO_PROXY": "fd07:b51a:cc66:f0::/64", "HTTP_PROXY": "http://127.0.0.1:1"},
    {"NO_PROXY": "[::1,]:80,:,://,*.,/24,999.1.1.1/99"},
    {"ALL_PROXY": "socks5://127.0.0.1:1"},
    {"all_proxy": "socks5h://user:hunter2@127.0.0.1:1"},
    {"ALL_PROXY": "socks4://127.0.0.1:1"},
    {"HTTP_PROXY": "foo"},
    {"HTTP_PROXY": "foo:bar"},
    {"HTTP_PROXY": "http://127.0.0.1:99999"},
    {"http_proxy": "http://[::1"},
    {"HTTPS_PROXY": "://"},
    {"HTTP_PROXY": "http://user:hunter2@"},
    {"HTTP_PROXY": "ftp://127.0.0.1:21"},
    {"HTTP_PROXY": "http://a b/"},
    {"HTTP_PROXY": "http://a..b:1"},
    {"HTTP_PROXY": f"http://{'a' * 64}.test:1"},
    {"HTTP_PROXY": "http://b\u00fccher.test:3128"},
    {"HTTP_PROXY": "", "ALL_PROXY": ""},
]


@pytest.fixture
def environ(monkeypatch):
    """Set the variables, and no others that name proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def set_to(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


class ForwardProxy(http.server.BaseHTTPRequestHandler):
    """Sends every request to one service, whatever host it is for."""

    def _forward(self):
        self.server.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization")))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.target is None:
            self.send_error(407)
            return
        at = urlsplit(self.server.target)
        parts = urlsplit(self.path)
        upstream = http.client.HTTPConnection(at.hostname, at.port, timeout=90)
        with contextlib.closing(upstream):
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            kept = {name: self.headers[name] for name in self.headers if name != "Host"}
            upstream.request(self.command, path, body, {**kept, "Host": at.netloc})
            answer = upstream.getresponse()
            data = answer.read()
        self.send_response(answer.status)
        for name in ("Content-Type", "Content-Encoding"):
            if value := answer.headers[name]:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_CONNECT(self):
        self.server.asked.append((self.command, self.path, None))
        self.send_error(403)

    def log_message(self, *_):
        """Say nothing."""

    do_GET = do_POST = _forward  # noqa: N815 - so it is found


@pytest.fixture
def proxy(memory_server):
    """A real HTTP proxy in front of a service; ``asked`` lists its requests."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ForwardProxy)
    server.asked, server.target = [], memory_server.url
    server.at = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def stats(url, kind, timeout_seconds=60):
    """Call ``GET /stats`` with the blocking client, or with the other one on an event loop."""
    if kind == "blocking":
        with taskflow.BlockingClient(url, timeout_seconds=timeout_seconds) as client:
            return client.stats()

    async def call():
        async with taskflow.Client(url, timeout_seconds=timeout_seconds) as client:
            return await client.stats()

    return run(kind, call)


def error_of(url, kind):
    """Return the error of a call that cannot succeed; the clients retry until the timeout."""
    with pytest.raises(ClientError) as caught:
        stats(url, kind, timeout_seconds=0.5)
    return caught.value


KINDS = pytest.mark.parametrize("kind", ["trio", "asyncio", "blocking"])


class TestRule:
    @pytest.mark.parametrize(
        ("url", "variables", "expected"),
        [
            ("http://a.test", {}, None),
            ("http://a.test", {"http_proxy": "p.test:1"}, "http://p.test:1"),
            ("http://a.test", {"HTTP_PROXY": "p.test:1"}, "http://p.test:1"),
            ("http://a.test", {"HTTP_PROXY": "x:1", "http_proxy": "p.test"}, "http://p.test"),
            ("http://a.test", {"HTTP_PROXY": "x:1", "http_proxy": ""}, None),
            ("http://a.test", {"HTTPS_PROXY": "x:1"}, None),
            ("https://a.test", {"HTTPS_PROXY": "https://p.test"}, "https://p.test"),
            ("https://a.test", {"HTTP_PROXY": "x:1", "ALL_PROXY": "p.test"}, "http://p.test"),
            ("http://a.test", {"HTTP_PROXY": "", "ALL_PROXY": "p.test"}, None),
            ("http://a.test", {"ALL_PROXY": "socks5://p.test:1"}, "socks5://p.test:1"),
            ("http://a.test", {"HTTP_PROXY": "p.test", "REQUEST_METHOD": "GET"}, None),
            ("https://a.test", {"HTTPS_PROXY": "p.test", "http_proxy": "://"}, "http://p.test"),
        ],
    )
    def test_which_variable(self, url, variables, expected):
        """By the scheme, in small letters first; an empty one means none."""
        found = proxy_for(url, variables)
        assert (found and found.url) == expected

    @pytest.mark.parametrize(
        "url",
        [
            "http://localhost:8080",
            "http://LOCALHOST.",
            "http://api.localhost",
            "http://127.0.0.1",
            "http://127.9.9.9:1",
            "http://127.1",
            "http://2130706433",
            "http://[::1]:8080",
            "http://[0:0:0:0:0:0:0:1]",
            "http://[::ffff:127.0.0.1]",
            "http://0.0.0.0:8080",
            "https://localhost",
        ],
    )
    def test_loopback_is_never_proxied(self, url):
        """Not even if the proxy could not be used."""
        assert is_loopback(url)
        for value in ("http://p.test:1", "://", "socks4://x"):
            names = ("http_proxy", "HTTPS_PROXY", "ALL_PROXY")
            assert proxy_for(url, dict.fromkeys(names, value)) is None

    @pytest.mark.parametrize(
        "url",
        ["http://localhost.test", "http://10.0.0.1", "http://[fd00::1]", "http://1270.0.0.1.test"],
    )
    def test_what_is_not_loopback(self, url):
        """Names that look like it."""
        assert not is_loopback(url)
        assert proxy_for(url, {"http_proxy": "p.test"}) is not None

    @pytest.mark.parametrize(
        ("host", "entry", "is_exempt"),
        [
            ("a.test", "*", True),
            ("a.test", "x.test, *", True),
            ("a.test", "a.test", True),
            ("A.test", "a.TEST", True),
            ("b.a.test", "a.test", True),
            ("b.a.test", ".a.test", True),
            ("b.a.test", "*.a.test", True),
            ("a.test.", "a.test", True),
            ("a.test", "a.test.", True),
            ("ba.test", "a.test", False),
            ("a.test", "b.a.test", False),
            ("a.test", "x.test a.test", True),
            ("a.test:8080", "a.test:8080", True),
            ("a.test:8080", "a.test:8081", False),
            ("a.test", "a.test:80", True),
            ("a.test", "http://a.test", True),
            ("a.test", "https://a.test", False),
            ("10.1.2.3", "10.1.2.3", True),
            ("10.1.2.3", "10.0.0.0/8", True),
            ("10.1.2.3", "10.1.2.4/8", True),
            ("11.1.2.3", "10.0.0.0/8", False),
            ("10.1.2.3:99", "10.1.2.3:99", True),
            ("[fd07:b51a:cc66:f0::5]", "localhost,fd07:b51a:cc66:f0::/64", True),
            ("[fd07:b51a:cc66:f1::5]", "localhost,fd07:b51a:cc66:f0::/64", False),
            ("[fd00::1]", "fd00:0::1", True),
            ("[fd00::1]", "[fd00::1]", True),
            ("[fd00::1]:99", "[fd00::1]:99", True),
            ("[fd00::1]:98", "[fd00::1]:99", False),
            ("a.test", "10.0.0.0/8,fd00::/8,[,]:,://,/,.,*.,:80", False),
            ("a.test", "", False),
            ("a.test", " , ,, ", False),
        ],
    )
    @pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
    def test_no_proxy(self, host, entry, is_exempt, name):
        """Names, their subdomains, ports, addresses and networks; nonsense is passed over."""
        found = proxy_for(f"http://{host}", {"HTTP_PROXY": "p.test", name: entry})
        assert (found is None) is is_exempt

    def test_a_password_is_not_shown(self):
        """Errors name the proxy and the variable, and not who logs in there."""
        found = proxy_for("http://a.test", {"HTTP_PROXY": "http://me:hunter2@p.test:1/x"})
        assert str(found) == "the proxy http://p.test:1 (HTTP_PROXY)"


@KINDS
class TestClients:
    def test_a_proxy_is_asked(self, environ, proxy, kind):
        """With its password, which a name in NO_PROXY that is another one does not change."""
        environ(HTTP_PROXY=f"me:hunter2@{proxy.at}", NO_PROXY="other.test,fd00::/8")
        assert stats(ELSEWHERE, kind).total is not None
        [(method, path, password)] = proxy.asked
        assert (method, path) == ("GET", "http://taskflow.test/stats")
        assert password.startswith("Basic ")

    def test_loopback_is_asked_directly(self, environ, proxy, memory_server, kind):
        """Whatever the variables name."""
        environ(http_proxy=proxy.at, HTTPS_PROXY="://", ALL_PROXY="socks4://x")
        assert stats(memory_server.url, kind).total is not None
        port = urlsplit(memory_server.url).port
        assert stats(f"http://localhost:{port}", kind).total is not None
        assert proxy.asked == []

    def test_a_proxy_that_is_not_there(self, environ, kind):
        """It is named, without its password."""
        environ(HTTP_PROXY="http://me:hunter2@127.0.0.1:1")
        error = error_of(ELSEWHERE, kind)
        assert isinstance(error, taskflow.Unreachable)
        assert "through the proxy http://127.0.0.1:1 (HTTP_PROXY)" in str(error)
        assert "hunter2" not in str(error)

    def test_a_proxy_that_refuses(self, environ, proxy, kind):
        """It is named, whether it answers in place of the service or opens no tunnel."""
        proxy.target = None
        environ(ALL_PROXY=proxy.at)
        for url, status in ((ELSEWHERE, "407"), ("https://taskflow.test", "403")):
            error = wait_until(partial(self.refusal, url, kind, status))
            assert f"through the proxy http://{proxy.at} (ALL_PROXY)" in error

    def refusal(self, url, kind, status):
        """Return the error with this status; ``None`` if a busy machine took too long for it."""
        error = str(error_of(url, kind))
        assert status in error or error.endswith("timed out")
        return error if status in error else None

    def test_a_proxy_that_does_not_answer(self, environ, kind):
        """The error says that it timed out, whichever client."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            environ(ALL_PROXY=f"127.0.0.1:{silent.getsockname()[1]}")
            assert str(error_of(ELSEWHERE, kind)).endswith("(ALL_PROXY): timed out")

    def test_socks_without_its_package(self, environ, kind):
        """One line says what to install."""
        environ(ALL_PROXY="socks5://me:hunter2@127.0.0.1:1")
        with pytest.raises(InvalidEnvironment, match=r"SOCKS proxy.*pip install"):
            stats(ELSEWHERE, kind)

    @pytest.mark.parametrize("variables", ODD)
    def test_odd_variables(self, environ, memory_server, variables, kind):
        """Elsewhere they are one error without a password; they do not matter here."""
        environ(**variables)
        assert stats(memory_server.url, kind).total is not None
        error = str(error_of("http://127.0.0.1.nip.invalid", kind))
        assert "hunter2" not in error
        assert "\n" not in error


COMMANDS = [
    ["stats"],
    ["list"],
    ["nodes"],
    ["hosts"],
    ["queues", "list"],
    ["schedules", "list"],
    ["submit", "http://127.0.0.1:1/"],
    ["export"],
    ["doctor"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands_with_odd_variables(tmp_path, memory_server, command):
    """No command fails at a service on this machine; one elsewhere is one line."""
    odd = {
        "NO_PROXY": "localhost,fd07:b51a:cc66:f0::/64",
        "ALL_PROXY": "socks5://me:hunter2@127.0.0.1:1",
        "HTTP_PROXY": "://",
    }
    here = CommandLine(tmp_path, url=memory_server.url).run(*command, **odd, **_quiet(command))
    assert here.code == 0, here.err
    assert here.err == ""
    there = CommandLine(tmp_path, url=ELSEWHERE).run(*command, **odd, **_quiet(command))
    assert there.code == (1 if command == ["doctor"] else 2)
    output = there.out if command == ["doctor"] else there.err
    assert "HTTP_PROXY is not the address of a proxy" in output
    assert "Traceback" not in there.err
    assert "hunter2" not in there.out + there.err


def _quiet(command):
    if command != ["doctor"]:
        return {}
    return {"DATABASE_URL": "memory://", "TASKFLOW_BIND": "127.0.0.1:0"}
