"""Ctrl+C: the first ends what is under way in order, the second one at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import trio

T = TypeVar("T")


async def interruptible(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, which is cancelled by the first Ctrl+C.

    Trio's own way raises wherever the program happens to be, in the midst of others' code too,
    which then leaves open what it was about to close. That is left for the second Ctrl+C: who
    writes to a pipe that nobody reads is at no checkpoint.

    Raises:
        KeyboardInterrupt: It was cancelled.
    """
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        token.run_sync_soon(scope.cancel)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with scope:
            return await work()
    finally:
        signal.signal(signal.SIGINT, before)
    raise KeyboardInterrupt


@contextlib.contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Let the first Ctrl+C raise here, where a person is asked and nothing else goes on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
