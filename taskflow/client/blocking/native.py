"""What is different without Trio; ``on_trio/native.py`` is its counterpart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import httpx

T = TypeVar("T")


def iterator_of(items: Iterable[T]) -> Iterator[T]:
    """One after the other."""
    return iter(items)


def chunks_of(response: httpx.Response) -> Iterator[bytes]:
    """The body of an answer as it comes, without its content coding."""
    return response.iter_bytes()


def end(chunks: Iterator[bytes]) -> None:
    """Nothing: what comes from a connection ends with its response."""
    del chunks
