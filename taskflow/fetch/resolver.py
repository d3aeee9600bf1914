"""The seam to name resolution: a name in, addresses out."""

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
"""How many domains must hang before their names hold all threads."""

PARTS: Final = {2: 1, 3: 2}
"""By number of labels, of what part of a domain's share the names under them may take."""

BUSY_SECONDS: Final = 1.0
"""How long a name waits for a thread."""

HOPELESS_SECONDS: Final = 5.0
"""A lookup that takes longer is not joined any more: whoever would is told so at once."""

RECALLED_SECONDS: Final = 300.0
MAX_RECALLED: Final = 1024
MAX_RECALLED_OF_A_DOMAIN: Final = 64
"""For how long, and for how many names, what was found is remembered for hard times."""


class Resolver(abc.ABC):
    """Finds the addresses of a name. ``SystemResolver`` asks the system; tests bring a fake."""

    @abc.abstractmethod
    async def resolve(self, name: str) -> tuple[Address, ...]:
        """The addresses of a name, the preferred first.

        Raises:
            socket.gaierror: The name does not resolve.
            NameNotResolved: It does, but to nothing.
        """


class ResolverStatistics(msgspec.Struct, frozen=True):
    """How the lookups of a ``SystemResolver`` stand.

    Attributes:
        under_way: Names that are being looked up, each of which holds a thread.
        abandoned: Those of them that nobody waits for any more.
        shared: How often somebody waited for a lookup that another had begun.
        recalled: How often a name that was found before was not looked up for want of a thread.
        refused: How often there was no thread, and no answer to be recalled.
    """

    under_way: int
    abandoned: int
    shared: int
    recalled: int
    refused: int


class SystemResolver(Resolver):
    """Asks ``getaddrinfo``, which reads hosts files and resolv.conf as the system does.

    ``getaddrinfo`` cannot be cancelled: a lookup goes on in its thread after the last who
    waited for it has left, until the system gives up (by default after 10 to 30 s). So that
    names that hang cannot keep others from being looked up:

    - A name is looked up once at a time; whoever else asks for it waits for the same answer,
      and is told at once if that has been waited for too long already.
    - The names under one domain (its last two labels: whoever owns it decides how long they
      take) have a share of the threads only, and those under its last three a part of that (under
      a public suffix such as ``co.uk`` that is one owner).
    - Whoever gets no thread in ``BUSY_SECONDS`` is told what was found for the name some
      minutes ago, or that it cannot be found out now, which is worth another attempt.

    Args:
        threads: How many names may be looked up at once.
        relative_names: Those that the search list of resolv.conf may complete. All others are
            looked up as they stand.
    """

    def __init__(self, threads: int, relative_names: Container[str] = ()) -> None:
        self._threads = threads
        self._relative_names = relative_names
        self._shares = {
            labels: max(1, threads // DOMAINS_TO_FILL_ALL // part) for labels, part in PARTS.items()
        }
        self._under_way: dict[str, _Lookup] = {}
        self._domains: Counter[str] = Counter()
        self._thread_came_back = trio.lowlevel.ParkingLot()
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
            raise NameNotResolved(f"{name}: there is no address")
        return addresses

    def statistics(self) -> ResolverStatistics:
        """How its lookups stand."""
        return ResolverStatistics(
            under_way=len(self._under_way),
            abandoned=sum(not lookup.waiting for lookup in self._under_way.values()),
            shared=self._shared,
            recalled=self._recalled,
            refused=self._refused,
        )

    def _joined(self, name: str) -> _Lookup | None:
        """The lookup of this name that is under way, if there is one to be hoped for."""
        lookup = self._under_way.get(name)
        if lookup is None:
            return None
        if trio.current_time() - lookup.began > HOPELESS_SECONDS:
            raise NameNotResolved(f"{name}: it has been asked for, and there is no answer")
        self._shared += 1
        return lookup

    async def _has_thread_for(self, name: str) -> bool:
        """Wait until this name may be looked up, but not for long."""
        with trio.move_on_after(BUSY_SECONDS):
            while not self._has_room_for(name):
                await self._thread_came_back.park()
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
            raise NameNotResolved(f"{name}: no thread can be started to ask for it") from error
        self._under_way[name] = lookup
        self._domains.update(_domains_of(name))
        return lookup

    def _end(self, lookup: _Lookup, answer: Answer) -> None:
        del self._under_way[lookup.name]
        self._domains.subtract(_domains_of(lookup.name))
        self._domains += Counter()  # drops what is zero
        if isinstance(answer, tuple):
            self._found.keep(lookup.name, answer)
        lookup.end(answer)
        self._thread_came_back.unpark_all()

    def _recall(self, name: str) -> tuple[Address, ...]:
        addresses = self._found.recall(name)
        if addresses:
            self._recalled += 1
            return addresses
        self._refused += 1
        raise NameNotResolved(
            f"{name}: too many names are being looked up that are not answered; try again later"
        )


class _Lookup:
    """A name that is being looked up in a thread, for all who wait for it.

    Attributes:
        name: Which.
        began: When.
        waiting: How many wait for the answer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = trio.current_time()
        self.waiting = 0
        self._ended = trio.Event()
        self._answer: Answer = ()

    async def answer(self) -> tuple[Address, ...]:
        """Wait for the answer, or raise what the lookup raised."""
        self.waiting += 1
        try:
            await self._ended.wait()
        finally:
            self.waiting -= 1
        if isinstance(self._answer, Exception):
            raise copy.copy(self._answer)  # each who waits puts a traceback of its own on it
        return self._answer

    def end(self, answer: Answer) -> None:
        """Tell all who wait."""
        self._answer = answer
        self._ended.set()


class _Found:
    """What was found lately, for times in which nothing can be looked up."""

    def __init__(self) -> None:
        self._by_name: OrderedDict[str, tuple[float, tuple[Address, ...]]] = OrderedDict()
        # So that the names of one domain push out each other, and not those of others.
        self._by_domain: dict[str, OrderedDict[str, None]] = {}

    def keep(self, name: str, addresses: tuple[Address, ...]) -> None:
        self._by_name[name] = (trio.current_time(), addresses)
        self._by_name.move_to_end(name)
        siblings = self._by_domain.setdefault(_domain_of(name, 2), OrderedDict())
        siblings[name] = None
        siblings.move_to_end(name)
        if len(siblings) > MAX_RECALLED_OF_A_DOMAIN:
            self._forget(next(iter(siblings)))
        if len(self._by_name) > MAX_RECALLED:
            self._forget(next(iter(self._by_name)))

    def _forget(self, name: str) -> None:
        del self._by_name[name]
        siblings = self._by_domain[_domain_of(name, 2)]
        del siblings[name]
        if not siblings:
            del self._by_domain[_domain_of(name, 2)]

    def recall(self, name: str) -> tuple[Address, ...]:
        """What was found, unless that is too long ago; nothing then."""
        at, addresses = self._by_name.get(name, (-math.inf, ()))
        return addresses if trio.current_time() - at < RECALLED_SECONDS else ()


def _domains_of(name: str) -> set[str]:
    return {_domain_of(name, labels) for labels in PARTS}


def _domain_of(name: str, labels: int) -> str:
    return ".".join(name.split(".")[-labels:])


def _look_up_or_error(name: str, *, is_relative: bool) -> Answer:
    try:
        return _look_up(name, is_relative=is_relative)
    except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for it
        return error


def _look_up(name: str, *, is_relative: bool) -> tuple[Address, ...]:
    # The dot keeps the search list of resolv.conf out: it would make another name of this one,
    # which nobody has judged. As bytes, or Python would run its own, older IDNA over a name that
    # is ready.
    asked = name if is_relative or name in names_of_hosts_file() else f"{name}."
    answers = socket.getaddrinfo(asked.encode("ascii"), None, type=socket.SOCK_STREAM)
    found = (_address_of(family, str(sockaddr[0])) for family, _, _, _, sockaddr in answers)
    addresses = dict.fromkeys(address for address in found if address)
    return tuple(itertools.islice(addresses, MAX_ADDRESSES + 1))  # the guard sees if it is too many


def _address_of(family: int, text: str) -> Address | None:
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(text)
    # A zone would make it link-local, which no public name has.
    return ipaddress.IPv6Address(text) if family == socket.AF_INET6 and "%" not in text else None


def names_of_hosts_file() -> set[str]:
    """The names in it, in small letters: they are found there only if written without a dot."""
    try:
        lines = HOSTS_FILE.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {name.lower() for line in lines for name in line.partition("#")[0].split()[1:]}
