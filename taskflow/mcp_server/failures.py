"""The tool that lists failures: FAILED tasks that have the same cause, as one."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.client.asynchronous.client import Client
from taskflow.mcp_server.outputs import fitting
from taskflow.mcp_server.tool import READS, tool
from taskflow.model.grouped_failures import Failure
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Moment, QueueName
from taskflow.schema.query import HostText

DEFAULT_SINCE_SECONDS: Final = 86_400
MAX_SINCE_SECONDS: Final = 31_622_400
MAX_FAILURES: Final = 50


class ListFailures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which failures to list."""

    since_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=MAX_SINCE_SECONDS, extra={"unit": "seconds"})],
        Meta(
            description="Only failures that occurred within this time. Default: a day.",
            examples=[3600],
        ),
    ] = DEFAULT_SINCE_SECONDS
    queue: Annotated[
        QueueName | UnsetType,
        Meta(description="Only failures of tasks of this queue.", examples=["mail"]),
    ] = UNSET
    host: Annotated[
        HostText | UnsetType,
        Meta(
            description="Only failures of tasks for this host, with its port unless it is the "
            "default.",
            examples=["example.com"],
        ),
    ] = UNSET
    error_type: Annotated[
        ErrorType | UnsetType,
        Meta(description="Only failures with this type of error.", examples=["timeout"]),
    ] = UNSET


class FailureSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """FAILED tasks that have the same cause."""

    id: Annotated[
        uuid.UUID,
        Meta(description="For the filter failure of list_tasks, retry_tasks and others."),
    ]
    queue: str
    host: str
    error_type: ErrorType | None
    status_code: int | None
    message: Annotated[
        str, Meta(description="<n>, <id>, <time> and others stand for what differs.")
    ]
    failed: Annotated[int, Meta(description="Number of tasks that are FAILED now.")]
    occurrences: Annotated[int, Meta(description="How often a task failed for this cause.")]
    first_at: Moment
    last_at: Moment
    example_ids: Annotated[list[uuid.UUID], Meta(description="Some of the tasks, newest first.")]


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Failures, those with the most FAILED tasks first."""

    failures: list[FailureSummary]
    failed: Annotated[int, Meta(description="Number of FAILED tasks in these failures.")]
    complete: Annotated[bool, Meta(description="Whether these are all failures of that time.")]


@tool(ListFailures, Failures, READS)
async def list_failures(client: Client, given: ListFailures) -> Failures:
    """List what fails: FAILED tasks grouped by their cause, the largest groups first.

    Start here to find out what is wrong. The filter failure of list_tasks and retry_tasks selects
    the tasks of a failure.
    """
    found = await client.failures(
        since=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=given.since_seconds),
        queue=given.queue or None,
        host=given.host or None,
        error_type=given.error_type or None,
        limit=1000,
    )
    ranked = sorted(found, key=lambda one: (-one.failed, str(one.id)))
    listed = list(fitting(map(_summary_of, ranked[:MAX_FAILURES])))
    return Failures(
        failures=listed,
        failed=sum(one.failed for one in listed),
        complete=len(listed) == len(found),
    )


def _summary_of(failure: Failure) -> FailureSummary:
    return msgspec.convert(failure, FailureSummary, from_attributes=True)


FAILURE_TOOLS: Final = (list_failures,)
