"""Browsers, and the pages of others in them: what answers tell them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

RawField: TypeAlias = tuple[bytes, bytes]

# On every answer, unless it says otherwise itself. There is nothing here to be run, framed or
# guessed at, and what belongs to one client is not for a cache that others share.
DEFENCES: Final[tuple[RawField, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def defended(fields: Iterable[RawField]) -> list[RawField]:
    """The header fields of an answer, with the defences that it has not."""
    kept = list(fields)
    names = {name.lower() for name, _ in kept}
    return [*kept, *(field for field in DEFENCES if field[0] not in names)]
