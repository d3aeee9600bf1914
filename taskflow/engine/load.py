"""How much work a node has taken on, and how much more it should take."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec
import trio

from taskflow.engine.cancellation import ClaimsInHand
from taskflow.model.claim_selection import HostShares
from taskflow.model.task import Claim
from taskflow.wakeup import WakeUp

# Work is claimed for so long ahead: enough to keep workers busy while the next claim is on
# its way, short enough that other nodes get their share and a release is cheap.
LOOKAHEAD_SECONDS: Final = 0.1
_RATE_MEMORY_SECONDS: Final = 0.5


class LoadStatistics(msgspec.Struct, frozen=True):
    """What a node has in hand: claims held in all, of them waiting and running."""

    held: int
    waiting: int
    running: int


class Load:
    """Counts a node's claims from the claim to the written outcome.

    Attributes:
        most_held: How many there may be.
        in_hand: Which they are.
        doubts: Rung when the node may hold tasks that it does not know of.
    """

    def __init__(self, *, workers: int, queue_size: int) -> None:
        self._workers = workers
        self._queue_size = queue_size
        # Outcomes that cannot be written yet count as held: so they are bounded too.
        self.most_held: Final = workers + 2 * queue_size
        self._held = 0
        self.in_hand: Final = ClaimsInHand()
        # How many tasks are in hand by each token; one claim takes many tasks by one token.
        self._tokens: Counter[uuid.UUID] = Counter()
        self._claimed_at: dict[uuid.UUID, float] = {}
        # How many wait for a worker or run, by host.
        self._at_host: Counter[str] = Counter()
        self._waiting = 0
        self._running = 0
        # Of ends, not of starts: a burst of starts says nothing about when workers are free.
        self._ends = _Rate(_RATE_MEMORY_SECONDS)
        self._changed = WakeUp()
        self.doubts: Final = WakeUp()

    def __repr__(self) -> str:
        return f"<Load: {self._running} running, {self._waiting} waiting, {self._held} held>"

    @property
    def tokens(self) -> Collection[uuid.UUID]:
        """By which tokens tasks are in hand, or are being claimed."""
        return tuple(self._tokens)

    @contextlib.contextmanager
    def claiming(self, token: uuid.UUID) -> Iterator[None]:
        """Count the token as in hand while the claim is made, whatever comes of it."""
        self._tokens[token] += 1
        try:
            yield
        finally:
            self._let_go(token)

    @contextlib.contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Count so many as claimed within the block: they are just being stored."""
        self._held += count
        self._waiting += count
        try:
            yield
        finally:
            self._held -= count
            self._waiting -= count
            self._changed.notify()

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Tasks were claimed and wait for workers."""
        self._held += len(claims)
        self._waiting += len(claims)
        self._tokens.update(claim.token for claim in claims)
        now = trio.current_time()
        self._claimed_at.update((claim.token, now) for claim in claims)
        self._at_host.update(claim.authority for claim in claims if claim.authority)
        self.in_hand.take(claims)

    def started(self) -> None:
        """A worker took one that waited."""
        self._waiting -= 1
        self._running += 1
        self._changed.notify()

    def ended(self, claim: Claim) -> None:
        """A worker is done with one, whose outcome is now to be written."""
        self._running -= 1
        self._left(claim.authority)
        self._ends.count()
        self._changed.notify()

    def unstarted(self, claim: Claim) -> None:
        """One that waited will not be started, and is now to be released."""
        self._waiting -= 1
        self._left(claim.authority)

    def written(self, claims: Sequence[Claim]) -> None:
        """Outcomes were written; these claims are over."""
        self._held -= len(claims)
        self.in_hand.let_go(claims)
        for claim in claims:
            self._let_go(claim.token)
        self._changed.notify()

    async def wait_for_change(self) -> None:
        """Return once ``claim_limit`` may have changed."""
        await self._changed.wait()

    def claim_limit(self) -> int:
        """How many tasks to claim now."""
        return claim_limit(
            idle=self._workers - self._running,
            waiting=self._waiting,
            ahead=min(self._queue_size, int(self._ends.per_second() * LOOKAHEAD_SECONDS)),
            room=self.most_held - self._held,
        )

    def claimed_at(self, claim: Claim) -> float:
        """When a claim in hand was made, on Trio's clock."""
        return self._claimed_at[claim.token]

    def shares(self, limit: int) -> HostShares:
        """What is in hand for each host, if so many more are to be claimed.

        What is claimed ahead is no place that could be shared: only workers are.
        """
        capacity = min(self._workers, self._running + self._waiting + limit)
        return HostShares(dict(self._at_host), capacity)

    def statistics(self) -> LoadStatistics:
        """The counts of this moment."""
        return LoadStatistics(held=self._held, waiting=self._waiting, running=self._running)

    def _left(self, host: str) -> None:
        self._at_host[host] -= 1
        if self._at_host[host] <= 0:
            del self._at_host[host]

    def _let_go(self, token: uuid.UUID) -> None:
        self._tokens[token] -= 1
        if not self._tokens[token]:
            del self._tokens[token]
            self._claimed_at.pop(token, None)


def claim_limit(*, idle: int, waiting: int, ahead: int, room: int) -> int:
    """How many tasks a node should claim now.

    Args:
        idle: Workers with nothing to do.
        waiting: Tasks claimed already and not started.
        ahead: Tasks that the workers will start soon.
        room: How many more claims the node may hold.

    Returns:
        Enough for the idle and for what is ahead; 0 while more than half of what is ahead
        still waits, so that a busy node claims many at once rather than one by one.
    """
    if waiting >= idle + math.ceil(ahead / 2) and waiting:
        return 0
    return max(0, min(idle + ahead - waiting, room))


class _Rate:
    """Events per second, as an average that forgets exponentially."""

    def __init__(self, memory_seconds: float) -> None:
        self._memory_seconds = memory_seconds
        self._rate = 0.0
        self._counted_at = trio.current_time()

    def count(self) -> None:
        self._rate = self.per_second() + 1.0 / self._memory_seconds
        self._counted_at = trio.current_time()

    def per_second(self) -> float:
        age_seconds = trio.current_time() - self._counted_at
        return self._rate * math.exp(-age_seconds / self._memory_seconds)
