"""The share of the connections that is open to reads which may take long."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.model.errors import TooManySearches

MAX_WAITING_READS: Final = 50
# Clients are promised an answer within 5 s, and the read itself needs some of that.
WAIT_SECONDS: Final = 2.0


class SlowReads:
    """A limiter in front of that of all connections: half of them at most are for slow reads.

    ``trio.to_thread.run_sync`` takes it for a ``CapacityLimiter``: a read that was given up keeps
    its place for as long as its thread keeps a connection. With a single connection one slow read
    is in the queue for it at a time, so that a submission waits for one at most.

    Args:
        connections: The limiter of all connections.
    """

    def __init__(self, connections: trio.CapacityLimiter) -> None:
        self._connections: Final = connections
        self._places: Final = trio.CapacityLimiter(max(1, int(connections.total_tokens) // 2))

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a place, and then for a connection.

        Raises:
            TooManySearches: Too many reads wait already, or there was no place in time.
        """
        if self._places.statistics().tasks_waiting >= MAX_WAITING_READS:
            raise TooManySearches
        with trio.move_on_after(WAIT_SECONDS) as waiting:
            await self._places.acquire_on_behalf_of(borrower)
        if waiting.cancelled_caught:
            raise TooManySearches
        try:
            await self._connections.acquire_on_behalf_of(borrower)
        except BaseException:
            self._places.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the connection and the place back."""
        self._connections.release_on_behalf_of(borrower)
        self._places.release_on_behalf_of(borrower)
