"""What tasks can be looked for by: the same in queries and in bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta

from taskflow.api.reading import rules
from taskflow.api.reading.rules import PointInTime, Rule
from taskflow.model.filter import TaskFilter
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.outcome import ErrorType
from taskflow.model.task import MAX_TAGS, Moment, QueueName, TagName, TagValue, TaskStatus
from taskflow.model.url import parse_target

HostName: TypeAlias = Annotated[
    str, Meta(pattern="^[^\x00-\x20\x7f/?#@\\\\]+$(?!\n)", min_length=1, max_length=255)
]
UrlText: TypeAlias = Annotated[
    str, Meta(pattern="^[^\x00-\x1f\x7f]+$(?!\n)", min_length=1, max_length=8192)
]
Statuses: TypeAlias = Annotated[tuple[TaskStatus, ...], Meta(min_length=1)]
SomeTags: TypeAlias = Annotated[dict[TagName, TagValue], Meta(min_length=1, max_length=MAX_TAGS)]

A_STATUS: Final = f"one of {', '.join(TaskStatus)}"
# Of the filters whose values are one text each; of statuses and tags there may be some.
TEXT_RULES: Final[Mapping[str, Rule]] = {
    "queue": Rule(QueueName, rules.NAME, may_be_null=False),
    "host": Rule(
        HostName,
        "the host of a URL alone, such as example.com, of 1 to 255 characters",
        may_be_null=False,
    ),
    "error_type": Rule(ErrorType, f"one of {', '.join(ErrorType)}", may_be_null=False),
    **{
        name: PointInTime(Moment, rules.A_MOMENT, may_be_null=False)
        for name in ("created_after", "created_before", "finished_after", "finished_before")
    },
    "url": Rule(
        UrlText, "text of 1 to 8192 characters, none of them control characters", may_be_null=False
    ),
}


def filter_of(
    given: Mapping[str, Any],
    *,
    statuses: tuple[TaskStatus, ...] = (),
    tags: tuple[tuple[str, str], ...] = (),
) -> TaskFilter:
    """The filter of values that were read by the rules; others among them are passed over."""
    texts = {name: given[name] for name in TEXT_RULES if given.get(name) is not None}
    if "host" in texts:
        texts["host"] = _kept_host(texts["host"])
    return TaskFilter(tuple(dict.fromkeys(statuses)), tags=tags, **texts)


def _kept_host(text: str) -> str:
    """A host in the spelling in which tasks have it; one that no URL can have is left as it is."""
    is_bare_address = ":" in text and not text.startswith("[")
    try:
        return parse_target(f"http://[{text}]/" if is_bare_address else f"http://{text}/").host
    except InvalidUrl:
        return text
