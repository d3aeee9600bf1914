"""The query of an event stream, and the position after which it continues."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from taskflow.model.errors import Unprocessable
from taskflow.model.event import EventFilter
from taskflow.schema.query import EVENTS_QUERY, TASK_EVENTS_QUERY

_IN_QUERY: Final = "lastEventId"
_IN_HEADER: Final = "Last-Event-ID"
_POSITION: Final = re.compile("[0-9]{1,18}")
# A position in several cells has 64 bits for each.
_LONG_POSITION: Final = re.compile("[0-9]{1,1250}")


def filter_of(query: Mapping[str, Sequence[str]]) -> EventFilter:
    """Read the filters of ``GET /events``.

    Raises:
        Unprocessable: A parameter is invalid; the message names it.
    """
    query_fields = EVENTS_QUERY.read_query(_in_one_spelling(query))
    tags: dict[str, str] = {}
    for text in query_fields.tag or ():
        name, _, value = text.partition(":")
        if tags.setdefault(name, value) != value:
            raise Unprocessable(f"a task has one value of the tag {name}, not two")
    return EventFilter(queue=query_fields.queue, tags=tags)


def refuse_unknown_of_task(query: Mapping[str, Sequence[str]]) -> None:
    """Check the query of ``GET /tasks/{id}/events`` and ``GET /groups/{id}/events``.

    Raises:
        Unprocessable: It has a parameter that does not exist.
    """
    TASK_EVENTS_QUERY.read_query(_in_one_spelling(query))


def position_of(
    header: str, query: Mapping[str, Sequence[str]], *, has_parts: bool = False
) -> int | None:
    """Read the position after which a stream continues; ``None`` without one.

    Args:
        header: The value of ``Last-Event-ID``, which takes precedence; empty without one.
        query: All parameters of the request.
        has_parts: Whether the store has several parts, and a position in each.

    Raises:
        Unprocessable: A position is invalid, or the query has two.
    """
    given = _in_one_spelling(query).get(_IN_QUERY)
    query_fields = TASK_EVENTS_QUERY.read_query({_IN_QUERY: given} if given else {})
    text = header or query_fields.last_event_id
    shape = _LONG_POSITION if has_parts else _POSITION
    if text and not shape.fullmatch(text):
        raise Unprocessable(f"{_IN_HEADER} must be the id of an event of this service")
    return int(text) if text else None


def _in_one_spelling(query: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Return the parameters with one name for the position, and without an empty one.

    EventSource polyfills send it as ``lastEventId``; ``last_event_id`` and ``Last-Event-ID`` are
    accepted, too.
    """
    others = {name: texts for name, texts in query.items() if not _is_position_name(name)}
    given = [text for name in query.keys() - others.keys() for text in query[name] if text]
    return {**others, _IN_QUERY: given} if given else others


def _is_position_name(name: str) -> bool:
    return name.replace("-", "").replace("_", "").lower() == _IN_QUERY.lower()
