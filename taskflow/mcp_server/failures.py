"""The tool that groups recent failures by their error and their host."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.client.asynchronous.client import Client
from taskflow.client.task import Task
from taskflow.mcp_server.outputs import MAX_ERROR_CHARACTERS, selected
from taskflow.mcp_server.tool import READS, tool
from taskflow.model.filter import url_of
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Moment, QueueName, TaskStatus
from taskflow.model.untrusted_text import shortened
from taskflow.model.url import parse_target
from taskflow.schema.filters import HostName

MAX_SCANNED: Final = 1000
DEFAULT_SCANNED: Final = 500
DEFAULT_SINCE_SECONDS: Final = 86_400
MAX_SINCE_SECONDS: Final = 31_622_400
MAX_GROUPS: Final = 20
MAX_QUEUES: Final = 10
_PAGE_TASKS: Final = 100
_FIELDS: Final = ("queue", "error", "error_type", "finished_at")


class ListFailures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which failures to group."""

    since_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=MAX_SINCE_SECONDS, extra={"unit": "seconds"})],
        Meta(
            description="Only tasks that failed within this time. Default: a day.", examples=[3600]
        ),
    ] = DEFAULT_SINCE_SECONDS
    queue: Annotated[
        QueueName | UnsetType, Meta(description="Only tasks of this queue.", examples=["mail"])
    ] = UNSET
    host: Annotated[
        HostName | UnsetType,
        Meta(description="Only tasks whose URL has this host.", examples=["example.com"]),
    ] = UNSET
    max_tasks: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_SCANNED)],
        Meta(description="Maximum number of failed tasks to read, newest first."),
    ] = DEFAULT_SCANNED


class FailureGroup(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Failed tasks with the same error type and host."""

    error_type: ErrorType | None
    host: Annotated[str | None, Meta(description="null if the URL has no valid host.")]
    count: int
    queues: Annotated[list[str], Meta(description="The queues of these tasks, at most 10.")]
    last_finished_at: Moment
    last_task_id: uuid.UUID
    last_error: str


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Groups of failed tasks, the largest first."""

    groups: list[FailureGroup]
    tasks: Annotated[int, Meta(description="Number of failed tasks that were read.")]
    complete: Annotated[
        bool, Meta(description="Whether these are all failures of that time, and all groups.")
    ]


@tool(ListFailures, Failures, READS)
async def list_failures(client: Client, given: ListFailures) -> Failures:
    """Group the tasks that failed recently by error type and host, the largest groups first.

    Start here to find out what is wrong. The filters error_type and host of list_tasks and
    retry_tasks select the tasks of a group.
    """
    since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=given.since_seconds)
    named = {
        name: value for name in ("queue", "host") if (value := getattr(given, name)) is not UNSET
    }
    tasks = client.iter_tasks(
        page=_PAGE_TASKS,
        fields=_FIELDS,
        status=[TaskStatus.FAILED],
        finished_after=since,
        **named,
    )
    found = await selected(tasks, failure_of, given.max_tasks + 1)
    read = found[: given.max_tasks]
    groups = groups_of(read)
    return Failures(
        groups=groups[:MAX_GROUPS],
        tasks=len(read),
        complete=len(read) == len(found) and len(groups) <= MAX_GROUPS,
    )


class Failure(NamedTuple):
    """A failed task, without its payload."""

    finished_at: dt.datetime
    task_id: uuid.UUID
    error_type: ErrorType | None
    host: str | None
    queue: str
    error: str


def failure_of(task: Task) -> Failure:
    """Return what is reported of a failed task."""
    return Failure(
        finished_at=task.finished_at or task.created_at,
        task_id=task.id,
        error_type=task.error_type,
        host=_host_of(task),
        queue=task.queue,
        error=shortened(task.error, MAX_ERROR_CHARACTERS),
    )


def groups_of(failures: Iterable[Failure]) -> list[FailureGroup]:
    """Return the groups of failed tasks, the largest first."""
    members: dict[tuple[ErrorType | None, str | None], list[Failure]] = defaultdict(list)
    for failure in failures:
        members[failure.error_type, failure.host].append(failure)
    return sorted(
        (_group_of(error_type, host, of) for (error_type, host), of in members.items()),
        key=lambda group: (-group.count, str(group.error_type), group.host or ""),
    )


def _group_of(
    error_type: ErrorType | None, host: str | None, failures: list[Failure]
) -> FailureGroup:
    last = max(failures, key=lambda failure: (failure.finished_at, failure.task_id))
    return FailureGroup(
        error_type=error_type,
        host=host,
        count=len(failures),
        queues=sorted({failure.queue for failure in failures})[:MAX_QUEUES],
        last_finished_at=last.finished_at,
        last_task_id=last.task_id,
        last_error=last.error,
    )


def _host_of(task: Task) -> str | None:
    """Return the host of a task, spelled as the filter ``host`` has it."""
    try:
        return parse_target(url_of(task.payload_bytes)).host
    except InvalidUrl:
        return None


FAILURE_TOOLS: Final = (list_failures,)
