"""The declaration of a task as clients submit it."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model.completion import Completion
from taskflow.model.options import BackoffChoice, StatusPatterns
from taskflow.model.order_keys import OnFailure, OrderKey
from taskflow.model.parents import OnParentFailure, Parents
from taskflow.model.task import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_PRIORITY,
    MAX_RETENTION_SECONDS,
    MIN_PRIORITY,
    CredentialName,
    Moment,
    QueueName,
    Tags,
    Task,
    TaskName,
)
from taskflow.model.uniqueness import Debounce, Unique

MAX_TASKS: Final = 10_000
"""How many tasks a JSON array may have."""

_PAYLOAD_SCHEMA: Final = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "array"]},
        {"$ref": "#/components/schemas/RequestPayload"},
    ]
}
CallbackUrl: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^https?://[!-~]+$(?!\n)",
        min_length=8,
        max_length=8192,
        extra={"expected": "an http or https URL of printable ASCII"},
    ),
]
Delay: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_DELAY_SECONDS, extra={"unit": "seconds"})]
GroupId: TypeAlias = Annotated[uuid.UUID, Meta(extra={"expected": "the id of a group, a UUID"})]
Retention: TypeAlias = Annotated[
    float, Meta(ge=0, le=MAX_RETENTION_SECONDS, extra={"unit": "seconds"})
]


class TaskRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A task to submit.

    A field that may be null counts as not given if it is null. Fields that only TaskFlow sets are
    ignored, so that a task can be submitted again as it was shown; any other field that does not
    exist is rejected.
    """

    payload: Annotated[
        msgspec.Raw,
        Meta(
            description="The URL to fetch, or a whole request. Any other JSON except null is "
            "accepted, too, up to 500 levels deep and without unpaired surrogates, and stored "
            "byte for byte; a task whose payload is neither fails as `invalid_url`.",
            examples=["https://example.com/"],
            extra_json_schema=_PAYLOAD_SCHEMA,
        ),
    ]
    max_attempts: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] | UnsetType,
        Meta(
            description="Number of failed attempts after which the task fails. Default: the "
            "setting `TASKFLOW_MAX_ATTEMPTS`.",
            examples=[3],
        ),
    ] = UNSET
    priority: Annotated[
        Annotated[int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY)] | UnsetType,
        Meta(description="Tasks of higher priority are claimed first. Default: 0.", examples=[10]),
    ] = UNSET
    queue: Annotated[
        QueueName | UnsetType,
        Meta(description="The queue of the task. Default: `default`.", examples=["mail"]),
    ] = UNSET
    run_at: Annotated[
        Moment | None,
        Meta(
            description="Earliest start; a time in the past is now. Not together with "
            "`delay_seconds`.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = None
    delay_seconds: Annotated[
        Delay | None,
        Meta(description="Delay from now to the earliest start.", examples=[60]),
    ] = None
    expires_at: Annotated[
        Moment | None,
        Meta(
            description="No attempt starts from this time on: a task that is still pending fails "
            "as `expired`.",
            examples=["2026-11-24T07:57:50Z"],
        ),
    ] = None
    backoff: Annotated[
        BackoffChoice | None,
        Meta(
            description="Waits between attempts: an object; or each wait in seconds (the last "
            "one is used for all further attempts); or `webhook`, the schedule of the Standard "
            "Webhooks: ten attempts in about three and a half days, unless `max_attempts` is "
            "given.",
            examples=[[1, 10, 60]],
        ),
    ] = None
    retry_on: Annotated[
        StatusPatterns | None,
        Meta(
            description='Statuses that are retried: `503` or `"5xx"`. Default: 408, 425, 429 and '
            "5xx.",
            examples=[[404, "5xx"]],
        ),
    ] = None
    success_on: Annotated[
        StatusPatterns | None,
        Meta(
            description="Statuses that count as success. Default: `2xx`.",
            examples=[["2xx", 404]],
        ),
    ] = None
    sign: Annotated[
        bool | None,
        Meta(
            description="Whether each request is signed as the Standard Webhooks specify; `true` "
            "needs the setting `TASKFLOW_WEBHOOK_SECRETS`. Default: what the queue says, or the "
            "setting `TASKFLOW_SIGN_REQUESTS`.",
            examples=[True],
        ),
    ] = None
    credential: Annotated[
        CredentialName | None,
        Meta(
            description="The name of the credential that TaskFlow adds to each request of the "
            "task. Default: what the queue says.",
            examples=["billing"],
        ),
    ] = None
    unique: Annotated[
        Unique | None,
        Meta(
            description="A key that one task of the queue can have at a time. If another task has "
            "it, that task is returned with status 200.",
            examples=[{"key": "invoice-4711"}],
        ),
    ] = None
    debounce: Annotated[
        Debounce | None,
        Meta(
            description="Folds submissions into one task: each one with the same key replaces the "
            "task and moves its start. Not together with `unique`, `run_at` and `delay_seconds`.",
            examples=[{"key": "reindex-customer-42", "delay_seconds": 5, "max_wait_seconds": 60}],
        ),
    ] = None
    tags: Annotated[
        Tags | None,
        Meta(
            description="Tags to find the task by: names with text, whole numbers or booleans.",
            examples=[{"customer": 42}],
        ),
    ] = None
    completion: Annotated[
        Completion | None,
        Meta(
            description="For work that outlasts a request: a target that answers 202 works on, and "
            "the task stays `RUNNING` until the target reports the outcome, or a poll finds it.",
            examples=[{"mode": "callback", "within_seconds": 3600}],
        ),
    ] = None
    callback_url: Annotated[
        CallbackUrl | None,
        Meta(
            description="URL that receives the finished task: a `POST` signed as the Standard "
            "Webhooks specify, which is a task with its own attempts. Needs the setting "
            "`TASKFLOW_WEBHOOK_SECRETS`.",
            examples=["https://example.com/finished"],
        ),
    ] = None
    retention_seconds: Annotated[
        Retention | None,
        Meta(
            description="How long the finished task is kept. Default: the setting "
            "`TASKFLOW_RETENTION_SECONDS`.",
            examples=[86400],
        ),
    ] = None
    order_key: Annotated[
        OrderKey | None,
        Meta(
            description="Tasks of a queue with the same order key run one at a time, in the order "
            "in which they were accepted. Not together with `priority`, `delay_seconds` or a "
            "`run_at` in the future.",
            examples=["customer-42"],
        ),
    ] = None
    on_failure: Annotated[
        OnFailure | None,
        Meta(
            description="What happens to the order key when the task fails: `continue` starts the "
            "next task, `hold` waits until a client retries, cancels, skips or deletes the failed "
            "one. Needs `order_key`. Default: `continue`.",
            examples=["hold"],
        ),
    ] = None
    group: Annotated[
        GroupId | None,
        Meta(
            description="The id of a group, which the task joins; the group must be `OPEN`. Not "
            "together with `unique` and `debounce`.",
            examples=["01a20c58-b6fd-77bf-9328-1ccde011d8db"],
        ),
    ] = None
    name: Annotated[
        TaskName | None,
        Meta(
            description="A name by which other tasks of the same array can refer to the task in "
            "`after`. No other task of the array can have it, and it must not look like an id.",
            examples=["fetch"],
        ),
    ] = None
    after: Annotated[
        Parents | None,
        Meta(
            description="The parents of the task: ids of tasks, or names of tasks of the same "
            "array. The task starts when all of them have finished; `delay_seconds` counts from "
            "then. Not together with `unique`, `debounce`, `order_key` or a future `run_at`.",
            examples=[["01a20c58-b6fd-77bf-9328-1ccde011d8db"]],
        ),
    ] = None
    on_parent_failure: Annotated[
        OnParentFailure | None,
        Meta(
            description="What happens when a parent is `FAILED` or `CANCELED`: `cancel` cancels "
            "the task, `fail` lets it fail as `parent_failed`, and `run` runs it when all parents "
            "have finished. Needs `after`. Default: `cancel`.",
            examples=["run"],
        ),
    ] = None


TaskRequests: TypeAlias = Annotated[list[TaskRequest], Meta(min_length=1, max_length=MAX_TASKS)]
ONLY_SHOWN: Final = frozenset(Task.__struct_fields__) - set(TaskRequest.__struct_fields__)
"""Fields that only TaskFlow sets; they are ignored in a ``TaskRequest``."""

SINGLE_MOMENTS: Final = ("run_at", "expires_at")
KEYS: Final = ("unique", "debounce")
ORDER: Final = ("order_key", "on_failure")
GRAPH: Final = ("name", "after", "on_parent_failure")
NOT_IN_TEMPLATES: Final = (*SINGLE_MOMENTS, *KEYS, "group", *GRAPH)


def template_without(name: str, meaning: str, excluded: Collection[str]) -> Any:
    """Return the type of a task without some fields."""
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(TaskRequest)
        if field.name not in excluded
    ]
    return msgspec.defstruct(
        name, fields, namespace={"__doc__": meaning}, forbid_unknown_fields=True
    )


TaskTemplate: Final = template_without(
    "TaskTemplate",
    "The template of the tasks of a schedule: a task without fixed times, keys, group and parents.",
    NOT_IN_TEMPLATES,
)
