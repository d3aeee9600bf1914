"""What is different without an event loop; ``asynchronous/native.py`` is its counterpart."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import httpx

T = TypeVar("T")


def current_time() -> float:
    """Return the time on a clock that never goes back, in seconds."""
    return time.monotonic()


def current_loop() -> object:
    """Return the same each time: connections are not of a thread."""
    return None


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def iterator_of(items: Iterable[T]) -> Iterator[T]:
    """One after the other."""
    return iter(items)


def chunks_of(response: httpx.Response) -> Iterator[bytes]:
    """The body of an answer as it comes, without its content coding."""
    return response.iter_bytes()


def end(chunks: Iterator[bytes]) -> None:
    """Nothing: what comes from a connection ends with its response."""
    del chunks
