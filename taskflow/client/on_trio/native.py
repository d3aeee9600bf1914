"""What only Trio needs; ``blocking/native.py`` is its counterpart."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Generic, TypeVar

import httpx
import trio

T = TypeVar("T")


def iterator_of(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """One after the other, whatever they come from."""
    return aiter(items) if isinstance(items, AsyncIterable) else _Iterated(iter(items))


def chunks_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body of an answer as it comes, without its content coding."""
    return response.aiter_bytes()


async def end(chunks: AsyncIterator[bytes]) -> None:
    """End what comes from a connection before it is over.

    It is made of generators within generators, which end in order by an exception at the
    innermost one alone: closed from outside, those within would be left to the garbage collector.
    """
    with trio.CancelScope() as scope:
        scope.cancel()
        async for _ in chunks:
            pass  # what had come already


class _Iterated(Generic[T]):
    """An iterator as an asynchronous one."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> _Iterated[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None
