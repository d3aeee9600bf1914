"""Rejected keys in the audit log: the number of entries and of writes is bounded."""

from __future__ import annotations

from collections import Counter

import trio

from taskflow.api.access.rejected_keys import (
    MAX_ADDRESSES,
    PERIOD_SECONDS,
    WRITE_PAUSE_SECONDS,
    RejectedKeys,
)
from taskflow.model.audit import Action, NewEntry
from taskflow.model.errors import StoreUnavailable
from taskflow.store.memory.store import MemoryStore


class Log:
    """What is written; the first writes may fail."""

    def __init__(self, failures: int = 0) -> None:
        self.store = MemoryStore()
        self.writes: list[list[NewEntry]] = []
        self._failures = failures

    async def record(self, entries: list[NewEntry]) -> None:
        self.writes.append(list(entries))
        if len(self.writes) <= self._failures:
            raise StoreUnavailable
        await self.store.audit.record(entries)

    async def counts(self) -> list[tuple[str | None, int]]:
        """The entries by address, the oldest first."""
        page = await self.store.audit.page(limit=1000)
        return [(one.address, one.count) for one in page.entries[::-1]]


async def test_a_flood_from_many_addresses(autojump_clock):
    """A process writes every few seconds, and at most one entry more than its addresses."""
    log = Log()
    rejected_keys = RejectedKeys(log.record)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rejected_keys.run)
        for second in range(60):
            for number in range(1000):
                rejected_keys.count(Action.KEY_REJECTED, f"10.0.{second % 7}.{number % 250}")
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    counts = await log.counts()
    assert len(counts) == MAX_ADDRESSES + 1
    assert sum(count for _, count in counts) == 60_000
    assert [address for address, _ in counts].count(None) == 1
    assert len(log.writes) <= 60 / WRITE_PAUSE_SECONDS + 2


async def test_a_period(autojump_clock):
    """Each hour there is another entry; a network of IPv6 is one address."""
    log = Log()
    rejected_keys = RejectedKeys(log.record)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rejected_keys.run)
        for _ in range(3):
            for address in ("2001:db8::1", "2001:db8::2", None):
                rejected_keys.count(Action.SESSION_REJECTED, address)
            await trio.sleep(PERIOD_SECONDS)
        nursery.cancel_scope.cancel()
    assert Counter(await log.counts()) == {("2001:db8::/64", 2): 3, (None, 1): 3}


async def test_an_outage(autojump_clock):
    """What cannot be written is written later, and is counted once."""
    log = Log(failures=2)
    rejected_keys = RejectedKeys(log.record)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rejected_keys.run)
        for _ in range(5):
            rejected_keys.count(Action.KEY_REJECTED, "192.0.2.1")
            await trio.sleep(WRITE_PAUSE_SECONDS)
        await trio.sleep(WRITE_PAUSE_SECONDS)
        nursery.cancel_scope.cancel()
    assert await log.counts() == [("192.0.2.1", 5)]


async def test_the_end(autojump_clock):
    """What was counted last is written at shutdown."""
    log = Log()
    rejected_keys = RejectedKeys(log.record)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rejected_keys.run)
        rejected_keys.count(Action.KEY_REJECTED, "192.0.2.1")
        await trio.sleep(1)
        rejected_keys.count(Action.KEY_REJECTED, "192.0.2.1")
        nursery.cancel_scope.cancel()
    assert await log.counts() == [("192.0.2.1", 2)]
