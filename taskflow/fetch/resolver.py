"""Resolves names to addresses, with limits against names that hang."""

from __future__ import annotations

import abc
import contextlib
import copy
import ipaddress
import itertools
import math
import socket
from collections import Counter, OrderedDict
from collections.abc import Container
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import trio

from taskflow.fetch.errors import NameNotResolved
from taskflow.fetch.guard import MAX_ADDRESSES
from taskflow.model.hostname import Address

Answer: TypeAlias = tuple[Address, ...] | Exception

HOSTS_FILE: Final = Path("/etc/hosts")

DOMAINS_TO_FILL_ALL: Final = 4
"""Number of domains that must hang before their names occupy all threads."""

PARTS: Final = {2: 1, 3: 2}
"""By number of labels, the divisor of a domain's share of the threads."""

BUSY_SECONDS: Final = 1.0
"""Maximum time that a name waits for a thread."""

JOINABLE_SECONDS: Final = 5.0
"""Age up to which a pending lookup is joined; later requests for its name fail at once."""

CACHE_SECONDS: Final = 300.0
MAX_CACHED_NAMES: Final = 1024
MAX_CACHED_NAMES_PER_DOMAIN: Final = 64
"""Limits of the cache that answers while no thread is free."""


class Resolver(abc.ABC):
    """Resolves names. ``SystemResolver`` implements it; tests use a fake."""

    @abc.abstractmethod
    async def resolve(self, name: str) -> tuple[Address, ...]:
        """Return the addresses of a name in order of preference.

        Raises:
            socket.gaierror: The name does not resolve.
            NameNotResolved: It has no address, or could not be looked up in time.
        """


class ResolverStatistics(msgspec.Struct, frozen=True):
    """Counters of a ``SystemResolver``.

    Attributes:
        under_way: Pending lookups; each occupies a thread.
        abandoned: Pending lookups without a waiting fetch.
        shared: Number of requests that joined a pending lookup.
        recalled: Number of requests answered from the cache because no thread was free.
        refused: Number of requests that failed because no thread was free.
    """

    under_way: int
    abandoned: int
    shared: int
    recalled: int
    refused: int


class SystemResolver(Resolver):
    """Resolves names with ``getaddrinfo``, and so with the system's hosts file and resolv.conf.

    ``getaddrinfo`` cannot be cancelled: a lookup continues in its thread after the last waiting
    fetch has left, until the system gives up (by default after 10 to 30 s). To keep hanging names
    from blocking others:

    - A name has at most one pending lookup. Further requests join it, or fail at once if it has
      been pending for too long.
    - The names of one domain (the last two labels: one owner controls how long they take) get only
      a share of the threads, and those with the same last three labels a part of it (one owner
      under a public suffix such as ``co.uk``).
    - A request without a free thread for ``BUSY_SECONDS`` gets the addresses found some minutes
      ago, or fails with an error that is retried.

    Args:
        threads: Maximum number of concurrent lookups.
        relative_names: Names to which the search list of resolv.conf applies. All others are looked
            up as absolute names.
    """

    def __init__(self, threads: int, relative_names: Container[str] = ()) -> None:
        self._threads = threads
        self._relative_names = relative_names
        self._shares = {
            labels: max(1, threads // DOMAINS_TO_FILL_ALL // part) for labels, part in PARTS.items()
        }
        self._under_way: dict[str, _Lookup] = {}
        self._domains: Counter[str] = Counter()
        self._thread_freed = trio.lowlevel.ParkingLot()
        self._found = _Found()
        self._shared = 0
        self._recalled = 0
        self._refused = 0

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """See ``Resolver``."""
        lookup = self._joined(name)
        if lookup is None and await self._has_thread_for(name):
            lookup = self._joined(name) or self._begin(name)
        addresses = await lookup.answer() if lookup else self._recall(name)
        if not addresses:
            raise NameNotResolved(f"{name}: no address found")
        return addresses

    def statistics(self) -> ResolverStatistics:
        """Return the counters."""
        return ResolverStatistics(
            under_way=len(self._under_way),
            abandoned=sum(not lookup.waiting for lookup in self._under_way.values()),
            shared=self._shared,
            recalled=self._recalled,
            refused=self._refused,
        )

    def _joined(self, name: str) -> _Lookup | None:
        """Return the pending lookup of a name to join, if there is one."""
        lookup = self._under_way.get(name)
        if lookup is None:
            return None
        if trio.current_time() - lookup.began > JOINABLE_SECONDS:
            raise NameNotResolved(f"{name}: the lookup is pending, without an answer so far")
        self._shared += 1
        return lookup

    async def _has_thread_for(self, name: str) -> bool:
        """Wait up to ``BUSY_SECONDS`` for a thread."""
        with trio.move_on_after(BUSY_SECONDS):
            while not self._has_room_for(name):
                await self._thread_freed.park()
            return True
        return False

    def _has_room_for(self, name: str) -> bool:
        return (
            len(self._under_way) < self._threads
            and all(
                self._domains[_domain_of(name, labels)] < share
                for labels, share in self._shares.items()
            )
        ) or name in self._under_way

    def _begin(self, name: str) -> _Lookup:
        lookup, is_relative = _Lookup(name), name in self._relative_names
        token = trio.lowlevel.current_trio_token()

        def look_up() -> None:
            answer = _look_up_or_error(name, is_relative=is_relative)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._end, lookup, answer)

        try:
            trio.lowlevel.start_thread_soon(look_up, lambda _nothing: None, f"look up {name}")
        except RuntimeError as error:
            raise NameNotResolved(f"{name}: no thread can be started for the lookup") from error
        self._under_way[name] = lookup
        self._domains.update(_domains_of(name))
        return lookup

    def _end(self, lookup: _Lookup, answer: Answer) -> None:
        del self._under_way[lookup.name]
        self._domains.subtract(_domains_of(lookup.name))
        self._domains += Counter()  # drops zero counts
        if isinstance(answer, tuple):
            self._found.keep(lookup.name, answer)
        lookup.end(answer)
        self._thread_freed.unpark_all()

    def _recall(self, name: str) -> tuple[Address, ...]:
        addresses = self._found.recall(name)
        if addresses:
            self._recalled += 1
            return addresses
        self._refused += 1
        raise NameNotResolved(f"{name}: too many lookups are pending; try again later")


class _Lookup:
    """A pending lookup in a thread, shared by all fetches that wait for it.

    Attributes:
        name: The name.
        began: When it began.
        waiting: Number of fetches that wait for it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = trio.current_time()
        self.waiting = 0
        self._ended = trio.Event()
        self._answer: Answer = ()

    async def answer(self) -> tuple[Address, ...]:
        """Wait for the addresses, or raise the error of the lookup."""
        self.waiting += 1
        try:
            await self._ended.wait()
        finally:
            self.waiting -= 1
        if isinstance(self._answer, Exception):
            raise copy.copy(self._answer)  # each waiting task adds its own traceback
        return self._answer

    def end(self, answer: Answer) -> None:
        """Wake all waiting fetches."""
        self._answer = answer
        self._ended.set()


class _Found:
    """A cache of recent addresses, used while no thread is free."""

    def __init__(self) -> None:
        self._by_name: OrderedDict[str, tuple[float, tuple[Address, ...]]] = OrderedDict()
        # Names of one domain evict each other, not the names of other domains.
        self._by_domain: dict[str, OrderedDict[str, None]] = {}

    def keep(self, name: str, addresses: tuple[Address, ...]) -> None:
        self._by_name[name] = (trio.current_time(), addresses)
        self._by_name.move_to_end(name)
        siblings = self._by_domain.setdefault(_domain_of(name, 2), OrderedDict())
        siblings[name] = None
        siblings.move_to_end(name)
        if len(siblings) > MAX_CACHED_NAMES_PER_DOMAIN:
            self._forget(next(iter(siblings)))
        if len(self._by_name) > MAX_CACHED_NAMES:
            self._forget(next(iter(self._by_name)))

    def _forget(self, name: str) -> None:
        del self._by_name[name]
        siblings = self._by_domain[_domain_of(name, 2)]
        del siblings[name]
        if not siblings:
            del self._by_domain[_domain_of(name, 2)]

    def recall(self, name: str) -> tuple[Address, ...]:
        """Return the cached addresses; empty if there are none or they have expired."""
        at, addresses = self._by_name.get(name, (-math.inf, ()))
        return addresses if trio.current_time() - at < CACHE_SECONDS else ()


def _domains_of(name: str) -> set[str]:
    return {_domain_of(name, labels) for labels in PARTS}


def _domain_of(name: str, labels: int) -> str:
    return ".".join(name.split(".")[-labels:])


def _look_up_or_error(name: str, *, is_relative: bool) -> Answer:
    try:
        return _look_up(name, is_relative=is_relative)
    except Exception as error:  # noqa: BLE001 - raised in the waiting task
        return error


def _look_up(name: str, *, is_relative: bool) -> tuple[Address, ...]:
    # The dot makes the name absolute: the search list of resolv.conf would turn it into a name that
    # the guard has not checked. As bytes, because Python would apply its own, older IDNA.
    asked = name if is_relative or name in names_of_hosts_file() else f"{name}."
    answers = socket.getaddrinfo(asked.encode("ascii"), None, type=socket.SOCK_STREAM)
    found = (_address_of(family, str(sockaddr[0])) for family, _, _, _, sockaddr in answers)
    addresses = dict.fromkeys(address for address in found if address)
    return tuple(
        itertools.islice(addresses, MAX_ADDRESSES + 1)
    )  # one more than allowed: the guard rejects it


def _address_of(family: int, text: str) -> Address | None:
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(text)
    # An address with a zone is link-local, which no public name has.
    return ipaddress.IPv6Address(text) if family == socket.AF_INET6 and "%" not in text else None


def names_of_hosts_file() -> set[str]:
    """Return the names in the hosts file in lower case; the file has no absolute names."""
    try:
        lines = HOSTS_FILE.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {name.lower() for line in lines for name in line.partition("#")[0].split()[1:]}
