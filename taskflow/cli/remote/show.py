"""``taskflow show``."""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

import click
import msgspec

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.events import line_of
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.task_ids import full_id
from taskflow.cli.remote.values import TASK_ID
from taskflow.cli.text import moment, moment_and_age, safe
from taskflow.client.asynchronous.client import Client
from taskflow.client.task import Download, Task
from taskflow.model.display import YES_OR_NO, duration, size
from taskflow.model.filter import tag_text
from taskflow.model.outcome import KeptResponse
from taskflow.model.task import AttemptRecord, TaskStatus

MAX_SHOWN_CHARACTERS: Final = 1000  # of a payload or a response
MAX_LISTED_PARENTS: Final = 10
_COLUMNS: Final = (
    Column("ATTEMPT", is_number=True),
    Column("STATUS"),
    Column("STARTED"),
    Column("TOOK", is_number=True),
    Column("RESPONSE", is_number=True),
    Column("NODE", may_shrink=True, drop_order=1),
    Column("ERROR", may_shrink=True),
)


@click.command("show")
@click.argument("given", metavar="ID", type=TASK_ID)
@click.option("--watch", "-w", is_flag=True, help="Follow the task until it is finished.")
@click.option("--attempts", "-a", is_flag=True, help="Show each attempt.")
@click.option("--result", "-r", is_flag=True, help="Write the response body, unchanged.")
@json_option("Task", when="; with --attempts an AttemptRecord for each, with --watch a TaskEvent")
@service_options
def show_command(
    *,
    given: str,
    watch: bool,
    attempts: bool,
    result: bool,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Show a task, its attempts or its result.

    \b
      taskflow show 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow show 01a20c58-b6fd --watch --attempts
      taskflow show 01a20c58-b6fd-77bf-9328-1ccde011d8da --result > page.html
    """
    if result and (attempts or as_json):
        raise click.UsageError("--result can be combined with --watch only")

    async def read(client: Client) -> Download | tuple[Task, list[AttemptRecord]]:
        task_id = await full_id(client, given)
        if watch:
            await _watch(client, task_id, as_json=as_json, is_quiet=result)
        if result:
            return await client.download(task_id)
        task = await client.get(task_id)
        needs_response = task.status is TaskStatus.FAILED and not as_json
        return task, await client.attempts(task_id) if attempts or needs_response else []

    found = service.call(read)
    if isinstance(found, Download):
        write_result(found)
        return
    task, made = found
    if as_json:
        for one in made if watch else [task, *made]:
            output.json_line(one)
        return
    output.pairs(pairs_of(task, dt.datetime.now(dt.UTC)))
    _write_responses(made if attempts else made[-1:], is_short=not attempts)
    if attempts:
        output.line()
        output.table(_COLUMNS, map(attempt_row, made))


async def _watch(client: Client, task_id: uuid.UUID, *, as_json: bool, is_quiet: bool) -> None:
    async with client.iter_events(task_id) as events:
        async for event in events:
            if is_quiet:
                continue
            output.json_line(event) if as_json else output.draw(line_of(event))
            output.flush()


def pairs_of(task: Task, now: dt.datetime) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a task; default values are left out."""
    yield "id", task.id
    yield "status", task.status
    yield "error", _error_of(task)
    yield "held", task.held and task.held.detail
    yield "waiting for", _waiting_for(task)
    yield "payload", _payload_of(task)
    yield "result", _result_of(task)
    yield "queue", task.queue
    yield "order key", task.order_key
    yield "on failure", task.on_failure
    yield "group", task.group
    yield "completion of", task.completion_of
    yield "name", task.name
    yield "after", _listed(task.after)
    yield "on parent failure", task.on_parent_failure
    yield "priority", task.priority or None
    yield "attempt", f"{task.attempt} of {task.max_attempts}"
    yield "rescues", task.rescues or None
    yield "created", moment_and_age(task.created_at, now)
    yield "due", _if_later(task, now)
    yield "started", moment_and_age(task.started_at, now)
    yield "finished", moment_and_age(task.finished_at, now)
    yield "expires", task.expires_at and moment(task.expires_at)
    yield "signed", YES_OR_NO[task.sign]
    yield "credential", task.credential
    yield "unique key", task.unique and task.unique.key
    yield "debounce key", task.debounce and task.debounce.key
    yield "debounced", task.debounced or None
    yield "tags", " ".join(f"{n}={tag_text(v)}" for n, v in task.tags.items()) or None
    yield "completion", _completion_of(task)
    yield "callback", task.callback_url
    yield "callback id", task.callback_id
    yield "callback of", task.callback_of
    yield "schedule", task.schedule
    yield "scheduled", task.scheduled_at and moment(task.scheduled_at)


def attempt_row(attempt: AttemptRecord) -> tuple[object, ...]:
    """Return the cells of an attempt."""
    return (
        attempt.number,
        attempt.status,
        moment(attempt.started_at),
        None if attempt.elapsed_seconds is None else duration(attempt.elapsed_seconds),
        attempt.status_code,
        attempt.node,
        attempt.error or None,
    )


def _write_responses(made: Sequence[AttemptRecord], *, is_short: bool) -> None:
    """Print the responses to failed attempts: the whole bodies, or their beginnings."""
    for one in made:
        if not one.response:
            continue
        output.line()
        output.line(f"response to attempt {one.number}: {_summary_of(one.response)}")
        for name, value in one.response.headers.items():
            output.line(f"  {name}: {value}")
        text = one.response.text
        if text:
            output.line()
        for row in (_shortened(text) if is_short else text).splitlines():
            output.line(f"  {row}")


def _summary_of(response: KeptResponse) -> str:
    kind = response.content_type or "no content type"
    form = " in base64" if response.encoding == "base64" else ""
    cut = "the first " if response.truncated else ""
    return f"{response.status}, {kind}, {cut}{size(response.size)}{form}, from {response.url}"


def write_result(saved: Download) -> None:
    """Write a response body unchanged; on a terminal, as escaped text."""
    if output.is_terminal():
        sys.stdout.write(safe(saved.content.decode("utf-8", "replace"), keep="\n\t") + "\n")
        return
    output.flush()
    sys.stdout.buffer.write(saved.content)
    sys.stdout.buffer.flush()


def _error_of(task: Task) -> str | None:
    return f"{task.error_type}: {task.error}" if task.error else None


def _if_later(task: Task, now: dt.datetime) -> str | None:
    if task.status.is_final or task.run_at is None or task.run_at <= now:
        return None
    return moment_and_age(task.run_at, now)


def _waiting_for(task: Task) -> str | None:
    if (waiting := task.waiting_for) is None:
        return None
    return waiting.detail if waiting.task_id is None else f"{waiting.task_id}: {waiting.detail}"


def _completion_of(task: Task) -> str | None:
    if (completion := task.completion) is None:
        return None
    return f"{completion.mode} within {duration(completion.within_seconds)}"


def _listed(ids: Sequence[uuid.UUID] | None) -> str | None:
    if ids is None:
        return None
    more = len(ids) - MAX_LISTED_PARENTS
    text = " ".join(map(str, ids[:MAX_LISTED_PARENTS]))
    return f"{text} and {more} more" if more > 0 else text


def _payload_of(task: Task) -> str:
    if task.payload_bytes.lstrip().startswith(b'"'):
        text: str = msgspec.json.decode(task.payload_bytes)
    else:
        text = msgspec.json.format(task.payload_bytes, indent=-1).decode("utf-8", "replace")
    return _shortened(text)


def _shortened(text: str) -> str:
    limit = MAX_SHOWN_CHARACTERS
    return text if len(text) <= limit else f"{text[:limit]}..."


def _result_of(task: Task) -> str | None:
    if (result := task.result) is None:
        return None
    kind = result.content_type or "no content type"
    took = duration(result.elapsed_seconds)
    return f"{result.status}, {kind}, {size(result.size)}, in {took} from {result.url}"
