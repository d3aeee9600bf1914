"""Names that hang: what they hold, and that others are found all the same."""

from __future__ import annotations

import socket
import threading
from collections import Counter

import pytest
import trio
import trio.testing

from taskflow.fetch import resolver as resolving
from taskflow.fetch.errors import NameNotResolved
from taskflow.fetch.resolver import ResolverStatistics, SystemResolver

PATIENCE_SECONDS = 10
THREADS = 8


class FakeSystem:
    """Finds any name at once, but for those under ``hang.*``, until it gives up on them.

    Attributes:
        asked: How often it was asked for each name, as it is without its final dot.
        searched: Names that had none, so that the system's search list would complete them.
    """

    def __init__(self):
        self.asked = Counter()
        self.searched = []
        self._lets_go = threading.Event()

    def getaddrinfo(self, name, *_args, **_kwargs):
        name = name.decode()
        if not name.endswith("."):
            self.searched.append(name)
        name = name.removesuffix(".")
        self.asked[name] += 1
        if ".hang" in name:
            self._lets_go.wait(PATIENCE_SECONDS)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))]

    def give_up(self):
        self._lets_go.set()


@pytest.fixture
def system(monkeypatch):
    fake = FakeSystem()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    monkeypatch.setattr(resolving, "BUSY_SECONDS", 0.05)
    yield fake
    fake.give_up()


@pytest.fixture
def resolver():
    return SystemResolver(THREADS)


async def leave_hanging(resolver, *names):
    """Ask for names that hang, and go away."""
    with trio.move_on_after(0.02):
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(resolver.resolve, name)


async def until_idle(resolver):
    with trio.fail_after(PATIENCE_SECONDS):
        while resolver.statistics().under_way:
            await trio.sleep(0.001)


async def found(resolver, name):
    with trio.fail_after(PATIENCE_SECONDS):
        return [str(address) for address in await resolver.resolve(name)]


async def test_one_lookup_for_all(system, resolver):
    """However many ask for a name, it is looked up once at a time, and all get the answer."""
    errors = []

    async def ask():
        with pytest.raises(socket.gaierror) as caught:
            await resolver.resolve("a.hang")
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert resolver.statistics() == ResolverStatistics(1, 0, shared=49, recalled=0, refused=0)
        system.give_up()
    assert system.asked["a.hang"] == 1
    assert {str(error) for error in errors} == {str(errors[0])}
    assert len({id(error) for error in errors}) == 50
    await until_idle(resolver)


async def test_who_leaves_takes_nobody_along(system, resolver):
    """The lookup goes on for the others when the one who began it is cancelled."""
    async with trio.open_nursery() as nursery:
        await leave_hanging(resolver, "a.hang")
        assert resolver.statistics().abandoned == 1
        nursery.start_soon(expect_gaierror, resolver)
        await trio.testing.wait_all_tasks_blocked()
        assert resolver.statistics().abandoned == 0
        system.give_up()
    assert system.asked["a.hang"] == 1


async def expect_gaierror(resolver):
    with pytest.raises(socket.gaierror):
        await resolver.resolve("a.hang")


async def test_a_domain_has_a_share(system, resolver):
    """Names of one domain that hang hold a share of the threads; other names are found."""
    await leave_hanging(resolver, *[f"{n}.evil.hang" for n in range(50)])
    statistics = resolver.statistics()
    share = THREADS // resolving.DOMAINS_TO_FILL_ALL
    assert (statistics.under_way, statistics.abandoned) == (share, share)
    assert await found(resolver, "good.example") == ["192.0.2.1"]


async def test_all_threads_are_held(system, resolver):
    """A name that gets no thread fails for that reason, soon; one that was found is known."""
    assert await found(resolver, "known.example") == ["192.0.2.1"]
    await hold_all_threads(resolver)
    assert await found(resolver, "known.example") == ["192.0.2.1"]
    with (
        pytest.raises(NameNotResolved, match="too many lookups"),
        trio.fail_after(PATIENCE_SECONDS),
    ):
        await resolver.resolve("new.example")
    assert resolver.statistics() == ResolverStatistics(
        THREADS, abandoned=THREADS, shared=0, recalled=1, refused=1
    )
    system.give_up()
    await until_idle(resolver)
    assert await found(resolver, "new.example") == ["192.0.2.1"]
    assert system.asked["known.example"] == 1


async def hold_all_threads(resolver):
    names = [f"{n}.{domain}.hang" for n in range(2) for domain in "abcd"]
    await leave_hanging(resolver, *names)
    assert resolver.statistics().under_way == THREADS


async def test_a_thread_that_comes_back(system, resolver, monkeypatch):
    """Who waits for a thread gets the first that comes back."""
    monkeypatch.setattr(resolving, "BUSY_SECONDS", PATIENCE_SECONDS)
    await hold_all_threads(resolver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found, resolver, "new.example")
        await trio.testing.wait_all_tasks_blocked()
        assert system.asked["new.example"] == 0
        system.give_up()
    assert system.asked["new.example"] == 1


async def test_hopeless(system, resolver, mock_clock):
    """Whoever asks for a name that has hung for long is told at once."""
    await begin(resolver, "a.hang", mock_clock)
    mock_clock.jump(resolving.JOINABLE_SECONDS + 1)
    with pytest.raises(NameNotResolved, match="without an answer"):
        await resolver.resolve("a.hang")


async def test_what_was_found_long_ago(system, resolver, mock_clock):
    """What is recalled was found a few minutes ago, and the oldest makes room."""
    await found_on_mock_clock(resolver, "known.example")
    for domain in "abcd":
        for n in range(2):
            await begin(resolver, f"{n}.{domain}.hang", mock_clock)
    mock_clock.jump(resolving.CACHE_SECONDS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_refused, resolver, "known.example")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1)


async def found_on_mock_clock(resolver, name):
    assert await resolver.resolve(name)


async def begin(resolver, name, mock_clock):
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolver.resolve, name)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)


async def expect_refused(resolver, name):
    with pytest.raises(NameNotResolved, match="too many lookups"):
        await resolver.resolve(name)


async def test_bounds(system, resolver, monkeypatch):
    """What is remembered is bounded, and so are the addresses of a name."""
    monkeypatch.setattr(resolving, "MAX_CACHED_NAMES", 3)
    many = [(socket.AF_INET, 1, 6, "", (f"192.0.2.{n}", 0)) for n in range(200)]
    for n in range(5):
        await found(resolver, f"{n}.example")
    assert len(resolver._found._by_name) == 3
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: many)
    assert len(await found(resolver, "many.example")) == resolving.MAX_ADDRESSES + 1


async def test_no_thread_can_be_started(system, resolver, monkeypatch):
    """That the system has no threads left is said as what it is, and leaves nothing behind."""

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", refuse)
    with pytest.raises(NameNotResolved, match="no thread"):
        await resolver.resolve("good.example")
    assert resolver.statistics().under_way == 0


def test_run_that_ends(system, resolver):
    """A run does not wait for lookups that hang, and a late answer is no fault."""

    async def look_up():
        await leave_hanging(resolver, "a.hang")

    trio.run(look_up)
    system.give_up()


async def test_no_search_list(system, tmp_path, monkeypatch):
    """Names are looked up as they stand, but for those of the operator's and of the hosts file.

    A search list would make ``wiki`` a name that nobody has judged.
    """
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 LocalHost box # wiki\n\n::1 ip6-localhost")
    monkeypatch.setattr(resolving, "HOSTS_FILE", hosts)
    resolver = SystemResolver(THREADS, relative_names={"billing"})
    for name in ("wiki", "github.example", "billing", "localhost", "box", "ip6-localhost"):
        await found(resolver, name)
    assert system.searched == ["billing", "localhost", "box", "ip6-localhost"]


async def test_owners_under_a_public_suffix(system, resolver):
    """One of them takes half of what all under the suffix may have."""
    await leave_hanging(resolver, *(f"{n}.evil.hang.uk" for n in range(THREADS)))
    assert resolver.statistics().under_way == 1
    await leave_hanging(resolver, *(f"{n}.good.hang.uk" for n in range(THREADS)))
    assert resolver.statistics().under_way == 2


async def test_a_domain_pushes_out_its_own_names_only(system, resolver):
    """What was found for others is remembered, however many names a wildcard has."""
    await found(resolver, "known.example")
    for n in range(resolving.MAX_CACHED_NAMES_PER_DOMAIN + 5):
        await found(resolver, f"{n}.wild.test")
    assert resolver._found.recall("known.example")
    assert not resolver._found.recall("0.wild.test")
    assert len(resolver._found._by_name) == resolving.MAX_CACHED_NAMES_PER_DOMAIN + 1
