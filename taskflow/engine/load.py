"""The load of a node: the claims that it holds, and how many more it should make.

A claim is held from the moment it is made until its outcome is written, and can be canceled all
that time: a waiting one never starts, a running fetch is cut off, and an outcome that waits for the
store is dropped.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec
import trio

from taskflow.model.claim_selection import HostShares
from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.store import TaskStore
from taskflow.wakeup import WakeUp

# Tasks are claimed this long ahead: enough to keep workers busy during the next claim, short
# enough that other nodes get their share and a release is cheap.
LOOKAHEAD_SECONDS: Final = 0.1
_RATE_MEMORY_SECONDS: Final = 0.5


class LoadStatistics(msgspec.Struct, frozen=True):
    """Numbers of claims: held in all, and of these waiting for a worker and running."""

    held: int
    waiting: int
    running: int


class Load:
    """Counts a node's claims, from the claim to the written outcome.

    Attributes:
        max_held: Maximum number of claims.
        claims: The claims.
        reconcile_request: Notified when the node may hold claims that it does not know of.
    """

    def __init__(self, *, workers: int, queue_size: int) -> None:
        self._workers = workers
        self._queue_size = queue_size
        # Outcomes that cannot be written yet count as held, which limits them too.
        self.max_held: Final = workers + 2 * queue_size
        self.claims: Final = HeldClaims()
        self.reconcile_request: Final = WakeUp()
        self._held = 0
        self._waiting = 0
        self._running = 0
        # Tokens of claims that are being made.
        self._claiming: set[uuid.UUID] = set()
        # Tasks that wait for a worker or run, by host.
        self._by_host: Counter[str] = Counter()
        # Rate of finished fetches; a burst of starts does not tell when workers will be idle.
        self._finish_rate = _Rate(_RATE_MEMORY_SECONDS)
        self._has_room = WakeUp()

    def __repr__(self) -> str:
        return f"<Load: {self._running} running, {self._waiting} waiting, {self._held} held>"

    @property
    def tokens(self) -> Collection[uuid.UUID]:
        """The tokens of held claims and of claims being made."""
        return self._claiming | {key.token for key in self.claims.keys}

    @contextlib.contextmanager
    def claiming(self, token: uuid.UUID) -> Iterator[None]:
        """Count the token as held while a claim is being made."""
        self._claiming.add(token)
        try:
            yield
        finally:
            self._claiming.remove(token)

    @contextlib.contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Count this many tasks as claimed within the block, while they are being stored."""
        self._held += count
        self._waiting += count
        try:
            yield
        finally:
            self._held -= count
            self._waiting -= count
            self._notify_if_there_is_room()

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Record new claims, which wait for workers."""
        self._held += len(claims)
        self._waiting += len(claims)
        self._by_host.update(claim.authority for claim in claims if claim.authority)
        self.claims.add(claims)

    def started(self) -> None:
        """Record that a worker started a waiting claim, which does not change ``claim_limit``."""
        self._waiting -= 1
        self._running += 1

    def finished(self, claim: Claim) -> None:
        """Record that a worker finished a claim, whose outcome is to be written now."""
        self._running -= 1
        self._remove_from_host(claim.authority)
        self._finish_rate.count()
        self._notify_if_there_is_room()

    def unstarted(self, claim: Claim) -> None:
        """Record that a waiting claim will not be started, and is to be released now."""
        self._waiting -= 1
        self._remove_from_host(claim.authority)

    def written(self, claims: Sequence[Claim]) -> None:
        """Record that the outcomes of claims were written, which ends the claims."""
        self._held -= len(claims)
        self.claims.remove(claims)
        self._notify_if_there_is_room()

    async def wait_for_room(self) -> None:
        """Return once ``claim_limit`` may be positive; it is 0 now."""
        await self._has_room.wait()

    def claim_limit(self) -> int:
        """Return the number of tasks to claim now."""
        return claim_limit(
            idle=self._workers - self._running,
            waiting=self._waiting,
            ahead=min(self._queue_size, int(self._finish_rate.per_second() * LOOKAHEAD_SECONDS)),
            room=self.max_held - self._held,
        )

    def shares(self, limit: int) -> HostShares:
        """Return the claims per host, and the capacity that hosts share if ``limit`` are added.

        Claims ahead of the workers add no capacity: hosts share workers only.
        """
        capacity = min(self._workers, self._running + self._waiting + limit)
        return HostShares(dict(self._by_host), capacity)

    def statistics(self) -> LoadStatistics:
        """Return the current counts."""
        return LoadStatistics(held=self._held, waiting=self._waiting, running=self._running)

    def _remove_from_host(self, host: str) -> None:
        self._by_host[host] -= 1
        if self._by_host[host] <= 0:
            del self._by_host[host]

    def _notify_if_there_is_room(self) -> None:
        """Wake the dispatcher if it can claim: waking it for each finished fetch costs too much."""
        if self.claim_limit():
            self._has_room.notify()


def claim_limit(*, idle: int, waiting: int, ahead: int, room: int) -> int:
    """Return the number of tasks that a node should claim now.

    Args:
        idle: Idle workers.
        waiting: Claims that wait for a worker.
        ahead: Tasks that the workers will start soon.
        room: How many more claims the node may hold.

    Returns:
        Enough for the idle workers and the tasks ahead; 0 while more than half of those ahead
        still wait, so that a busy node makes few large claims instead of many small ones.
    """
    if waiting >= idle + math.ceil(ahead / 2) and waiting:
        return 0
    return max(0, min(idle + ahead - waiting, room))


class _Rate:
    """Events per second, as an exponential moving average."""

    def __init__(self, memory_seconds: float) -> None:
        self._memory_seconds = memory_seconds
        self._rate = 0.0
        self._counted_at = trio.current_time()

    def count(self) -> None:
        now = trio.current_time()
        self._rate = self._rate_at(now) + 1.0 / self._memory_seconds
        self._counted_at = now

    def per_second(self) -> float:
        return self._rate_at(trio.current_time())

    def _rate_at(self, now: float) -> float:
        return self._rate * math.exp((self._counted_at - now) / self._memory_seconds)


class HeldClaim:
    """A claim that the node holds.

    Attributes:
        attempt: The number of the attempt, from 1.
        claimed_at: When it was made, on Trio's clock.
        is_canceled: True if it was canceled, so that nothing is to be written for it.
    """

    __slots__ = ("_scope", "attempt", "claimed_at", "is_canceled")

    def __init__(self, attempt: int, claimed_at: float) -> None:
        self.attempt: Final = attempt
        self.claimed_at: Final = claimed_at
        self.is_canceled = False
        self._scope: trio.CancelScope | None = None

    def runs_in(self, scope: trio.CancelScope) -> None:
        """Cancel this scope when the claim is canceled; it has not been canceled yet."""
        self._scope = scope

    def cancel(self) -> None:
        """Cancel the claim."""
        self.is_canceled = True
        if self._scope is not None:
            self._scope.cancel()


class HeldClaims:
    """The claims of a node."""

    def __init__(self) -> None:
        self._by_key: dict[ClaimKey, HeldClaim] = {}

    @property
    def keys(self) -> Collection[ClaimKey]:
        """The keys of all claims, as a copy."""
        return tuple(self._by_key)

    def __getitem__(self, key: ClaimKey) -> HeldClaim:
        """Return a claim that is held."""
        return self._by_key[key]

    def add(self, claims: Sequence[Claim]) -> None:
        """Add claims that were made now."""
        now = trio.current_time()
        for claim in claims:
            self._by_key[claim.key] = HeldClaim(claim.attempt, now)

    def remove(self, claims: Sequence[Claim]) -> None:
        """Remove claims whose outcomes were written."""
        for claim in claims:
            del self._by_key[claim.key]

    def cancel(self, keys: Iterable[ClaimKey]) -> None:
        """Cancel claims; keys of claims that the node does not hold are ignored."""
        for key in keys:
            if key in self._by_key:
                self._by_key[key].cancel()


async def cancel_claims(claims: HeldClaims, store: TaskStore, node_id: uuid.UUID) -> None:
    """Cancel claims whose tasks are canceled on any node, as notifications arrive."""
    while True:
        claims.cancel(await store.wait_for_cancellations(node_id))
