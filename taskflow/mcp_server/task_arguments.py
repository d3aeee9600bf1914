"""The declarations of the arguments and the results of the tools for tasks."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from taskflow.mcp_server.outputs import TaskSummary
from taskflow.model.request import RequestPayload
from taskflow.model.suggestions import Vocabulary
from taskflow.schema.filters import BulkRequest
from taskflow.schema.tasks import TaskRequest

MAX_WAIT_SECONDS: Final = 300
DEFAULT_WAIT_SECONDS: Final = 30
MAX_LISTED: Final = 100
DEFAULT_LISTED: Final = 20
# Skipped tasks are read: tasks of an array were created at the same time, so no time is between.
MAX_OFFSET: Final = 900
MAX_READ_CHARACTERS: Final = 30_000
DEFAULT_READ_CHARACTERS: Final = 20_000

TaskId = Annotated[
    uuid.UUID,
    Meta(
        description="The id of the task.",
        examples=["01a20c58-b6fd-77bf-9328-1ccde011d8da"],
        extra={"expected": "the id of a task, a UUID"},
    ),
]
WaitSeconds = Annotated[
    Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS, extra={"unit": "seconds"})],
    Meta(
        description="How long to wait for the task to finish. Clients may give up on a call that "
        "takes longer than a minute."
    ),
]


class OneTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task."""

    task_id: TaskId


class WaitForTask(OneTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to wait for."""

    timeout_seconds: WaitSeconds = DEFAULT_WAIT_SECONDS


class ReadResult(OneTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a result."""

    offset: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)],
        Meta(description="Number of characters to skip.", examples=[20000]),
    ] = 0
    max_characters: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_READ_CHARACTERS)],
        Meta(description="Maximum number of characters to return."),
    ] = DEFAULT_READ_CHARACTERS


class ResultPart(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A part of the body of a response."""

    text: str
    encoding: Annotated[
        str, Meta(description="`json` and `text` are the body as text; `base64` is bytes.")
    ]
    content_type: str | None = None
    total_characters: int
    next_offset: Annotated[
        int | None, Meta(description="The offset of the next part, if there is one.")
    ] = None


class Attempts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The attempts of a task."""

    attempts: Annotated[
        list[dict[str, Any]], Meta(description="The last attempts of the task, in order.")
    ]
    total: int


class TaskPage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
    next_offset: Annotated[
        int | None, Meta(description="The offset of the next tasks, if there are more.")
    ] = None


class BulkOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a bulk action."""

    count: Annotated[
        int,
        Meta(description="Number of tasks that were changed or, with `dry_run`, would be changed."),
    ]
    complete: Annotated[
        bool, Meta(description="Whether these are all; if not, the same call does the rest.")
    ]
    dry_run: bool


def _derived(
    name: str, declared: type[msgspec.Struct], left_out: set[str], *more: tuple[str, Any, Any]
) -> Any:
    """Return the declaration of a tool's arguments: the fields of another one, and more."""
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(declared)
        if field.name not in left_out
    ]
    return msgspec.defstruct(
        name,
        [*fields, *more],
        namespace={"__doc__": declared.__doc__},
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


_OWN_FIELDS: Final = (
    (
        "wait_seconds",
        Annotated[
            Annotated[float, Meta(ge=0, le=60, extra={"unit": "seconds"})],
            Meta(description="How long to wait for the task to finish. Default: not at all."),
        ],
        0.0,
    ),
    (
        "idempotency_key",
        Annotated[
            str | None,
            Meta(
                description="Calls with the same key submit one task: use it to repeat a call "
                "whose outcome is unknown.",
                examples=["report-2026-11-29"],
            ),
        ],
        None,
    ),
)
# Agents read all of it, so options that programs use are left out; the service accepts them.
_FOR_PROGRAMS: Final = {
    *("name", "completion", "debounce", "sign", "group", "on_failure", "on_parent_failure"),
    *("callback_url", "retention_seconds"),
}
SubmitTask: Final = _derived("SubmitTask", TaskRequest, _FOR_PROGRAMS, *_OWN_FIELDS)
OwnFields: Final = msgspec.defstruct("OwnFields", _OWN_FIELDS, frozen=True, kw_only=True)
OWN_NAMES: Final = frozenset(name for name, *_ in _OWN_FIELDS)
NAMES: Final = Vocabulary(
    [*TaskRequest.__struct_fields__, *OWN_NAMES],
    [(RequestPayload.__struct_fields__, "{} goes into payload")],
)
ListTasks: Final = _derived(
    "ListTasks",
    BulkRequest,
    {"all", "dry_run"},
    (
        "limit",
        Annotated[
            Annotated[int, Meta(ge=1, le=MAX_LISTED)],
            Meta(description="Maximum number of tasks to return."),
        ],
        DEFAULT_LISTED,
    ),
    (
        "offset",
        Annotated[
            Annotated[int, Meta(ge=0, le=MAX_OFFSET)],
            Meta(
                description="Number of tasks to skip; new tasks come first. For tasks further "
                "back, use created_before.",
                examples=[20],
            ),
        ],
        0,
    ),
)
RetryTasks: Final = _derived("RetryTasks", BulkRequest, {"all"})
