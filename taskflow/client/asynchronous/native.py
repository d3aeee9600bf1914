"""What only an event loop needs, on asyncio and Trio; ``blocking/native.py`` is its counterpart.

No module beside this one knows which of the two runs. On Trio, only Trio is used: AnyIO 3, which
the extra ``server`` installs, does not work with a current Trio. On asyncio, httpx stands on AnyIO,
and what is used of it here is the same in AnyIO 3 and 4.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import anyio
import httpx

T = TypeVar("T")


def current_time() -> float:
    """Return the time on the clock of the event loop, in seconds."""
    if _is_on_trio():
        now: float = sys.modules["trio"].current_time()
        return now
    return asyncio.get_running_loop().time()


def current_loop() -> object:
    """Return the event loop that runs this; each has connections of its own."""
    if _is_on_trio():
        run: object = sys.modules["trio"].lowlevel.current_trio_token()
        return run
    return asyncio.get_running_loop()


async def sleep(seconds: float) -> None:
    """Wait, on the clock of the event loop."""
    await (sys.modules["trio"] if _is_on_trio() else asyncio).sleep(seconds)


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
    with _canceled_scope():
        async for _ in chunks:
            pass  # what had come already


def _canceled_scope() -> AbstractContextManager[Any]:
    scope = (sys.modules["trio"] if _is_on_trio() else anyio).CancelScope()
    scope.cancel()
    canceled: AbstractContextManager[Any] = scope
    return canceled


def _is_on_trio() -> bool:
    """Whether Trio runs this; asyncio users need not have it.

    As httpcore finds out: both must agree, also where Trio and asyncio share a thread.
    """
    if "trio" not in sys.modules:
        return False
    import sniffio  # noqa: PLC0415 - a dependency of Trio, so it is there

    return sniffio.current_async_library() == "trio"


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
