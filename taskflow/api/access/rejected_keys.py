"""Records rejected keys and sign-ins in the audit log, at a bounded rate.

Any client can send unknown keys at any rate. So rejections are counted in memory, and written every
few seconds: one entry for each address and hour, whose count grows. IPv6 addresses are counted by
their network, and addresses beyond a maximum number share an entry without an address. A rejected
request itself writes nothing.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from taskflow.api.access.rate_limit import network_of
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.errors import StoreError
from taskflow.wakeup import WakeUp

# Maximum number of entries with an address, per process and period.
MAX_ADDRESSES: Final = 100
PERIOD_SECONDS: Final = 3600.0
WRITE_PAUSE_SECONDS: Final = 10.0
# Timeout of the last write, at shutdown.
LAST_WRITE_SECONDS: Final = 0.25

_Source: TypeAlias = tuple[Action, str | None]
"""What was rejected, and the address of the client."""


class RejectedKeys:
    """Counts rejections by address, and records them.

    Args:
        record: Records entries in the audit log.
    """

    def __init__(self, record: Callable[[Sequence[NewEntry]], Awaitable[None]]) -> None:
        self._record: Final = record
        self._counts: Counter[_Source] = Counter()
        # The sources of this period, each with the batch of its entry.
        self._batches: dict[_Source, uuid.UUID] = {}
        self._period_ends_at = 0.0
        self._noted: Final = WakeUp()

    def count(self, action: Action, address: str | None) -> None:
        """Count a rejected key or sign-in from the address of a client."""
        now = trio.current_time()
        if now >= self._period_ends_at:
            self._batches.clear()
            self._period_ends_at = now + PERIOD_SECONDS
        source = (action, network_of(address))
        if source not in self._batches and len(self._batches) >= MAX_ADDRESSES:
            source = (action, None)
        self._batches.setdefault(source, uuid.uuid4())
        self._counts[source] += 1
        self._noted.notify()

    async def run(self) -> None:
        """Write the counts until cancelled, and the remaining counts then."""
        try:
            while True:
                await self._noted.wait()
                await self._write()
                await trio.sleep(WRITE_PAUSE_SECONDS)
        finally:
            with trio.move_on_after(LAST_WRITE_SECONDS, shield=True):
                await self._write()

    async def _write(self) -> None:
        """Write the counts; if the store is unavailable, keep them for the next write."""
        counts = self._counts.copy()
        if not counts:
            return
        try:
            await self._record([self._entry_of(source, n) for source, n in counts.items()])
        except StoreError:
            self._noted.notify()
        else:
            self._counts -= counts

    def _entry_of(self, source: _Source, count: int) -> NewEntry:
        action, address = source
        batch = self._batches.setdefault(source, uuid.uuid4())
        return NewEntry(action=action, actor=Actor(address=address), count=count, batch=batch)
