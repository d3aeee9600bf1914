"""The query of an event stream, and the position after which it continues."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.api.reading.rules import NAME
from taskflow.api.reading.unknown_fields import unknown_parameters
from taskflow.model.errors import Unprocessable
from taskflow.model.event import EventFilter
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import MAX_TAGS, QueueName

_POSITION: Final = re.compile("[0-9]{1,18}")
_IN_QUERY: Final = "lastEventId"

LastEventId: TypeAlias = Annotated[str, Meta(pattern="^[0-9]{1,18}$(?!\n)", max_length=18)]
TagText: TypeAlias = Annotated[
    str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:[^\x00-\x1f\x7f]*$(?!\n)", max_length=321)
]


class TaskEventsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /tasks/{id}/events``.

    Attributes:
        lastEventId: The id of the last event that was received, for clients that cannot set the
            header ``Last-Event-ID``, which takes precedence.
    """

    last_event_id: LastEventId | None = msgspec.field(default=None, name=_IN_QUERY)


class EventsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /events``.

    Attributes:
        queue: Only what happens in this queue.
        tag: Only what happens to tasks with this tag, as ``name:value``; may be given for several
            tags.
        lastEventId: The id of the last event that was received, for clients that cannot set the
            header ``Last-Event-ID``, which takes precedence.
    """

    queue: QueueName | None = None
    tag: list[TagText] | None = None
    last_event_id: LastEventId | None = msgspec.field(default=None, name=_IN_QUERY)


def filter_of(query: Mapping[str, Sequence[str]]) -> EventFilter:
    """Read the query of ``GET /events``.

    Raises:
        Unprocessable: A parameter cannot be used; names it and what is allowed.
    """
    _refuse_unknown(query, EventsRequest)
    if len(query.get("queue", ())) > 1:
        raise Unprocessable("queue is given more than once")
    queue = None
    for text in query.get("queue", ()):
        queue = _converted(text, QueueName, f"queue must be {NAME}")
    return EventFilter(queue=queue, tags=_tags_of(query.get("tag", ())))


def refuse_unknown_of_task(query: Mapping[str, Sequence[str]]) -> None:
    """Check the query of ``GET /tasks/{id}/events``.

    Raises:
        Unprocessable: It has a parameter that does not exist.
    """
    _refuse_unknown(query, TaskEventsRequest)


def position_of(header: str, query: Mapping[str, Sequence[str]]) -> int | None:
    """Read the position after which a stream continues; ``None`` without one.

    EventSource polyfills send it as ``lastEventId`` in the query. Other spellings of that name
    (``last_event_id``, ``Last-Event-ID``) are accepted, too.

    Args:
        header: The value of ``Last-Event-ID``, which takes precedence; empty without one.
        query: All parameters of the request.

    Raises:
        Unprocessable: A position is invalid, or the query has two.
    """
    given = [value for name, values in query.items() if _is_position(name) for value in values]
    if len(given) > 1:
        raise Unprocessable(f"{_IN_QUERY} is given more than once")
    positions = [_position("Last-Event-ID", header), *(_position(_IN_QUERY, it) for it in given)]
    return next((position for position in positions if position is not None), None)


def _position(name: str, text: str) -> int | None:
    if not text:
        return None
    if not _POSITION.fullmatch(text):
        raise Unprocessable(f"{name} must be the id of an event of this service")
    return int(text)


def _is_position(name: str) -> bool:
    return name.replace("-", "").replace("_", "").lower() == _IN_QUERY.lower()


def _refuse_unknown(query: Mapping[str, Sequence[str]], kind: type[msgspec.Struct]) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    names = (name for name in query if not _is_position(name))
    if unknown := unknown_parameters(names, Vocabulary(known)):
        raise Unprocessable("; ".join(unknown))


def _tags_of(texts: Sequence[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        told = _converted(text, TagText, "tag must be name:value, such as customer:42")
        name, _, value = told.partition(":")
        if tags.setdefault(name, value) != value:
            raise Unprocessable(f"a task has one value of the tag {name}, not two")
    if len(tags) > MAX_TAGS:
        raise Unprocessable(f"a task has {MAX_TAGS} tags at most")
    return tags


def _converted(text: str, kind: object, expected: str) -> str:
    try:
        converted: str = msgspec.convert(text, kind)
    except msgspec.ValidationError:
        raise Unprocessable(expected) from None
    return converted
