"""The two event loops that the client runs on, as the tests of the client need them.

Each asynchronous test of this folder runs on both (``conftest.py``), so it uses these functions in
place of Trio's or asyncio's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import anyio
import sniffio
import trio

LOOPS = ("trio", "asyncio")


def run(loop: str, function: Callable[..., Awaitable], *args: object) -> object:
    """Run an asynchronous function on an event loop of this kind."""
    if loop == "trio":
        return trio.run(function, *args)
    # Not asyncio.run: trio-asyncio, which the store uses, has it run on a loop on Trio.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(function(*args))


def is_on_trio() -> bool:
    return sniffio.current_async_library() == "trio"


def current_time() -> float:
    return trio.current_time() if is_on_trio() else asyncio.get_running_loop().time()


async def sleep(seconds: float) -> None:
    await (trio if is_on_trio() else asyncio).sleep(seconds)


def move_on_after(seconds: float) -> contextlib.AbstractContextManager:
    return (trio if is_on_trio() else anyio).move_on_after(seconds)


@contextlib.asynccontextmanager
async def beside(function: Callable[[], Awaitable[None]]):
    """Run another function while the block runs, and wait for it at the end."""
    if is_on_trio():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)
            yield
    else:
        async with asyncio.TaskGroup() as group:
            group.create_task(function())
            yield


async def in_thread(function: Callable[..., object], *args: object) -> object:
    """Call a function that blocks, in a thread."""
    if is_on_trio():
        return await trio.to_thread.run_sync(function, *args)
    return await asyncio.to_thread(function, *args)
