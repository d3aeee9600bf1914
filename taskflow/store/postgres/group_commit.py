"""Group commit: callers that arrive while a batch is being written share the next one."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import trio

from taskflow.model.errors import StatementRejected, StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH_ITEMS: Final = 1000
MAX_BATCH_BYTES: Final = 8 * 2**20


class _Group(Generic[Item, Result]):
    """The items of one caller, and their results."""

    def __init__(self, items: Sequence[Item], size_bytes: int) -> None:
        self.items = items
        self.size_bytes = size_bytes
        self.is_done = trio.Event()
        self._results: list[Result] = []
        self._error: Exception | None = None

    def succeed(self, results: list[Result]) -> None:
        self._results = results
        self.is_done.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self.is_done.set()

    def unwrap(self) -> list[Result]:
        if self._error is not None:
            raise self._error
        return self._results


class GroupCommit(Generic[Item, Result]):
    """Collects the items of concurrent callers in batches, and writes one batch at a time.

    A single caller does not wait: a batch consists of the items that have arrived when the previous
    one is written.

    Args:
        write: Writes items and returns their results in order.
        size_of: Returns the size of an item in bytes.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[list[Result]]],
        size_of: Callable[[Item], int],
    ) -> None:
        self._write = write
        self._size_of = size_of
        self._waiting: list[_Group[Item, Result]] = []
        self._arrived = trio.Event()

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Write the items, and return their results in order.

        A caller that is cancelled while its batch is being written does not stop the
        batch, so its items may be written all the same.

        Raises:
            StoreUnavailable: As ``write`` does.
        """
        group = _Group[Item, Result](items, sum(map(self._size_of, items)))
        self._waiting.append(group)
        self._arrived.set()
        try:
            await group.is_done.wait()
        except trio.Cancelled:
            if group in self._waiting:
                self._waiting.remove(group)
            raise
        return group.unwrap()

    async def run(self) -> None:
        """Write batches until cancelled; then all waiting callers fail."""
        try:
            while True:
                await self._arrived.wait()
                await self._commit(self._take())
        finally:
            for group in self._waiting:
                group.fail(StoreUnavailable("the task store is closing"))

    def _take(self) -> list[_Group[Item, Result]]:
        """Remove the oldest groups, up to the limits; a larger group goes alone."""
        taken, count, size_bytes = 0, 0, 0
        for group in self._waiting:
            count += len(group.items)
            size_bytes += group.size_bytes
            if taken and (count > MAX_BATCH_ITEMS or size_bytes > MAX_BATCH_BYTES):
                break
            taken += 1
        groups, self._waiting = self._waiting[:taken], self._waiting[taken:]
        if not self._waiting:
            self._arrived = trio.Event()
        return groups

    async def _commit(self, groups: list[_Group[Item, Result]]) -> None:
        if not groups:
            return
        try:
            results = await self._write([item for group in groups for item in group.items])
        except StatementRejected as error:
            await self._commit_apart(groups, error)
        except StoreUnavailable as error:
            for group in groups:
                group.fail(StoreUnavailable(str(error)))
        except Exception as error:  # noqa: BLE001 - raised to the caller of these items
            await self._commit_apart(groups, error)
        except BaseException:
            for group in groups:
                group.fail(StoreUnavailable("the task store is closing"))
            raise
        else:
            in_order = iter(results)
            for group in groups:
                group.succeed(list(itertools.islice(in_order, len(group.items))))

    async def _commit_apart(self, groups: list[_Group[Item, Result]], error: Exception) -> None:
        """Write the groups one by one, because the items of one caller were refused."""
        if len(groups) == 1:
            groups[0].fail(error)
            return
        for group in groups:
            await self._commit([group])
