"""The guard: where to connections may be made, decided and enforced."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import re
import socket
from pathlib import Path

import psutil
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from taskflow.fetch import connection_pool
from taskflow.fetch.dialing import dial
from taskflow.fetch.errors import Blocked, NameNotResolved
from taskflow.fetch.guard import MAX_ADDRESSES, Guard
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.special_addresses import embedded_ipv4, is_own_address, special_of
from taskflow.fetch.stream import PlainStream
from taskflow.model.errors import SettingsError
from taskflow.model.host_patterns import Hosts
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.outcome import ErrorType, Fetched
from taskflow.model.url import parse_target
from taskflow.settings import Settings
from tests.fetch.scripted import FakeResolver, answer, fetch_with, is_failure
from tests.loopback import OPEN

PUBLIC = "93.184.216.34"
REFUSALS = {
    *(ErrorType.BLOCKED, ErrorType.INVALID_URL, ErrorType.DNS, ErrorType.TOO_MANY_REDIRECTS),
}


def addresses(*texts):
    return tuple(ipaddress.ip_address(text) for text in texts)


def judge(url, *answers, **settings):
    """Judge a URL whose host has these addresses."""
    guard, target = Guard(Settings(**settings)), parse_target(url)
    guard.admit(target)
    if target.address is None:
        guard.judge(target, addresses(*answers))


def complaint(url, *answers, **settings):
    with pytest.raises(Blocked) as caught:
        judge(url, *answers, **settings)
    return str(caught.value)


# Addresses


@pytest.mark.parametrize(
    "network",
    [
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3", "168.63.129.16/32"),
    ],
)
def test_blocks_of_ipv4(network):
    """The first and the last address of each special block are special, their neighbours not."""
    block = ipaddress.ip_network(network)
    first, last = int(block.network_address), int(block.broadcast_address)
    for number in (first, last):
        assert special_of(ipaddress.IPv4Address(number)) is not None
    for number in (first - 1, last + 1):
        if 0 <= number < 2**32:
            assert special_of(ipaddress.IPv4Address(number)) is None


@pytest.mark.parametrize(
    "network", ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"]
)
def test_blocks_within_global_unicast(network):
    """The same for the special blocks within 2000::/3."""
    block = ipaddress.ip_network(network)
    first, last = int(block.network_address), int(block.broadcast_address)
    for number in (first, last):
        assert special_of(ipaddress.IPv6Address(number)) is not None
    for number in {first - 1, last + 1} - {int(ipaddress.IPv6Address("4000::"))}:
        beside = ipaddress.IPv6Address(number)
        assert special_of(beside) is None, beside


@given(st.ip_addresses(v=4))
def test_ipv4_is_no_more_open_than_python_says(address):
    """What Python does not take for global is special here, too."""
    assert special_of(address) is not None or address.is_global


@given(
    st.one_of(st.ip_addresses(v=6), st.integers(0x2 << 124, 0x4 << 124).map(ipaddress.IPv6Address))
)
def test_ipv6_is_global_unicast_only(address):
    """Nothing outside 2000::/3 is ever open, and nothing that Python does not take for global."""
    if special_of(address) is None:
        assert int(address) >> 125 == 0b001
        assert address.is_global


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("2001:0:a01:203::f5fe:fdfc", "10.1.2.3 10.1.2.3"),
        ("2002:808:808::5efe:a01:203", "8.8.8.8 10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("::ffff:0:10.1.2.3", "10.1.2.3"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1::10.1.2.3", "10.1.2.3"),
        ("2002:a01:203::1", "10.1.2.3"),
        ("2001:0:5db8:d822::f5fe:fdfc", "93.184.216.34 10.1.2.3"),
        ("2a00::5efe:10.1.2.3", "10.1.2.3"),
        ("2a00::200:5efe:10.1.2.3", "10.1.2.3"),
        ("fe80::5efe:10.1.2.3", "10.1.2.3"),
        ("2a00::1", ""),
        ("10.1.2.3", ""),
    ],
)
def test_embedded_addresses(address, inside):
    """Every kind of IPv6 address that leads to IPv4 addresses is known, and where it may lead."""
    assert " ".join(map(str, embedded_ipv4(ipaddress.ip_address(address)))) == inside
    if inside and ":" in address:
        assert special_of(ipaddress.ip_address(address)) is not None


# Rules


def test_every_address_of_a_name_counts():
    """One that leads inside refuses the name, wherever in the answer it stands."""
    judge("http://a.example/", PUBLIC, "2606:4700::1111")
    for answers in [("10.0.0.1",), (PUBLIC, "::1"), ("::1", PUBLIC), (PUBLIC, "169.254.169.254")]:
        complaint("http://a.example/", *answers)


def test_what_a_name_resolved_to_is_not_told():
    """Strangers learn which setting opens it, and nothing of the inside."""
    output = complaint("http://db.internal/", "10.20.30.40")
    assert output == (
        "blocked: db.internal does not resolve to public addresses only; "
        "TASKFLOW_ALLOW_HOSTS or TASKFLOW_ALLOW_NETWORKS can allow it"
    )
    assert output == complaint("http://db.internal/", "127.0.0.1", PUBLIC)


def test_a_literal_is_told_what_it_is():
    """Whoever wrote an address may know what kind it is."""
    assert complaint("http://10.1.2.3/") == (
        "blocked: 10.1.2.3 is a private address; TASKFLOW_ALLOW_NETWORKS can allow it"
    )
    assert "loopback" in complaint("http://[::1]/")
    assert "metadata" in complaint("http://169.254.169.254/")


def test_too_many_addresses():
    """A name with hundreds of addresses is refused: each would have to be judged."""
    public = [str(ipaddress.IPv4Address(PUBLIC) + n) for n in range(MAX_ADDRESSES + 1)]
    judge("http://a.example/", *public[1:])
    with pytest.raises(NameNotResolved):
        judge("http://a.example/", *public)


def test_networks_open_addresses():
    """Of names and of literals; what is not in them stays closed."""
    opened = {"allow_networks": ("10.1.0.0/16", "fd12::/32")}
    judge("http://10.1.2.3/", **opened)
    judge("http://db.internal/", "10.1.2.3", "fd12::1", PUBLIC, **opened)
    complaint("http://10.2.0.1/", **opened)
    complaint("http://[::ffff:10.1.2.3]/", **opened)
    complaint("http://db.internal/", "10.1.2.3", "10.2.0.1", **opened)


def test_hosts_open_names():
    """By name or by suffix, whatever they resolve to; no other name, and not the suffix itself."""
    opened = {"allow_hosts": ("db.internal", "*.svc.internal", "10.9.9.9")}
    judge("http://DB.internal./", "10.1.2.3", "::1", **opened)
    judge("http://a.svc.internal/", "192.168.0.1", **opened)
    judge("http://a.b.svc.internal/", "192.168.0.1", **opened)
    judge("http://10.9.9.9/", **opened)
    for host in ("svc.internal", "xdb.internal", "db.internal.example", "asvc.internal", "db"):
        complaint(f"http://{host}/", "10.1.2.3", **opened)


@pytest.mark.parametrize(
    ("address", "name_it"),
    [
        ("169.254.169.254", "169.254.169.254/32"),
        ("169.254.1.1", "169.254.0.0/16"),
        ("168.63.129.16", "168.63.129.16/32"),
        ("100.100.100.200", "100.100.100.200/32"),
        ("192.0.0.192", "192.0.0.192/32"),
        ("fd00:ec2::254", "fd00:ec2::/32"),
        ("fd00:c1::a9fe:a9fe", "fd00:c1::a9fe:a9fe/128"),
        ("fd00:42::42", "fd00:42::42/128"),
        ("fe80::1", "fe80::/10"),
    ],
)
def test_metadata_must_be_named(address, name_it):
    """Neither a network around them nor a host opens link-local and metadata addresses."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    everything = ("0.0.0.0/0", "::/0", "168.0.0.0/8", "fc00::/7", "100.64.0.0/10", "192.0.0.0/24")
    complaint(url, allow_networks=everything)
    complaint("http://a.example/", address, allow_networks=everything, allow_hosts=("a.example",))
    judge(url, allow_networks=(name_it,))
    judge("http://a.example/", address, allow_networks=(name_it,))


def test_embedded_addresses_are_judged_too():
    """Opening NAT64 opens it for what is open without it."""
    opened = {"allow_networks": ("64:ff9b::/96", "::ffff:0:0/96")}
    judge("http://[64:ff9b::8.8.8.8]/", **opened)
    judge("http://a.example/", "64:ff9b::8.8.8.8", **opened)
    for inside in ("10.0.0.1", "127.0.0.1", "169.254.169.254"):
        complaint(f"http://[64:ff9b::{inside}]/", **opened)
        complaint(f"http://[::ffff:{inside}]/", **opened)
    complaint("http://h/", "64:ff9b::169.254.169.254", allow_hosts=("h",))
    judge("http://[64:ff9b::10.0.0.1]/", allow_networks=("64:ff9b::/96", "10.0.0.0/8"))
    complaint("http://[2002:808:808::5efe:a9fe:a9fe]/", allow_networks=("2002::/16",))


def test_local_nat64_is_opened_by_long_prefixes():
    """With a shorter one the address inside stands where this guard does not look."""
    for network in ("64:ff9b:1::/48", "64:ff9b:1::/64"):
        complaint("http://[64:ff9b:1:a9fe:a9:fe00:808:808]/", allow_networks=(network,))
        complaint("http://[64:ff9b:1::808:808]/", allow_networks=(network,))
    judge("http://[64:ff9b:1::808:808]/", allow_networks=("64:ff9b:1::/96",))
    complaint("http://[64:ff9b:1::a9fe:a9fe]/", allow_networks=("64:ff9b:1::/96",))


def test_own_addresses_are_closed():
    """Also public ones: what listens there may be for the inside. Networks and hosts open them."""
    own = ipaddress.ip_address(PUBLIC)

    def judge_own(url, **settings):
        guard, target = (
            Guard(Settings(**settings), is_own=lambda one: one == own),
            parse_target(url),
        )
        guard.admit(target)
        guard.judge(target, [ipaddress.ip_address("8.8.8.8"), own])

    for url in (f"http://{PUBLIC}/", "http://a.example/"):
        with pytest.raises(Blocked):
            judge_own(url)
        judge_own(url, allow_networks=(f"{PUBLIC}/32",))
    judge_own("http://a.example/", allow_hosts=("a.example",))
    with pytest.raises(Blocked, match="the machine that TaskFlow runs on"):
        judge_own(f"http://{PUBLIC}/")


def test_own_addresses_are_known():
    """Those that the system has, and no others."""
    has_ipv6 = is_own_address(ipaddress.ip_address("::1"))
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for infos in psutil.net_if_addrs().values():
            for info in infos:
                if info.family == family and "%" not in info.address and info.address != host:
                    expected = family == socket.AF_INET or has_ipv6
                    assert is_own_address(ipaddress.ip_address(info.address)) == expected
    for other in (PUBLIC, "8.8.8.8", "2606:4700::1111"):
        assert not is_own_address(ipaddress.ip_address(other))


def test_denied_hosts():
    """They are closed, whatever else is open; addresses can be among them."""
    closed = {
        "deny_hosts": ("evil.example", "*.evil.example", "8.8.8.8"),
        "allow_hosts": ("evil.example",),
        "allow_networks": ("0.0.0.0/0",),
    }
    for host in ("evil.example", "EVIL.example.", "a.evil.example", "8.8.8.8"):
        assert "TASKFLOW_DENY_HOSTS" in complaint(f"http://{host}/", PUBLIC, **closed)
    judge("http://notevil.example/", PUBLIC, **closed)


def test_denied_addresses():
    """However they are written or reached: behind a name, or inside another address."""
    closed = {
        "deny_hosts": ("9.9.9.9", "2606:4700:0:0:0:0:0:1111"),
        "allow_networks": ("64:ff9b::/96",),
    }
    for output in (
        complaint("http://9.9.9.9/", **closed),
        complaint("http://[2606:4700::1111]/", **closed),
        complaint("http://a.example/", PUBLIC, "9.9.9.9", **closed),
        complaint("http://[64:ff9b::9.9.9.9]/", **closed),
        complaint("http://a.example/", "2606:4700::1111", **closed),
    ):
        assert "TASKFLOW_DENY_HOSTS" in output
    judge("http://9.9.9.10/", **closed)


def test_loopback_names_are_this_machine():
    """Whatever a resolver says, and whatever is allowed by name (RFC 6761)."""
    settings = {"allow_hosts": ("localhost", "*.localhost"), "allow_networks": ("10.0.0.0/8",)}
    for answers in ((PUBLIC,), ("10.0.0.1",), ("127.0.0.1", "10.0.0.1")):
        for name in ("localhost", "a.LOCALHOST."):
            output = complaint(f"http://{name}/", *answers, **settings)
            assert "does not resolve to a loopback address" in output
            assert answers[-1] not in output
    judge("http://a.localhost/", "127.0.0.1", "::1", **settings)
    judge("http://a.localhost.example/", PUBLIC, **settings)


def test_hosts_are_read_as_in_urls():
    """In whatever spelling; what is no host is an error at the start."""
    hosts = Hosts(["B\u00fccher.Example.", "[2001:DB8::0:1]", "*.\u00e4.example"], "X")
    assert "xn--bcher-kva.example" in hosts
    assert "2001:db8::1" in hosts
    assert "a.xn--4ca.example" in hosts
    for pattern in ("localhost:8080", "1.2.3", "a..b", "*.1", "*", ""):
        with pytest.raises(SettingsError, match="X: "):
            Hosts([pattern], "X")


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 8000, 8080, 8443, 9000, 65535])
def test_open_ports(port):
    """Those of HTTP, and those above 1023 that nothing else is known for."""
    judge(f"http://a.example:{port}/", PUBLIC)


@pytest.mark.parametrize(
    "port",
    [
        *(1, 21, 22, 23, 25, 53, 81, 110, 389, 445, 636, 993, 1023, 1433, 2049, 2375, 2379, 3306),
        *(3389, 5432, 5672, 6000, 6379, 6443, 6667, 8500, 9042, 9092, 9200, 10250, 10255, 11211),
        *(26379, 27017),
    ],
)
def test_closed_ports(port):
    """System ports, and those of databases, caches, brokers, Docker, Kubernetes, ..."""
    output = complaint(f"http://a.example:{port}/", PUBLIC)
    assert output == f"blocked: port {port} is not allowed; TASKFLOW_ALLOW_PORTS can allow it"


def test_ports_of_an_operator():
    """They stand in the place of the default ones."""
    opened = {"allow_ports": ("8080", "6000-6999")}
    for port in (8080, 6000, 6379, 6999):
        judge(f"http://a.example:{port}/", PUBLIC, **opened)
    for port in (80, 443, 7000):
        complaint(f"http://a.example:{port}/", PUBLIC, **opened)


# Enforcement


class Wire:
    """Stands where connections are made, and leads all of them to a server of the test's."""

    def __init__(self, port):
        self._port = port
        self.dialled = []

    async def dial(self, wanted, port):
        self.dialled.append(([str(address) for address in wanted], port))
        return await dial(addresses("127.0.0.1"), self._port)


@pytest.fixture
async def wire(serve, monkeypatch):
    """The way out: to a server that says where to go on, if anywhere."""

    async def connect(location=None):
        moved = answer(b"", f"Location: {location}", status="302 Found")
        steps = [answer()] if location is None else [moved, answer()]
        looping = [moved] * 10 if location == "/loop" else steps
        server = await serve(*([looping] if location == "/loop" else [[step] for step in steps]))
        made = Wire(server.port)
        monkeypatch.setattr(connection_pool, "dial", made.dial)

        async def plain(stream, _host, _context):
            return PlainStream(stream)

        monkeypatch.setattr(connection_pool, "secure", plain)
        return made

    return connect


ROWS = [
    line.split("\t")
    for line in Path(__file__).with_name("data").joinpath("ssrf.tsv").read_text().splitlines()[1:]
]
ADDRESS = re.compile(r"(?<![\w.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f]*:[0-9a-f:]+)(?![\w.])")


class Names(FakeResolver):
    """Every name has the addresses of the corpus' column; the first answer, then the second."""

    def __init__(self, column):
        super().__init__({})
        self._answers = [self._read(part) for part in column.split(" then ")]

    def _read(self, text):
        if text.startswith("500 A"):
            return [str(ipaddress.IPv4Address(PUBLIC) + n) for n in range(500)]
        return ADDRESS.findall(text.replace(": ", " "))

    async def resolve(self, name):
        answers = self._answers[min(len(self.asked), len(self._answers) - 1)]
        if answers:
            self.table[name] = answers
        return await super().resolve(name)


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row[0]) for row in ROWS],
)
async def test_corpus(wire, row):
    """Each URL of the corpus makes a connection or none, as is right; to judged addresses only."""
    _id, url, _kind, verdict, names, location, _source = row
    resolver = Names(names)
    way = await wire(json.loads(f'"{location}"') or None)
    async with open_fetcher(Settings(), resolver=resolver) as fetcher:
        with trio.fail_after(10):
            outcome = await fetcher.fetch(FetchRequest(json.loads(f'"{url}"')))
    for dialled, port in way.dialled:
        assert all(special_of(ipaddress.ip_address(one)) is None for one in dialled)
        assert port in (80, 443) or port >= 1024
    expected = 1 if location else 0
    if verdict == "allow":
        assert isinstance(outcome, Fetched), outcome
        assert len(way.dialled) == expected + 1
    elif " then " in names and way.dialled:
        assert [dialled for dialled, _ in way.dialled] == [ADDRESS.findall(names)[:1]]
        assert len(resolver.asked) == 1
    else:
        # A Location with a line break breaks the answer itself.
        assert outcome.error_type in REFUSALS | (
            {ErrorType.PROTOCOL} if "\\n" in location else set()
        )
        assert len(way.dialled) == expected


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://127.0.0.1:8080/admin", "127.0.0.1 is a loopback address"),
        ("http://inside.example/", "inside.example does not resolve to public addresses only"),
        ("//[::1]/", "::1 is a loopback address"),
        ("http://outside.example:6379/", "port 6379 is not allowed"),
    ],
)
async def test_redirects_are_judged(wire, location, why):
    """Each hop of a chain goes through the whole guard, and the error says that it was one."""
    resolver = FakeResolver({"outside.example": [PUBLIC], "inside.example": ["10.0.0.1"]})
    way = await wire(location)
    async with open_fetcher(Settings(), resolver=resolver) as fetcher:
        outcome = await fetch_with(fetcher, "http://outside.example/")
    assert is_failure(outcome, ErrorType.BLOCKED, f"redirected to a blocked target: {why}")
    assert len(way.dialled) == 1


async def test_no_second_look_up(wire):
    """A name that changes its mind is connected to where it was judged: it is asked once."""
    resolver = Names(f"{PUBLIC} then 127.0.0.1")
    way = await wire()
    async with open_fetcher(Settings(), resolver=resolver) as fetcher:
        await fetch_with(fetcher, "http://rebind.example/")
    assert way.dialled == [([PUBLIC], 80)]
    assert resolver.asked == ["rebind.example"]


async def test_peers_are_compared(serve):
    """A system that leads to another address than was judged gets no request: 0.0.0.0, say."""
    server = await serve([answer()])
    settings = Settings(allow_networks=("0.0.0.0/8",), allow_ports=OPEN["allow_ports"])
    async with open_fetcher(settings, resolver=FakeResolver({})) as fetcher:
        outcome = await fetch_with(fetcher, f"http://0.0.0.0:{server.port}/")
    assert is_failure(outcome, ErrorType.CONNECT, "the connection led to another address")
    assert server.requests == []


URLS = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["http://", "https://", "HTTP://", "http:", "//", "http:\\\\"]),
        st.text(st.sampled_from("ab.:@[]%0127\\/?# \u3002\uff11"), max_size=20),
        st.sampled_from(["", "127.0.0.1", "[::1]", "a.example", "2130706433", "0x7f.1"]),
        st.text(st.sampled_from("ab.:@[]%012/?#"), max_size=10),
    ),
)
ANSWERS = st.lists(st.ip_addresses(), min_size=1, max_size=3)


@given(URLS, ANSWERS)
@example("http://127.0.0.1\\@a.example/", [ipaddress.ip_address(PUBLIC)])
@example("http://a.example@127.0.0.1/", [ipaddress.ip_address(PUBLIC)])
def test_what_is_connected_to_was_judged(url, answers):
    """For any string: it is refused, or just what was judged is connected to, and all is open."""
    dialled = []

    async def no_way(wanted, _port):
        dialled.extend(wanted)
        raise OSError("no way out")

    class Resolver(FakeResolver):
        async def resolve(self, name):
            self.asked.append(name)
            return tuple(answers)

    async def main():
        resolver = Resolver({})
        async with open_fetcher(Settings(), resolver=resolver) as fetcher:
            outcome = await fetcher.fetch(FetchRequest(url))
        with contextlib.suppress(InvalidUrl):
            target = parse_target(url)
            judged = [target.address] if target.address else answers
            is_open = all(special_of(address) is None for address in judged)
            assert dialled in ([], judged)
            assert is_open or not dialled
            assert resolver.asked in ([], [target.host])
        if not dialled:
            assert outcome.error_type in REFUSALS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_pool, "dial", no_way)
        trio.run(functools.partial(main))
