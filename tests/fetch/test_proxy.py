"""Fetches through an egress proxy: which go there, how, and whose failure is whose."""

from __future__ import annotations

import functools
import ssl

import pytest
import trio
import trustme

from taskflow.fetch.dialing import new_ssl_context
from taskflow.fetch.egress import MAX_PROXY_DELAY_SECONDS, NoProxy, egress_of
from taskflow.fetch.egress_health import EgressRoutes
from taskflow.fetch.errors import ProxyFailed
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.tunnel import HOLD_SECONDS, is_accepting
from taskflow.metrics import Metrics
from taskflow.metrics.exposition import expose
from taskflow.model.backoff import is_retryable
from taskflow.model.errors import KeyMissing, SettingsError, Undecryptable
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType, Postponed
from taskflow.model.proxy import DIRECT, masked_proxy, opened_proxy, parse_proxy, sealed_proxy
from taskflow.model.url import parse_target
from taskflow.settings import Settings
from tests.egress_proxy import AUTHORIZATION, USERINFO, EgressProxy
from tests.fetch.scripted import Then, answer, fetch_with, is_failure, pem_of, response_of
from tests.fetch.test_fetch_connections import closed_port
from tests.logs import capture_logs
from tests.loopback import OPEN
from tests.metrics.scrape import Scrape

OK = answer(b"1")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def serve_tls(serve, authority):
    """Start a scripted target with TLS, called ``target.example``."""
    return functools.partial(serve, ssl_context=server_context(authority, "target.example"))


@pytest.fixture
def start_proxy(nursery):
    async def start(**options):
        return await nursery.start(EgressProxy(**options).run)

    return start


@pytest.fixture
def through(resolver, authority):
    """Open a fetcher that uses a proxy."""

    def opened(url, metrics=None, **settings):
        return open_fetcher(
            Settings(**{**OPEN, "egress_proxy": url, **settings}),
            resolver=resolver,
            ssl_context=new_ssl_context(pem_of(authority)),
            metrics=metrics,
        )

    return opened


def is_postponed(outcome, *words, may_have_been_sent=False):
    assert isinstance(outcome, Postponed), outcome
    assert outcome.error_type is ErrorType.PROXY
    assert outcome.may_have_been_sent is may_have_been_sent, outcome
    assert 0 < outcome.delay_seconds <= MAX_PROXY_DELAY_SECONDS
    for word in words:
        assert word in outcome.error, outcome
    return True


class TestRequests:
    """What reaches the proxy and the target."""

    async def test_https(self, serve_tls, start_proxy, through, resolver):
        """An https target is reached by a tunnel, which is reused; only the proxy resolves it."""
        target, proxy = await serve_tls([OK, OK]), await start_proxy()
        async with through(proxy.url) as fetcher:
            url = f"https://target.example:{target.port}/a?b=c"
            for _ in range(2):
                assert response_of(await fetch_with(fetcher, url)).url == url
        place = f"target.example:{target.port}"
        assert proxy.heads == [f"CONNECT {place} HTTP/1.1\r\nHost: {place}"]
        assert target.heads[0].startswith("GET /a?b=c HTTP/1.1\r\nHost: " + place)
        assert resolver.asked == ["localhost"]

    async def test_http(self, serve, start_proxy, through, resolver):
        """An http target is asked for by its URL, over a connection that is reused."""
        target, proxy = await serve([OK], [OK]), await start_proxy()
        async with through(proxy.url) as fetcher:
            url = f"http://target.example:{target.port}/a?b=c"
            for _ in range(2):
                assert response_of(await fetch_with(fetcher, url)).url == url
        assert proxy.requests == [f"GET {url} HTTP/1.1"] * 2
        assert f"Host: target.example:{target.port}\r\n" in proxy.heads[0]
        assert proxy.connections == 1
        assert resolver.asked == ["localhost"]

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_secure_proxy(self, serve, serve_tls, start_proxy, through, authority, scheme):
        """A proxy may use TLS, within which a target has TLS of its own; both are reused."""
        target = await (serve_tls([OK, OK]) if scheme == "https" else serve([OK], [OK]))
        proxy = await start_proxy(ssl_context=server_context(authority, "localhost"))
        async with through(proxy.url) as fetcher:
            for _ in range(2):
                url = f"{scheme}://target.example:{target.port}/"
                response_of(await fetch_with(fetcher, url))
        assert proxy.connections == 1

    async def test_untrusted_proxy(self, start_proxy, through):
        """A proxy whose certificate is not trusted receives no request."""
        proxy = await start_proxy(ssl_context=server_context(trustme.CA(), "localhost"))
        async with through(proxy.url) as fetcher:
            outcome = await fetch_with(fetcher, "http://target.example/")
        assert is_postponed(outcome, "not trusted")
        assert proxy.heads == []

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_credentials(self, serve, serve_tls, start_proxy, through, scheme):
        """The proxy receives its credentials, and no target does."""
        target = await (serve_tls([OK]) if scheme == "https" else serve([OK]))
        proxy = await start_proxy(has_password=True)
        async with through(proxy.url.replace("//", f"//{USERINFO}@")) as fetcher:
            headers = (("Proxy-Authorization", "Basic of-the-task"),)
            url = f"{scheme}://target.example:{target.port}/"
            response_of(await fetch_with(fetcher, url, headers=headers if scheme == "http" else ()))
        assert proxy.heads[0].count("Proxy-Authorization: ") == 1
        assert AUTHORIZATION in proxy.heads[0]
        assert "proxy-authorization" not in target.heads[0].lower()

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_wrong_credentials(self, start_proxy, through, scheme):
        """A 407 is the proxy's failure, and shows no password."""
        proxy = await start_proxy(has_password=True)
        async with through(proxy.url.replace("//", "//worker:wrong-one@")) as fetcher:
            outcome = await fetch_with(fetcher, f"{scheme}://target.example/")
        assert is_postponed(outcome, "credentials", "407")
        assert "wrong-one" not in outcome.error

    async def test_end_to_end(self, serve, start_proxy, through, authority):
        """The target's certificate is verified through the proxy."""
        context = server_context(authority, "other.example")
        target, proxy = await serve([OK], ssl_context=context), await start_proxy()
        async with through(proxy.url) as fetcher:
            outcome = await fetch_with(fetcher, f"https://target.example:{target.port}/")
        assert is_failure(outcome, ErrorType.TLS, "not trusted", "target.example")
        assert target.requests == []

    async def test_redirects(self, serve, start_proxy, through, resolver):
        """Each redirect goes through the proxy or not by its own target."""
        resolver.table["direct.example"] = ["127.0.0.1"]
        proxy = await start_proxy()
        last = await serve([OK])
        middle = await serve(
            [answer(b"", f"Location: http://b.example:{last.port}/", status="302 Found")]
        )
        first = await serve(
            [answer(b"", f"Location: http://direct.example:{middle.port}/", status="302 Found")]
        )
        async with through(proxy.url, egress_no_proxy=("direct.example",)) as fetcher:
            response_of(await fetch_with(fetcher, f"http://a.example:{first.port}/"))
        assert proxy.requests == [
            f"GET http://a.example:{first.port}/ HTTP/1.1",
            f"GET http://b.example:{last.port}/ HTTP/1.1",
        ]
        assert len(middle.requests) == 1

    async def test_loopback_is_direct(self, serve, start_proxy, through):
        """Loopback targets never reach the proxy: they would lead to its own machine."""
        target, proxy = await serve([OK]), await start_proxy()
        async with through(proxy.url) as fetcher:
            for host in ("localhost", "127.0.0.1"):
                response_of(await fetch_with(fetcher, f"http://{host}:{target.port}/"))
        assert proxy.connections == 0


class TestProxiesOfQueues:
    """A queue can have a proxy of its own, or none."""

    async def test_instead_of_the_setting(self, serve, start_proxy, through, resolver):
        """Its proxy replaces the one of the setting, and may be the only one."""
        resolver.table["target.example"] = ["127.0.0.1"]
        target = await serve(*[[OK]] * 4)
        url = f"http://target.example:{target.port}/"
        general, own = await start_proxy(), await start_proxy(has_password=True)
        own_url = own.url.replace("//", f"//{USERINFO}@")
        async with through(general.url) as fetcher:
            for proxy in (None, own_url, DIRECT):
                response_of(await fetch_with(fetcher, url, egress_proxy=proxy))
        assert (len(general.requests), len(own.requests)) == (1, 1)
        assert AUTHORIZATION in own.heads[0]
        async with through("") as fetcher:
            response_of(await fetch_with(fetcher, url, egress_proxy=own_url))
        assert len(own.requests) == 2
        assert len(target.requests) == 4

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_no_connection_is_shared(
        self, serve, serve_tls, start_proxy, through, resolver, scheme
    ):
        """A connection is used for its own proxy and credentials only; each is reused."""
        resolver.table["target.example"] = ["127.0.0.1"]
        target = await (serve_tls if scheme == "https" else serve)(*[[OK, OK]] * 8)
        one, two = await start_proxy(), await start_proxy()
        other = one.url.replace("//", "//other:word@")
        async with through("") as fetcher:
            for _ in range(2):
                for proxy in (one.url, two.url, other, DIRECT):
                    url = f"{scheme}://target.example:{target.port}/"
                    response_of(await fetch_with(fetcher, url, egress_proxy=proxy))
            statistics = fetcher.statistics()
        assert (one.connections, two.connections) == (2, 1)
        assert (statistics.opened, statistics.reused) == (4, 4)
        assert len(target.requests) == 8

    async def test_health(self, autojump_clock):
        """Each proxy has its own outage: the delay of one does not depend on another."""
        settings = Settings(egress_proxy="http://a.example", backoff_seconds=1.0)
        routes = EgressRoutes(settings, Metrics())
        general, own = routes.route_of(None), routes.route_of("http://b.example")
        assert routes.route_of("http://a.example") is general
        with capture_logs() as events:
            await general.postponed(ProxyFailed("down"))
            await trio.sleep(20)
            late = await general.postponed(ProxyFailed("down"))
            first = await own.postponed(ProxyFailed("down"))
            own.succeeded(parse_target("http://target.example/"))
        assert late.delay_seconds >= 10
        assert first.delay_seconds <= 1
        assert [(event["event"], event["proxy"]) for event in events] == [
            ("egress proxy failed, its tasks wait", "a.example"),
            ("egress proxy failed, its tasks wait", "b.example"),
            ("egress proxy works again", "b.example"),
        ]

    async def test_the_guard(self, start_proxy, through):
        """The guard judges names before the proxy of a queue hears of them."""
        proxy = await start_proxy()
        async with through("", allow_networks=(), allow_ports=()) as fetcher:
            for url in ("http://billing/", "http://10.0.0.1/", "http://metadata.google.internal/"):
                outcome = await fetch_with(fetcher, url, egress_proxy=proxy.url)
                assert is_failure(outcome, ErrorType.BLOCKED)
        assert proxy.connections == 0

    async def test_what_is_fetched_without_any_proxy(self, serve, start_proxy, through, resolver):
        """Loopback targets and those of TASKFLOW_EGRESS_NO_PROXY, as with the setting."""
        resolver.table["direct.example"] = ["127.0.0.1"]
        target, proxy = await serve([OK], [OK]), await start_proxy()
        async with through("", egress_no_proxy=("direct.example",)) as fetcher:
            for host in ("direct.example", "localhost"):
                url = f"http://{host}:{target.port}/"
                response_of(await fetch_with(fetcher, url, egress_proxy=proxy.url))
        assert proxy.connections == 0

    async def test_an_unusable_one(self, serve, through, resolver):
        """A proxy that an edited row has sends nothing another way, and shows no password."""
        resolver.table["target.example"] = ["127.0.0.1"]
        target = await serve([OK])
        url = f"http://target.example:{target.port}/"
        with capture_logs() as events:
            async with through("") as fetcher:
                outcome = await fetch_with(fetcher, url, egress_proxy="socks5://a:hidden-one@b")
        assert is_failure(outcome, ErrorType.INTERNAL)
        assert target.requests == []
        assert "hidden-one" not in f"{outcome} {events}"

    async def test_many(self, through, monkeypatch):
        """The number of proxies that are remembered is limited."""
        monkeypatch.setattr("taskflow.fetch.egress_health.MAX_PROXIES", 3)
        routes = EgressRoutes(Settings(), Metrics())
        for number in range(5):
            assert routes.route_of(f"http://proxy-{number}.example") is not None
        assert routes.proxy_hosts == {f"proxy-{number}.example" for number in (2, 3, 4)}


BLOCKED = [
    "http://127.0.0.1/",
    "http://10.0.0.1/",
    "https://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[64:ff9b::a00:1]/",
    "https://[fd00::1]/",
    "http://denied.example/",
    "https://sub.denied.example/",
    "http://example.com:22/",
    "https://example.com:6379/",
    "http://metadata.google.internal/",
    "http://router.local/",
    "http://billing/",
    "http://printer.home.arpa/",
]
INVALID = [
    "http://2130706433/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://0177.0.0.1/",
    "http://user:pass@example.com/",
]


@pytest.mark.parametrize("url", BLOCKED + INVALID)
async def test_guard(start_proxy, through, url):
    """The guard judges URLs, names and literal addresses before the proxy hears of them."""
    proxy = await start_proxy()
    rules = {"allow_networks": (), "allow_ports": (), "deny_hosts": ("denied.example",)}
    rules["deny_hosts"] += ("*.denied.example",)
    async with through(proxy.url, **rules) as fetcher:
        outcome = await fetch_with(fetcher, url)
    assert is_failure(outcome, ErrorType.INVALID_URL if url in INVALID else ErrorType.BLOCKED)
    assert proxy.connections == 0


async def test_redirect_to_an_internal_name(serve, start_proxy, through):
    """A redirect passes the guard before the proxy hears of it."""
    target, proxy = await serve([answer(b"", "Location: http://db/", status="302 F")]), None
    proxy = await start_proxy()
    async with through(proxy.url) as fetcher:
        outcome = await fetch_with(fetcher, f"http://a.example:{target.port}/")
    assert is_failure(outcome, ErrorType.BLOCKED, "redirected", "TASKFLOW_ALLOW_HOSTS")
    assert len(proxy.requests) == 1


async def test_an_allowed_name(serve, start_proxy, through):
    """An internal name that is allowed goes through the proxy."""
    target, proxy = await serve([OK]), await start_proxy()
    async with through(proxy.url, allow_hosts=("billing",)) as fetcher:
        response_of(await fetch_with(fetcher, f"http://billing:{target.port}/"))
    assert len(proxy.requests) == 1


REFUSALS = [
    b"HTTP/1.1 403 Forbidden\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 500 Unable to connect\r\n\r\n<html>",
    b"HTTP/1.1 429 no\r\nContent-Length: 99999999\r\n\r\n",
    b"HTTP/1.1 511 Network Authentication Required\r\n\r\n",
]
UNREACHABLE = [
    b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>",
    b"HTTP/1.1 503 no\r\nContent-Length: 99999999\r\n\r\n",
    b"HTTP/1.1 504 Gateway Timeout\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]
HOSTILE = [
    b"",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ESTABLISHED + b"\x16\x03\x03",
    b"HTTP/1.1 200 OK\r\nX: cut",
    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
]


@pytest.mark.parametrize("words", REFUSALS + HOSTILE, ids=lambda words: repr(words[:40]))
async def test_hostile_proxies(serve, through, words):
    """Whatever a proxy answers to CONNECT instead of a tunnel, the attempt does not count."""
    proxy = await serve([words, Then.CLOSE] if words else [Then.DROP])
    async with through(f"http://localhost:{proxy.port}") as fetcher:
        outcome = await fetch_with(fetcher, "https://target.example/")
        assert is_postponed(outcome)
        assert fetcher.statistics().idle == fetcher.statistics().in_use == 0
    assert "localhost" not in outcome.error  # clients do not learn which proxy is used
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("words", UNREACHABLE, ids=lambda words: repr(words[9:12]))
async def test_a_target_that_is_down(serve, through, words):
    """A gateway error to CONNECT is the target's failure to connect; the proxy works."""
    proxy = await serve([words, Then.CLOSE])
    metrics = Metrics()
    async with through(f"http://localhost:{proxy.port}", metrics) as fetcher:
        outcome = await fetch_with(fetcher, "https://target.example/")
        assert fetcher.statistics().idle == fetcher.statistics().in_use == 0
    assert is_failure(outcome, ErrorType.CONNECT, "target.example", words[9:12].decode())
    assert is_retryable(outcome, TaskOptions())
    assert "localhost" not in outcome.error
    scrape = Scrape(expose(metrics.registry, [], "").body.decode())
    assert scrape.nonzero("taskflow_proxy_requests_total", "result") == {"refused": 1}


@pytest.mark.parametrize("words", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Hints\r\n\r\n", None])
async def test_a_proxy_that_never_answers(serve, through, mock_clock, words):
    """The proxy's time ends before the timeout of the fetch, which would count the attempt."""
    proxy = await serve([words or Then.HANG])
    outcomes = []

    async def run():
        with trio.move_on_after(5.0):
            url = "https://target.example/"
            outcomes.append(await fetcher.fetch(FetchRequest(url)))

    async with through(f"http://localhost:{proxy.port}") as fetcher, trio.open_nursery() as fetches:
        fetches.start_soon(run)
        while not proxy.requests:
            await trio.lowlevel.checkpoint()
        for _ in range(500):
            mock_clock.jump(0.01)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
    assert is_postponed(outcomes[0], "did not answer in time")


async def test_interim_responses_before_a_tunnel(serve, through):
    """A 1xx before the 200 is skipped, as everywhere; a target that is not there is its failure."""
    proxy = await serve([b"HTTP/1.1 103 Hints\r\n\r\n" + ESTABLISHED, Then.CLOSE])
    async with through(f"http://localhost:{proxy.port}") as fetcher:
        outcome = await fetch_with(fetcher, "https://target.example/")
    assert is_postponed(outcome, "TLS handshake")


@pytest.mark.parametrize("url", ["http://target.example/", "https://target.example/"])
async def test_no_proxy_there(through, url):
    """A proxy that does not listen, or whose name is unknown, is the proxy's failure."""
    metrics = Metrics()
    async with through(f"http://localhost:{closed_port()}", metrics) as fetcher:
        assert is_postponed(await fetch_with(fetcher, url), "Connection refused")
    async with through("http://unknown.example:3128", metrics) as fetcher:
        assert is_postponed(await fetch_with(fetcher, url), "proxy error")


@pytest.mark.parametrize("end", [Then.DROP, Then.RESET])
async def test_silence_of_a_forwarding_proxy(serve, through, end):
    """A proxy that closes instead of forwarding has failed; its gateway errors are responses."""
    proxy = await serve([end], [answer(b"", status="502 Bad Gateway")])
    async with through(f"http://localhost:{proxy.port}") as fetcher:
        outcome = await fetch_with(fetcher, "http://target.example/")
        assert is_postponed(outcome, "broke", may_have_been_sent=True)
        outcome = await fetch_with(fetcher, "http://target.example/")
        assert is_failure(outcome, ErrorType.HTTP_STATUS, "502")


async def test_a_target_that_closes(serve_tls, start_proxy, through):
    """A target that ends a connection has failed itself while the proxy accepts connections."""
    target, proxy = await serve_tls([Then.DROP]), await start_proxy()
    async with through(proxy.url) as fetcher:
        outcome = await fetch_with(fetcher, f"https://target.example:{target.port}/")
    assert is_failure(outcome, ErrorType.CONNECT, "target.example")


@pytest.mark.parametrize("response", [Then.HANG, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
async def test_a_proxy_that_dies(serve_tls, start_proxy, through, response):
    """If the proxy dies before a response or within it, the attempt does not count."""
    target, proxy = await serve_tls([response]), await start_proxy()
    outcomes = []
    async with through(proxy.url) as fetcher, trio.open_nursery() as fetches:

        async def run():
            outcomes.append(await fetch_with(fetcher, f"https://target.example:{target.port}/"))

        fetches.start_soon(run)
        while not target.requests:
            await trio.sleep(0.001)
        proxy.die()
    assert is_postponed(outcomes[0], "broke", may_have_been_sent=True)


async def test_a_dying_process_accepts_connections(resolver, nursery):
    """The listening socket of a killed process is the last that is closed."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = parse_proxy(f"http://localhost:{listener.socket.getsockname()[1]}")
    assert await is_accepting(proxy, resolver)

    async def die():
        await trio.sleep(HOLD_SECONDS / 10)
        await listener.aclose()

    nursery.start_soon(die)
    assert not await is_accepting(proxy, resolver)


async def test_delays_grow(through, mock_clock):
    """Delays grow with the time of an outage up to a maximum, and an answer ends it."""
    settings = Settings(egress_proxy="http://proxy.example", backoff_seconds=1.0)
    egress = egress_of(settings)
    assert egress is not None
    assert 0.5 <= egress.delay_of_failure() <= 1
    mock_clock.jump(10)
    assert 5 <= egress.delay_of_failure() <= 10
    mock_clock.jump(1000)
    assert egress.delay_of_failure() <= MAX_PROXY_DELAY_SECONDS
    assert not egress.is_working
    egress.works()
    assert egress.delay_of_failure() <= 1
    assert egress.delay_of_refusal("https://a.example") <= 1
    mock_clock.jump(10_000)
    assert 300 <= egress.delay_of_refusal("https://a.example") <= 600
    assert egress.delay_of_refusal("https://b.example") <= 1


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ("example.com", "example.com a.example.com A.EXAMPLE.COM:8080", "myexample.com com"),
        (".example.com", "a.example.com a.b.example.com", "example.com"),
        ("*.example.com", "a.example.com", "example.com"),
        ("EXAMPLE.com.", "example.com", "example.org"),
        ("example.com:8080", "example.com:8080 a.example.com:8080", "example.com"),
        ("münchen.example", "xn--mnchen-3ya.example", "munchen.example"),
        ("192.0.2.1", "192.0.2.1 192.0.2.1:8080 [::ffff:192.0.2.1]", "192.0.2.11"),
        ("192.0.2.1:443", "192.0.2.1:443", "192.0.2.1"),
        ("10.0.0.0/8", "10.1.2.3", "11.0.0.1 ten.example"),
        ("10.1.2.3/8", "10.9.9.9", "11.0.0.1"),
        ("fd00::/8", "[fd00::1]", "[fe00::1]"),
        ("2001:db8::1", "[2001:db8::1]", "[2001:db8::2]"),
        ("[2001:db8::1]:8080", "[2001:db8::1]:8080", "[2001:db8::1]"),
        ("*", "example.com 192.0.2.1 [2001:db8::1]", ""),
    ],
)
def test_no_proxy(rule, inside, outside):
    """The rules of TASKFLOW_EGRESS_NO_PROXY: names, suffixes, addresses, networks and ports."""
    no_proxy = NoProxy([rule])
    assert all(parse_target(f"http://{place}/") in no_proxy for place in inside.split())
    assert not any(parse_target(f"http://{place}/") in no_proxy for place in outside.split())


@pytest.mark.parametrize(
    "rule",
    ["http://a", "a b", "a*b", "10.0.0.0/33", "a:0", "a:99999", "[::1", "1.2.3", ".", "*.", "a/8"],
)
def test_invalid_no_proxy(rule):
    """An invalid rule is an error that says what is valid."""
    with pytest.raises(SettingsError, match=r"TASKFLOW_EGRESS_NO_PROXY: .* is neither a name"):
        NoProxy([rule])


@pytest.mark.parametrize(
    "url",
    [
        *("proxy.example:3128", "socks5://proxy.example:1080", "http://", "http://proxy.example/x"),
        *("http://hidden:%0A@proxy.example", "http://hid%3Aden:x@proxy.example"),
        *("http://hidden@proxy.example:0", "http://127.1:3128", "http://hidden:x@a b"),
    ],
)
def test_invalid_proxy(url):
    """An invalid URL of a proxy is an error that does not show it."""
    with pytest.raises(SettingsError, match="TASKFLOW_EGRESS_PROXY is not") as caught:
        egress_of(Settings(egress_proxy=url))
    assert "hidden" not in str(caught.value)


def test_a_proxy_hides_its_password():
    """Neither the settings nor the proxy show the password."""
    url = "http://worker:hidden-one@proxy.example:3128"
    assert "hidden" not in repr(Settings(egress_proxy=url)) + repr(parse_proxy(url))
    assert parse_proxy("https://proxy.example").target.port == 443
    assert masked_proxy(url) == "http://***@proxy.example:3128"
    assert masked_proxy("HTTPS://a%40:b%2F@proxy.example/") == "HTTPS://***@proxy.example/"
    assert masked_proxy("http://proxy.example") == "http://proxy.example"
    assert masked_proxy("socks5://a:hidden-one@proxy.example") == "***"


def test_stored_credentials():
    """They are encrypted, and bound to their queue and proxy; without keys they are as they are."""
    url, keyring = "http://worker:s3cret%2F@proxy.example:3128", Keyring([b"1" * 32])
    sealed = sealed_proxy(url, "mail", keyring)
    assert "s3cret" not in sealed
    assert masked_proxy(sealed) == masked_proxy(url)
    assert parse_proxy(sealed).target == parse_proxy(url).target
    assert opened_proxy(sealed, "mail", keyring) == url
    other = "A" if sealed[30] == "_" else "_"
    for moved, queue in (
        (sealed, "post"),
        (sealed.replace("proxy.example", "evil.example"), "mail"),
        (f"{sealed[:30]}{other}{sealed[31:]}", "mail"),
    ):
        with pytest.raises(Undecryptable):
            opened_proxy(moved, queue, keyring)
    with pytest.raises(KeyMissing):
        opened_proxy(sealed, "mail", Keyring([b"2" * 32]))
    for plain in (url, "http://proxy.example", DIRECT):
        assert sealed_proxy(plain, "mail", NO_KEYS) == plain
        assert opened_proxy(plain, "mail", keyring) == plain
    assert sealed_proxy(DIRECT, "mail", keyring) == DIRECT


async def test_metrics(serve, start_proxy, through):
    """Requests through the proxy are counted by result."""
    metrics = Metrics()
    target, proxy = await serve([OK]), await start_proxy()
    refusing = await serve([REFUSALS[0]])
    async with through(proxy.url, metrics) as fetcher:
        await fetcher.fetch(FetchRequest(f"http://a.example:{target.port}/"))
    async with through(f"http://localhost:{refusing.port}", metrics) as fetcher:
        await fetcher.fetch(FetchRequest("https://a.example/"))
    async with through(f"http://localhost:{closed_port()}", metrics) as fetcher:
        await fetcher.fetch(FetchRequest("https://a.example/"))
    scrape = Scrape(expose(metrics.registry, [], "").body.decode())
    assert scrape.nonzero("taskflow_proxy_requests_total", "result") == {
        "response": 1,
        "refused": 1,
        "failed": 1,
    }
