"""What tools return, and the bounds of its size: an agent reads all of it.

Bodies come from targets: they are data, of which nothing here depends on the content.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from taskflow.client.asynchronous.streams import TaskStream
from taskflow.client.task import Result, Task
from taskflow.model.filter import url_of
from taskflow.model.outcome import ErrorType
from taskflow.model.task import AttemptRecord, Moment, TaskStatus
from taskflow.model.untrusted_text import is_too_deep, shortened

MAX_BODY_CHARACTERS: Final = 12_000
"""How much of the response of a target is part of a task."""

MAX_PAYLOAD_CHARACTERS: Final = 4_000
"""How much of the payload of a task, or of a schedule, is shown."""

MAX_HEADERS_CHARACTERS: Final = 4_000
"""How long the headers of a response may be together to be shown."""

MAX_ERROR_CHARACTERS: Final = 500
MAX_URL_CHARACTERS: Final = 500
MAX_LIST_CHARACTERS: Final = 24_000
"""How long the entries of a list are together. The rest is left out, which is said."""

MAX_ATTEMPT_BODY_CHARACTERS: Final = 1_000
# The SDK writes JSON by recursion.
_MAX_NESTING: Final = 64
_EMPTY: Final = (b"null", b'""', b"{}")
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

S = TypeVar("S")
T = TypeVar("T", bound=msgspec.Struct)

_TASK_SCHEMA: Final = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": {"enum": [str(status) for status in TaskStatus]},
    },
}


class TaskDetails(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A task, and what is left out of it."""

    task: Annotated[
        dict[str, Any],
        Meta(
            description="The task as the API shows it, without its empty fields.",
            extra_json_schema=_TASK_SCHEMA,
        ),
    ]
    finished: Annotated[bool, Meta(description="Whether the task has a final status.")]
    notes: Annotated[
        tuple[str, ...], Meta(description="What is left out, and how to read it.")
    ] = ()


class TaskSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A task in a list."""

    id: uuid.UUID
    status: TaskStatus
    url: str
    queue: str
    attempt: int
    max_attempts: int
    created_at: Moment
    run_at: Moment | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    error: str = ""
    error_type: ErrorType | None = None
    schedule: str | None = None
    held: Annotated[str, Meta(description="Why it does not start although it is due.")] = ""
    tags: dict[str, Any] = {}


SUMMARY_FIELDS: Final = tuple(
    name for name in TaskSummary.__struct_fields__ if name not in {"id", "status", "url"}
)
"""What a list of tasks loads: no results."""


def details_of(task: Task) -> TaskDetails:
    """Return a task whose size is bounded."""
    shown = fields_of(task, without=("payload", "result"))
    notes: list[str] = []
    shown["payload"], cut = json_value(task.payload_bytes, MAX_PAYLOAD_CHARACTERS)
    if cut:
        notes.append(f"payload is cut: {cut}")
    if task.result is not None:
        shown["result"] = _response_of(task.id, task.result, notes)
    return TaskDetails(task=shown, finished=task.is_final, notes=tuple(notes))


def _response_of(task_id: uuid.UUID, result: Result, notes: list[str]) -> dict[str, Any]:
    shown = fields_of(result, without=("result",))
    shown["result"], cut = json_value(bytes(result.result), MAX_BODY_CHARACTERS)
    shown["message"] = shortened(result.message, MAX_ERROR_CHARACTERS)
    shown["url"] = shortened(result.url, MAX_URL_CHARACTERS)
    if cut:
        notes.append(f"the body is cut: {cut}; read_result has the whole, task_id {task_id}")
    if sum(map(len, result.headers)) + sum(map(len, result.headers.values())) > (
        MAX_HEADERS_CHARACTERS
    ):
        del shown["headers"]
        notes.append("the headers of the response are left out: they are too long")
    return shown


def fields_of(record: msgspec.Struct, without: Collection[str]) -> dict[str, Any]:
    """Return the fields of a record that are not empty, except some, which may be any JSON."""
    fields = _FIELDS.decode(msgspec.json.encode(record))
    return {
        name: msgspec.json.decode(value)
        for name, value in fields.items()
        if name not in without and bytes(value) not in _EMPTY
    }


def json_value(document: bytes, limit: int) -> tuple[Any, str]:
    """Return a JSON value; as the beginning of its text, and how much that is, if it is too long.

    A value that is nested too deeply for the SDK is returned as text, too.
    """
    text = document.decode("utf-8", "replace")
    if len(text) <= limit and not is_too_deep(document, _MAX_NESTING):
        try:
            return json.loads(text, parse_float=_finite), ""
        except ValueError:  # such as a number of 5,000 digits
            return text, ""
    whole = text
    if text.startswith('"'):
        whole = msgspec.json.decode(document, type=str)
    if len(whole) <= limit:
        return whole, ""
    return whole[:limit], f"{limit:,} of {len(whole):,} characters are shown"


def _finite(text: str) -> float | str:
    """Return a number; as text if Python has no such number."""
    number = float(text)
    return number if math.isfinite(number) else text


def summary_of(task: Task) -> TaskSummary:
    """Return the entry of a task in a list."""
    return TaskSummary(
        id=task.id,
        status=task.status,
        url=shortened(url_of(task.payload_bytes), MAX_URL_CHARACTERS),
        queue=task.queue,
        attempt=task.attempt,
        max_attempts=task.max_attempts,
        created_at=task.created_at,
        run_at=task.run_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        error=shortened(task.error, MAX_ERROR_CHARACTERS),
        error_type=task.error_type,
        schedule=task.schedule,
        held=task.held.detail if task.held else "",
        tags=dict(task.tags),
    )


def attempt_of(attempt: AttemptRecord) -> dict[str, Any]:
    """Return an attempt; the body of its response is text, and bounded."""
    shown = fields_of(attempt, without=("response",))
    if isinstance(attempt.response, msgspec.Struct):
        response = attempt.response
        shown["response"] = {
            "status": response.status,
            "content_type": response.content_type,
            "body": shortened(response.text, MAX_ATTEMPT_BODY_CHARACTERS),
            "encoding": response.encoding,
        }
    if attempt.error:
        shown["error"] = shortened(attempt.error, MAX_ERROR_CHARACTERS)
    return shown


async def selected(tasks: TaskStream, convert: Callable[[Task], S], count: int) -> list[S]:
    """Return the first tasks of a stream, each converted as it arrives: payloads may be large."""
    found: list[S] = []
    async with tasks:
        while len(found) < count and (task := await anext(tasks, None)) is not None:
            found.append(convert(task))
    return found


def fitting(entries: Iterable[T], limit: int = MAX_LIST_CHARACTERS) -> Sequence[T]:
    """Return the first entries that are short enough together; at least one, if there is any."""
    kept: list[T] = []
    length = 0
    for entry in entries:
        length += len(msgspec.json.encode(entry))
        if kept and length > limit:
            break
        kept.append(entry)
    return kept
