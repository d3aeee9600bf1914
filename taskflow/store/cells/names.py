"""Pages by name of several cells as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def merged_names(
    pages: Iterable[tuple[Sequence[Item], str | None]], limit: int, name_of: Callable[[Item], str]
) -> tuple[list[Item], str | None]:
    """Return one page of several, by name, and the name that the next page is after.

    A page that has a next one is known up to that name only, so nothing after it is returned.
    """
    pages = list(pages)
    bound = min((bound for _, bound in pages if bound is not None), default=None, key=_order)
    items = sorted(
        (one for items, _ in pages for one in items), key=lambda one: _order(name_of(one))
    )
    known = [one for one in items if bound is None or _order(name_of(one)) <= _order(bound)]
    if len(known) > limit or (len(known) == limit and len(known) < len(items)):
        return known[:limit], name_of(known[limit - 1])
    return known, bound


def _order(name: str) -> bytes:
    return name.encode()  # byte by byte, as in the stores
