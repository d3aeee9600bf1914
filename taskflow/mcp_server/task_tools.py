"""Tools for tasks: submit, get, wait, list, read the result, retry and cancel."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import NotFinished
from taskflow.mcp_server.outputs import (
    SUMMARY_FIELDS,
    TaskDetails,
    attempt_of,
    details_of,
    fitting,
    selected,
    summary_of,
)
from taskflow.mcp_server.task_arguments import (
    MAX_LISTED,
    NAMES,
    OWN_NAMES,
    Attempts,
    BulkOutcome,
    ListTasks,
    OneTask,
    OwnFields,
    ReadResult,
    ResultPart,
    RetryTasks,
    SubmitTask,
    TaskPage,
    WaitForTask,
)
from taskflow.mcp_server.tool import READS, SENDS, Fields, Hints, reader_of, tool
from taskflow.schema.filters import FILTERS
from taskflow.schema.validation_errors import ValidationErrors, note_unknown

MAX_SHOWN_ATTEMPTS: Final = 10


class _Submission(NamedTuple):
    """A task to submit: the service validates its fields."""

    fields: Fields
    own: Any


_read_own: Final = reader_of(OwnFields)


def _read_submission(fields: Fields) -> _Submission:
    """Split the arguments into the task and the rest.

    Raises:
        Unprocessable: The rest is invalid, or there is no such field.
    """
    errors = ValidationErrors()
    note_unknown(fields, NAMES, errors)
    errors.raise_if_any()
    own = _read_own({name: value for name, value in fields.items() if name in OWN_NAMES})
    task = {name: value for name, value in fields.items() if name not in OWN_NAMES}
    return _Submission(task, own)


@tool(SubmitTask, TaskDetails, SENDS, _read_submission)
async def submit_task(client: Client, given: _Submission) -> TaskDetails:
    """Submit a task: an HTTP request that TaskFlow sends in the background.

    It is retried until it succeeds or has no attempts left, and its response is kept. The payload
    is a URL to GET, or an object with url, method, headers and body.
    """
    options: dict[str, Any] = {**given.fields}
    payload = options.pop("payload", msgspec.Raw(b"null"))
    task = await client.submit(
        payload,
        idempotency_key=given.own.idempotency_key,
        wait_seconds=given.own.wait_seconds or None,
        **options,
    )
    return details_of(task)


@tool(OneTask, TaskDetails, READS)
async def get_task(client: Client, given: OneTask) -> TaskDetails:
    """Get a task with its status, and with its result or the error of its last attempt."""
    return details_of(await client.get(given.task_id))


@tool(WaitForTask, TaskDetails, READS)
async def wait_for_task(client: Client, given: WaitForTask) -> TaskDetails:
    """Wait until a task is finished, and return it.

    If it does not finish in time, it is returned as it is, with finished = false: call again.
    """
    try:
        return details_of(await client.wait(given.task_id, given.timeout_seconds))
    except NotFinished:
        return details_of(await client.get(given.task_id))


@tool(ReadResult, ResultPart, READS)
async def read_result(client: Client, given: ReadResult) -> ResultPart:
    """Read the body of the response of a COMPLETED task, a part at a time if it is long."""
    result = (await client.get(given.task_id)).raise_for_failure()
    text = bytes(result.result).decode("utf-8", "replace")
    if result.encoding != "json":
        text = msgspec.json.decode(result.result, type=str)
    end = given.offset + given.max_characters
    return ResultPart(
        text=text[given.offset : end],
        encoding=result.encoding,
        content_type=result.content_type,
        total_characters=len(text),
        next_offset=end if end < len(text) else None,
    )


@tool(OneTask, Attempts, READS)
async def list_attempts(client: Client, given: OneTask) -> Attempts:
    """List the attempts of a task, each with its error and the beginning of the response."""
    made = await client.attempts(given.task_id)
    return Attempts(
        attempts=[attempt_of(one) for one in made[-MAX_SHOWN_ATTEMPTS:]], total=len(made)
    )


@tool(ListTasks, TaskPage, READS)
async def list_tasks(client: Client, given: Any) -> TaskPage:
    """List tasks, newest first. A task must match all filters; results are not included."""
    end = given.offset + given.limit
    tasks = client.iter_tasks(page=MAX_LISTED, fields=SUMMARY_FIELDS, **filters_of(given))
    found = await selected(tasks, summary_of, end + 1)
    listed = fitting(found[given.offset : end])
    next_offset = given.offset + len(listed)
    return TaskPage(
        tasks=list(listed), next_offset=next_offset if next_offset < len(found) else None
    )


@tool(OneTask, TaskDetails, SENDS)
async def retry_task(client: Client, given: OneTask) -> TaskDetails:
    """Retry a FAILED or CANCELED task: it has all its attempts again."""
    return details_of(await client.retry(given.task_id))


@tool(RetryTasks, BulkOutcome, SENDS)
async def retry_tasks(client: Client, given: Any) -> BulkOutcome:
    """Retry all FAILED and CANCELED tasks that match the filters, of which one is required.

    Count them first with dry_run = true.
    """
    dry_run = given.dry_run is True
    done = await client.retry_many(dry_run=dry_run, **filters_of(given))
    return BulkOutcome(count=done.count, complete=done.complete, dry_run=done.dry_run)


@tool(OneTask, TaskDetails, Hints(is_destructive=True, is_idempotent=True))
async def cancel_task(client: Client, given: OneTask) -> TaskDetails:
    """Cancel a task that is not finished. A running attempt is aborted."""
    return details_of(await client.cancel(given.task_id))


def filters_of(given: Any) -> Any:
    """Return the filters among arguments."""
    return {name: value for name in FILTERS if (value := getattr(given, name, UNSET)) is not UNSET}


TASK_TOOLS: Final = (
    submit_task,
    get_task,
    wait_for_task,
    list_tasks,
    read_result,
    list_attempts,
    retry_task,
    retry_tasks,
    cancel_task,
)
