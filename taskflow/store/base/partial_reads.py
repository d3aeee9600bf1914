"""Reads of a store of several parts, of which some may not answer.

Without ``partial_reads``, a read fails if a part does not answer. Within it, the rest is returned,
and the names of the missing parts are noted for the caller.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

_MISSING: Final[ContextVar[set[str] | None]] = ContextVar("missing", default=None)


@contextlib.contextmanager
def partial_reads() -> Iterator[set[str]]:
    """Let reads within the block leave out parts that do not answer; yield their names."""
    missing: set[str] = set()
    token = _MISSING.set(missing)
    try:
        yield missing
    finally:
        _MISSING.reset(token)


def is_partial() -> bool:
    """Return whether a read may leave out parts."""
    return _MISSING.get() is not None


def missing_parts() -> list[str]:
    """Return the names of the parts that reads have left out so far."""
    return sorted(_MISSING.get() or ())


def note_missing(name: str) -> None:
    """Note that a part is left out."""
    missing = _MISSING.get()
    assert missing is not None
    missing.add(name)
