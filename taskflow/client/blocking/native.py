"""What is different without Trio; ``on_trio/native.py`` is its counterpart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def iterator_of(items: Iterable[T]) -> Iterator[T]:
    """One after the other."""
    return iter(items)


def end(chunks: Iterator[bytes]) -> None:
    """Nothing: what comes from a connection ends with its response."""
    del chunks
