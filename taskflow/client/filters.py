"""The filters of tasks, and their queries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict

import msgspec

from taskflow.client.arguments import checked_arguments, shown, text, texts_of
from taskflow.client.errors import InvalidArgument
from taskflow.model.filter import tag_text
from taskflow.model.task import TagValue
from taskflow.schema.filters import FILTERS


class Filters(TypedDict, total=False):
    """The filters of tasks; a task must match all of them.

    docs/reference/api.md describes them ("BulkRequest"). A ``datetime`` needs a time zone.
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


KNOWN: Final = frozenset(FILTERS)


@checked_arguments()
def query_of(filters: Filters) -> list[tuple[str, str]]:
    """Return the parameters of a query for filters.

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
    """Return the parameters of a query for tags.

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
