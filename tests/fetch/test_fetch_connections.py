"""Connections: made, kept, used again, given up."""

from __future__ import annotations

import errno
import ipaddress
import socket

import pytest
import trio
import trio.testing

from taskflow.fetch import dialing
from taskflow.fetch.connection_pool import IDLE_SECONDS, Statistics
from taskflow.fetch.errors import NameNotResolved
from taskflow.fetch.http_fetcher import MIN_IDLE_CONNECTIONS, open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.resolver import SystemResolver
from taskflow.model.outcome import ErrorType
from taskflow.settings import Settings
from tests.fetch.scripted import Then, answer, fetch_with, is_failure, response_of
from tests.loopback import OPEN

OK = answer(b"1")
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_keep_alive(serve, fetch, fetcher):
    """One connection serves many requests, and the name is resolved once."""
    server = await serve([OK] * 5)
    for _ in range(5):
        response_of(await fetch(f"http://localhost:{server.port}/"))
    assert server.connections == 1
    assert fetcher.statistics() == Statistics(opened=1, reused=4, idle=1, in_use=0)


async def test_errors_keep_the_connection(serve, fetch, fetcher):
    """An error's body is read away, so that the connection serves the next request."""
    server = await serve([answer(b"x" * 1000, status="404 Not Found"), OK])
    url = f"http://localhost:{server.port}/"
    assert is_failure(await fetch(url), ErrorType.HTTP_STATUS)
    response_of(await fetch(url))
    assert server.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        answer(b"1", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale",
        OK + b"\r\n",
        b"HTTP/1.1 200 OK\r\n%b\r\n%b\r\n\r\n1\r\n1\r\n0\r\n\r\n"
        % (b"Content-Length: 999999", b"Transfer-Encoding: chunked"),
    ],
)
async def test_not_kept(serve, fetch, fetcher, first):
    """A connection is kept only if it goes on and holds nothing that might be taken as next."""
    server = await serve([first], [OK])
    url = f"http://localhost:{server.port}/"
    assert bytes(response_of(await fetch(url)).result) == b"1"
    assert fetcher.statistics().idle == 0
    assert bytes(response_of(await fetch(url)).result) == b"1"
    assert server.connections == 2


async def test_closed_while_idle(serve, fetch, fetcher):
    """A connection that the server closed while it was idle is not used again."""
    server = await serve([OK, Then.CLOSE], [OK])
    url = f"http://localhost:{server.port}/"
    response_of(await fetch(url))
    await server.all_closed.wait()
    response_of(await fetch(url))
    assert fetcher.statistics().reused == 0


@pytest.mark.parametrize("death", [Then.DROP, Then.RESET])
async def test_dead_connection_is_retried_once(serve, fetch, fetcher, death):
    """A kept connection that dies under a request costs another connection, not the task."""
    server = await serve([OK, death], [OK])
    url = f"http://localhost:{server.port}/"
    response_of(await fetch(url))
    response_of(await fetch(url))
    assert (server.connections, len(server.requests)) == (2, 3)
    assert fetcher.statistics() == Statistics(opened=2, reused=1, idle=1, in_use=0)


@pytest.mark.parametrize("death", [Then.DROP, Then.RESET])
async def test_not_retried_twice(serve, fetch, death):
    """The retry is over a new connection, and there is one only."""
    server = await serve([OK, death], [death])
    url = f"http://localhost:{server.port}/"
    await fetch(url)
    assert is_failure(await fetch(url), ErrorType.CONNECT, "connect error: ")
    assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.parametrize("death", [Then.DROP, Then.RESET])
async def test_new_connection_is_not_retried(serve, fetch, death):
    """A new connection that ends before an answer is the target's failure, at once."""
    server = await serve([death])
    assert is_failure(await fetch(f"http://localhost:{server.port}/"), ErrorType.CONNECT)
    assert server.connections == 1


async def test_not_retried_once_an_answer_began(serve, fetch):
    """An answer that broke off is not asked for again, on a kept connection either."""
    server = await serve([OK, CUT, Then.CLOSE])
    url = f"http://localhost:{server.port}/"
    await fetch(url)
    assert is_failure(await fetch(url), ErrorType.PROTOCOL)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_post_goes_over_a_new_connection(serve, fetch):
    """What must not be sent twice never meets a kept connection that may be dead."""
    server = await serve([OK], [OK])
    url = f"http://localhost:{server.port}/"
    await fetch(url)
    response_of(await fetch(url, method="POST"))
    assert server.connections == 2


async def test_idle_for_too_long(serve, fetch, fetcher, mock_clock):
    """A connection that was idle for too long is closed, whoever is fetched from next."""
    first, second = await serve([OK]), await serve([OK])
    await fetch(f"http://localhost:{first.port}/")
    mock_clock.jump(IDLE_SECONDS)
    await fetch(f"http://localhost:{second.port}/")
    await first.all_closed.wait()
    assert fetcher.statistics().idle == 1


async def test_idle_bounds(serve, resolver):
    """Idle connections are bounded for an origin; the one that waited longest makes room."""
    server = await serve([OK, OK])
    url = f"http://localhost:{server.port}/"
    async with open_fetcher(Settings(**OPEN, workers=2), resolver=resolver) as fetcher:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(fetch_with, fetcher, url)
        assert fetcher.statistics().idle == 2
    await server.all_closed.wait()


async def test_idle_bound_overall(serve, resolver):
    """Idle connections are bounded in all; the one that waited longest makes room."""
    resolver.table |= {f"h{n}.example": ["127.0.0.1"] for n in range(MIN_IDLE_CONNECTIONS + 3)}
    server = await serve([OK])
    async with open_fetcher(Settings(**OPEN), resolver=resolver) as fetcher:
        for n in range(MIN_IDLE_CONNECTIONS + 3):
            await fetch_with(fetcher, f"http://h{n}.example:{server.port}/")
        assert fetcher.statistics().idle == MIN_IDLE_CONNECTIONS
    await server.all_closed.wait()


async def test_close_in_use(serve, resolver):
    """Leaving the fetcher closes what is in use, too, and nothing is kept afterwards."""
    server = await serve([Then.HANG])
    async with (
        trio.open_nursery() as nursery,
        open_fetcher(Settings(**OPEN), resolver=resolver) as fetcher,
    ):
        url = f"http://localhost:{server.port}/"
        nursery.start_soon(fetcher.fetch, FetchRequest(url))
        await server.hanging.wait()
    await server.all_closed.wait()
    assert (fetcher.statistics().idle, fetcher.statistics().in_use) == (0, 0)


async def test_close(serve, resolver):
    """Leaving the fetcher closes what is idle."""
    server = await serve([OK])
    async with open_fetcher(Settings(**OPEN), resolver=resolver) as fetcher:
        await fetch_with(fetcher, f"http://localhost:{server.port}/")
        assert fetcher.statistics().idle == 1
    assert fetcher.statistics().idle == 0
    await server.all_closed.wait()


@pytest.mark.parametrize("script", [[Then.HANG], [CUT], [OK, Then.HANG]])
async def test_cancelled(serve, fetcher, fetch, script):
    """A fetch that is cancelled lets Cancelled pass, and its connection is closed, not kept."""
    server = await serve(script)
    url = f"http://localhost:{server.port}/"
    for _ in script[1:]:
        await fetch(url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetcher.fetch, FetchRequest(url))
        while len(server.requests) < len(script):
            await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
    assert (fetcher.statistics().idle, fetcher.statistics().in_use) == (0, 0)
    await server.all_closed.wait()


async def test_cancelled_while_resolving(fetcher, resolver, monkeypatch):
    """A fetch can be cancelled while the name is resolved."""

    async def hang(_name):
        await trio.sleep_forever()

    monkeypatch.setattr(resolver, "resolve", hang)
    with trio.move_on_after(0.01) as scope:
        await fetcher.fetch(FetchRequest("http://localhost/"))
    assert scope.cancelled_caught


async def test_refused(fetch):
    """A port on which nobody listens is a failure to connect, said once and in words."""
    port = closed_port()
    outcome = await fetch(f"http://localhost:{port}/")
    assert outcome.error_type is ErrorType.CONNECT
    assert outcome.error == f"connect error: localhost:{port}: Connection refused"


async def test_unknown_name(fetch):
    """A name that does not resolve is a DNS failure that names it."""
    outcome = await fetch("http://no.example:81/")
    assert outcome.error_type is ErrorType.DNS
    assert outcome.error == "dns error: no.example: Name or service not known"


def addresses(*texts):
    return tuple(ipaddress.ip_address(text) for text in texts)


class FakeNetwork:
    """Says what becomes of a connection to each address, and when which was tried."""

    def __init__(self, monkeypatch, fates):
        self.fates = fates
        self.tried: list[tuple[str, float]] = []
        self.opened: list[socket.socket] = []
        monkeypatch.setattr(dialing, "_connect", self.connect)

    async def connect(self, address, _port):
        self.tried.append((str(address), trio.current_time() - self.started))
        fate = self.fates.get(str(address))
        if isinstance(fate, OSError):
            await trio.lowlevel.checkpoint()
            raise fate
        # A cancellation that comes when the kernel is done is not seen, as in a real race.
        with trio.CancelScope(shield=True):
            await trio.sleep(0 if fate is None else fate)
        connected = trio.socket.socket()
        self.opened.append(connected)
        return connected

    async def dial(self, *texts):
        self.started = trio.current_time()
        return await dialing.dial(addresses(*texts), 80)

    @property
    def still_open(self):
        return [sock for sock in self.opened if sock.fileno() != -1]


REFUSED = OSError(errno.ECONNREFUSED, "refused")
UNREACHABLE = OSError(errno.ENETUNREACH, "unreachable")


async def test_race_staggered(monkeypatch, autojump_clock):
    """A slow address gets a head start; then the next is tried, and the loser is closed."""
    network = FakeNetwork(monkeypatch, {"192.0.2.1": 0.7, "192.0.2.2": 0.1})
    stream = await network.dial("192.0.2.1", "192.0.2.2", "192.0.2.3")
    assert network.tried == [("192.0.2.1", 0), ("192.0.2.2", pytest.approx(0.25))]
    assert network.still_open == [stream.socket]
    await stream.aclose()


async def test_race_failures_do_not_wait(monkeypatch, autojump_clock):
    """After a failure the next is tried at once; families alternate."""
    fates = {"2001:db8::1": UNREACHABLE, "192.0.2.1": REFUSED}
    network = FakeNetwork(monkeypatch, fates)
    stream = await network.dial("2001:db8::1", "2001:db8::2", "192.0.2.1")
    assert network.tried == [("2001:db8::1", 0), ("192.0.2.1", 0), ("2001:db8::2", 0)]
    await stream.aclose()


async def test_race_lost(monkeypatch, autojump_clock):
    """If no address takes the connection, what the first met is told; no more than 8 are tried."""
    texts = [f"192.0.2.{n}" for n in range(1, 100)]
    network = FakeNetwork(monkeypatch, {**dict.fromkeys(texts, UNREACHABLE), texts[0]: REFUSED})
    with pytest.raises(OSError, match="refused"):
        await network.dial(*texts)
    assert len(network.tried) == dialing.MAX_ADDRESSES


async def test_race_cancelled(monkeypatch, autojump_clock):
    """A race that is cancelled in the moment in which it is won leaks no socket."""
    network = FakeNetwork(monkeypatch, {"192.0.2.1": 1, "192.0.2.2": 2})
    with trio.move_on_after(0.5):
        stream = await network.dial("192.0.2.1", "192.0.2.2")
        await stream.aclose()
    assert len(network.opened) == 2
    assert network.still_open == []


async def test_system_resolver(monkeypatch):
    """The system is asked in bytes, once; doubles and zones are dropped, the order is kept."""
    requested = []

    def getaddrinfo(*args, **kwargs):
        requested.append(args)
        return [
            (socket.AF_INET6, 1, 6, "", ("2001:db8::1", 0, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0)),
            (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0)),
            (socket.AF_INET6, 1, 6, "", ("fe80::1%eth0", 0, 0, 2)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = await SystemResolver(threads=1).resolve("two.example")
    assert found == addresses("2001:db8::1", "192.0.2.1")
    assert requested == [(b"two.example.", None)]


async def test_system_resolver_finds_nothing(monkeypatch):
    """A name without an address is a failure to resolve."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [])
    with pytest.raises(NameNotResolved):
        await SystemResolver(threads=1).resolve("empty.example")
