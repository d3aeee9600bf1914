"""What ``POST /tasks/cancel`` and the like take: which of all tasks are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.api.reading import rules
from taskflow.api.reading.filters import (
    A_STATUS,
    TEXT_RULES,
    HostName,
    SomeTags,
    Statuses,
    UrlText,
    filter_of,
)
from taskflow.api.reading.json_text import decoded
from taskflow.api.reading.rules import Rule
from taskflow.api.reading.unknown_fields import note_unknown
from taskflow.api.reading.validation_errors import Faults
from taskflow.model.errors import BadRequest
from taskflow.model.filter import TaskFilter, tag_text
from taskflow.model.outcome import ErrorType
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import Moment, QueueName, TaskStatus

HOW: Final = 'send a JSON object with a filter, such as {"queue": "mail"}, or {"all": true}'


class ManyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which tasks something is to be done to; either a filter or ``all`` has to be there.

    Attributes:
        status: Only tasks with this status, or one of several.
        queue: Only tasks of this queue.
        tags: Only tasks that have all of these.
        host: Only tasks whose URL has this host.
        error_type: Only tasks whose last attempt failed for this reason.
        created_after: Only tasks that were handed in then or later.
        created_before: Only tasks that were handed in earlier.
        finished_after: Only tasks that came to their end then or later.
        finished_before: Only tasks that came to their end earlier.
        url: Only tasks whose URL, as it was handed in, has this text in it, with capitals as they
            are.
        all: Says that all tasks are meant, where nothing else says which.
        dry_run: Only count them.
    """

    status: TaskStatus | Statuses | UnsetType = UNSET
    queue: QueueName | UnsetType = UNSET
    tags: SomeTags | UnsetType = UNSET
    host: HostName | UnsetType = UNSET
    error_type: ErrorType | UnsetType = UNSET
    created_after: Moment | UnsetType = UNSET
    created_before: Moment | UnsetType = UNSET
    finished_after: Moment | UnsetType = UNSET
    finished_before: Moment | UnsetType = UNSET
    url: UrlText | UnsetType = UNSET
    all: bool | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Many(msgspec.Struct, frozen=True):
    """The same as it is understood: which tasks, and whether they are only counted."""

    filter: TaskFilter
    is_dry_run: bool


_RULES: Final[Mapping[str, Rule]] = {
    "status": Rule(TaskStatus | Statuses, f"{A_STATUS}, or a list of some", may_be_null=False),
    "tags": Rule(SomeTags, rules.TAGS, may_be_null=False),
    **TEXT_RULES,
    "all": Rule(bool, "true or false", may_be_null=False),
    "dry_run": Rule(bool, "true or false", may_be_null=False),
}
FILTERS: Final = tuple(name for name in _RULES if name not in ("all", "dry_run"))
_NAMES: Final = Vocabulary(_RULES)

_Fields: TypeAlias = dict[str, msgspec.Raw]
_FIELDS: Final = msgspec.json.Decoder(_Fields)


def many_of(body: bytes) -> Many:
    """Read which tasks are meant.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: Fields cannot be used, or it does not say which tasks.
    """
    try:
        fields = decoded(body, _FIELDS, how=HOW)
    except msgspec.ValidationError:
        raise BadRequest(f"the body is not a JSON object; {HOW}") from None
    faults = Faults()
    note_unknown(fields, _NAMES, faults)
    given = {
        name: rule.read(name, bytes(fields[name]), faults)
        for name, rule in _RULES.items()
        if name in fields
    }
    if not faults and not given.keys() & set(FILTERS) and not given.get("all"):
        faults.add(
            "/all",
            'this would be for all tasks: send "all": true if that is meant, or a filter, which '
            f"is any of {', '.join(FILTERS)}",
        )
    faults.refuse()
    return Many(_filter_of(given), is_dry_run=given.get("dry_run", False))


def _filter_of(given: Mapping[str, Any]) -> TaskFilter:
    status = given.get("status", ())
    tags = given.get("tags", {})
    return filter_of(
        given,
        statuses=(status,) if isinstance(status, TaskStatus) else status,
        tags=tuple((name, tag_text(value)) for name, value in tags.items()),
    )
