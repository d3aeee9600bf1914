"""How tasks are looked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict

import msgspec

from taskflow.client.arguments import checked_arguments, shown, text, texts_of
from taskflow.client.errors import InvalidArgument
from taskflow.model.filter import tag_text
from taskflow.model.task import TagValue


class Filters(TypedDict, total=False):
    """Which tasks are meant; all that is given must hold.

    Attributes:
        status: Their status is this, or one of several.
        queue: They stand in this queue.
        tags: They have all of these.
        host: Their URL has this host.
        error_type: Their last attempt failed for this reason.
        created_after: They were handed in then or later.
        created_before: They were handed in earlier.
        finished_after: They ended then or later.
        finished_before: They ended earlier.
        url_contains: Their URL has this text in it.
    """

    status: str | Sequence[str]
    queue: str
    tags: Mapping[str, TagValue]
    host: str
    error_type: str
    created_after: dt.datetime
    created_before: dt.datetime
    finished_after: dt.datetime
    finished_before: dt.datetime
    url_contains: str


KNOWN: Final = frozenset(Filters.__annotations__)


@checked_arguments()
def query_of(filters: Filters) -> list[tuple[str, str]]:
    """The same as parameters of a query.

    Raises:
        InvalidArgument: There is no such filter, or a value of one cannot be used.
    """
    if unknown := filters.keys() - KNOWN:
        raise TypeError(
            f"there is no filter {min(unknown)!r}; known are {', '.join(sorted(KNOWN))}"
        )
    return list(_parameters(filters))


@checked_arguments()
def tag_query(tags: Mapping[str, TagValue]) -> list[tuple[str, str]]:
    """Tags as parameters of a query.

    Raises:
        InvalidArgument: They are not tags.
    """
    if not isinstance(tags, Mapping):
        raise InvalidArgument(f"tags must be a mapping, not {shown(tags)}")
    return [("tag", f"{name}:{tag_text(value)}") for name, value in tags.items()]


def _parameters(filters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in filters.items():
        if name == "tags":
            yield from tag_query(value)
        elif isinstance(value, str):
            yield name, text(name, value)
        elif isinstance(value, dt.datetime):
            yield name, msgspec.json.decode(msgspec.json.encode(value), type=str)
        else:
            yield name, ",".join(texts_of(name, value))
