"""The declaration of filters: the same in queries and in the bodies of bulk actions."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model.filter import TaskFilter, tag_text
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.order_keys import OrderKey
from taskflow.model.outcome import ErrorType
from taskflow.model.task import (
    MAX_TAGS,
    TAGS_RULE,
    Moment,
    QueueName,
    TagName,
    TagValue,
    TaskStatus,
)
from taskflow.model.task_states import TaskState
from taskflow.model.url import parse_target
from taskflow.schema.json_text import object_fields
from taskflow.schema.reader import Reader
from taskflow.schema.tasks import GroupId
from taskflow.schema.validation_errors import ValidationErrors

HOW: Final = 'send a JSON object with a filter, such as {"queue": "mail"}, or {"all": true}'

HostName: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x20\x7f/?#@\\\\]+$(?!\n)",
        min_length=1,
        max_length=255,
        extra={"expected": "the host of a URL, such as example.com, of 1 to 255 characters"},
    ),
]
UrlText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f]+$(?!\n)",
        min_length=1,
        max_length=8192,
        extra={"expected": "text of 1 to 8192 characters, none of them control characters"},
    ),
]
IdPrefix: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[0-9A-Fa-f]{8}(?:-?[0-9A-Fa-f]){0,24}-?$(?!\n)",
        max_length=36,
        extra={"expected": "the first 8 or more hexadecimal digits of an id, such as 01a20c58-b6"},
    ),
]
FailureId: TypeAlias = Annotated[uuid.UUID, Meta(extra={"expected": "the id of a failure, a UUID"})]
ParentId: TypeAlias = Annotated[uuid.UUID, Meta(extra={"expected": "the id of a task, a UUID"})]
Statuses: TypeAlias = Annotated[tuple[TaskStatus, ...], Meta(min_length=1)]
States: TypeAlias = Annotated[tuple[TaskState, ...], Meta(min_length=1)]
SomeTags: TypeAlias = Annotated[
    dict[TagName, TagValue],
    Meta(min_length=1, max_length=MAX_TAGS, extra={"expected": TAGS_RULE}),
]


class TaskFilters(msgspec.Struct, frozen=True, kw_only=True):
    """The filters whose value is the same in queries and in bodies."""

    queue: Annotated[
        QueueName | UnsetType,
        Meta(description="Only tasks of this queue.", examples=["mail"]),
    ] = UNSET
    host: Annotated[
        HostName | UnsetType,
        Meta(description="Only tasks whose URL has this host.", examples=["example.com"]),
    ] = UNSET
    error_type: Annotated[
        ErrorType | UnsetType,
        Meta(
            description="Only tasks whose last attempt failed with this type of error.",
            examples=["timeout"],
        ),
    ] = UNSET
    created_after: Annotated[
        Moment | UnsetType,
        Meta(
            description="Only tasks submitted at this time or later.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = UNSET
    created_before: Annotated[
        Moment | UnsetType,
        Meta(
            description="Only tasks submitted before this time.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = UNSET
    finished_after: Annotated[
        Moment | UnsetType,
        Meta(
            description="Only tasks finished at this time or later.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = UNSET
    finished_before: Annotated[
        Moment | UnsetType,
        Meta(
            description="Only tasks finished before this time.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = UNSET
    url_contains: Annotated[
        UrlText | UnsetType,
        Meta(
            description="Only tasks whose URL, as it was submitted, contains this text; "
            "case-sensitive.",
            examples=["/reports"],
        ),
    ] = UNSET
    id_prefix: Annotated[
        IdPrefix | UnsetType,
        Meta(
            description="Only tasks whose id begins with these 8 or more hexadecimal digits.",
            examples=["01a20c58-b6fd"],
        ),
    ] = UNSET
    order_key: Annotated[
        OrderKey | UnsetType,
        Meta(description="Only tasks with this order key.", examples=["customer-42"]),
    ] = UNSET
    group: Annotated[
        GroupId | UnsetType,
        Meta(
            description="Only tasks of the group with this id.",
            examples=["01a20c58-b6fd-77bf-9328-1ccde011d8db"],
        ),
    ] = UNSET
    parent: Annotated[
        ParentId | UnsetType,
        Meta(
            description="Only the children of the task with this id: tasks that have it in "
            "`after`.",
            examples=["01a20c58-b6fd-77bf-9328-1ccde011d8db"],
        ),
    ] = UNSET
    failure: Annotated[
        FailureId | UnsetType,
        Meta(
            description="Only the FAILED tasks of the failure with this id, as `GET /failures` "
            "lists it.",
            examples=["5cb1a0f4-3f0e-8a6d-9d3f-0c6c2b9e4a71"],
        ),
    ] = UNSET


class BulkRequest(TaskFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tasks of a bulk action: at least one filter, or ``all``."""

    status: Annotated[
        TaskStatus | Statuses | UnsetType,
        Meta(description="Only tasks with this status, or one of several.", examples=["FAILED"]),
    ] = UNSET
    state: Annotated[
        TaskState | States | UnsetType,
        Meta(
            description="Only tasks that are in this state now, or in one of several.",
            examples=["held"],
        ),
    ] = UNSET
    tags: Annotated[
        SomeTags | UnsetType,
        Meta(description="Only tasks that have all of these tags.", examples=[{"customer": 42}]),
    ] = UNSET
    all: Annotated[
        bool | UnsetType,
        Meta(
            description="Whether the action is for all tasks, if there is no filter.",
            examples=[True],
        ),
    ] = UNSET
    dry_run: Annotated[
        bool | UnsetType, Meta(description="Whether to count the tasks only.", examples=[True])
    ] = UNSET


FILTERS: Final = tuple(
    name for name in BulkRequest.__struct_fields__ if name not in ("all", "dry_run")
)
_READER: Final = Reader(BulkRequest)


class BulkSelection(msgspec.Struct, frozen=True):
    """The tasks of a bulk action, as the stores search for them."""

    filter: TaskFilter
    is_dry_run: bool


def bulk_selection_of(body: bytes) -> BulkSelection:
    """Read the body of a bulk action.

    Raises:
        BadRequest: It is not a JSON object.
        Unprocessable: Fields are invalid, or there is neither a filter nor ``all``.
    """
    fields = object_fields(body, how=HOW)
    errors = ValidationErrors()
    given = _READER.read(fields, errors)
    if not errors and not given.keys() & set(FILTERS) and not given.get("all"):
        errors.add(
            "/all",
            'this would be for all tasks: send "all": true if that is meant, or a filter, which '
            f"is any of {', '.join(FILTERS)}",
        )
    errors.raise_if_any()
    statuses, states = given.get("status", ()), given.get("state", ())
    return BulkSelection(
        filter_of(
            BulkRequest(**given),
            statuses=(statuses,) if isinstance(statuses, TaskStatus) else statuses,
            states=(states,) if isinstance(states, TaskState) else states,
            tags=tuple((name, tag_text(value)) for name, value in given.get("tags", {}).items()),
        ),
        is_dry_run=given.get("dry_run", False),
    )


def filter_of(
    filters: TaskFilters,
    *,
    statuses: tuple[TaskStatus, ...] = (),
    states: tuple[TaskState, ...] = (),
    tags: tuple[tuple[str, str], ...] = (),
) -> TaskFilter:
    """Return filters as the stores search by them."""
    given: dict[str, Any] = {
        name: value
        for name in TaskFilters.__struct_fields__
        if (value := getattr(filters, name)) is not UNSET
    }
    if "host" in given:
        given["host"] = _stored_host(given["host"])
    if "id_prefix" in given:
        given["id_prefix"] = given["id_prefix"].replace("-", "").lower()
    given["states"] = tuple(dict.fromkeys(states))
    return TaskFilter(tuple(dict.fromkeys(statuses)), tags=tags, **given)


def _stored_host(text: str) -> str:
    """Return a host in the spelling of tasks; one that no URL can have is returned unchanged."""
    is_bare_address = ":" in text and not text.startswith("[")
    try:
        return parse_target(f"http://[{text}]/" if is_bare_address else f"http://{text}/").host
    except InvalidUrl:
        return text
