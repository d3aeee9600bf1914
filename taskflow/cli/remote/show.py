"""``taskflow show``."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import click
import msgspec

from taskflow.cli import output
from taskflow.cli.columns import STYLES, Column
from taskflow.cli.remote.remote_command import ask, service_options
from taskflow.cli.text import ago, duration, moment, safe, size
from taskflow.client.on_trio.client import Client
from taskflow.client.task import Download, Task
from taskflow.model.event import TaskEvent
from taskflow.model.filter import tag_text
from taskflow.model.outcome import KeptResponse
from taskflow.model.task import AttemptRecord, TaskStatus

SHOWN_PAYLOAD_CHARACTERS: Final = 1000
_COLUMNS: Final = (
    Column("ATTEMPT", is_number=True),
    Column("STATUS"),
    Column("STARTED"),
    Column("TOOK", is_number=True),
    Column("ANSWER", is_number=True),
    Column("NODE", may_shrink=True, goes=1),
    Column("ERROR", may_shrink=True),
)


@click.command("show")
@click.argument("task_id", metavar="ID", type=click.UUID)
@click.option("--watch", "-w", is_flag=True, help="Follow what happens to it, up to its end.")
@click.option("--attempts", "-a", is_flag=True, help="Tell how each attempt went.")
@click.option("--result", "-r", is_flag=True, help="Write the body that was fetched, as it came.")
@click.option("--json", "as_json", is_flag=True, help="JSON, of --watch an event a line.")
@service_options
def show_command(  # noqa: PLR0913 - each is an option
    *,
    task_id: Any,
    watch: bool,
    attempts: bool,
    result: bool,
    as_json: bool,
    service_url: str | None,
    timeout_seconds: float,
) -> None:
    """Show a task, its attempts or its result.

    \b
      taskflow show 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow show 01a20c58-b6fd-77bf-9328-1ccde011d8da --watch --attempts
      taskflow show 01a20c58-b6fd-77bf-9328-1ccde011d8da --result > page.html
    """
    if result and (attempts or as_json):
        raise click.UsageError("--result stands alone, or with --watch")
    asking = partial(ask, service_url, timeout_seconds)
    if watch:
        asking(partial(_watch, task_id=task_id, as_json=as_json, is_quiet=result))
    if result:
        write_result(asking(lambda client: client.download(task_id)))
        return
    task = asking(lambda client: client.get(task_id))
    wants_response = task.status is TaskStatus.FAILED and not as_json
    is_asked = attempts or wants_response
    made = asking(lambda client: client.attempts(task_id)) if is_asked else []
    if as_json:
        if not watch:
            output.json_line(task)
        for attempt in made:
            output.json_line(attempt)
        return
    output.pairs(page_of(task, dt.datetime.now(dt.UTC)))
    _write_responses(made if attempts else made[-1:], is_short=not attempts)
    if attempts:
        output.line()
        output.table(_COLUMNS, attempt_rows(made))


async def _watch(client: Client, *, task_id: Any, as_json: bool, is_quiet: bool) -> None:
    async with client.iter_events(task_id) as events:
        async for event in events:
            if is_quiet:
                continue
            output.json_line(event) if as_json else output.draw(event_line(event))
            output.flush()


def event_line(event: TaskEvent) -> Any:
    """What happened, in a line."""
    from rich.text import Text  # noqa: PLC0415 - nothing else here draws by itself

    status = (str(event.status), STYLES.get(event.status, ""))
    error = safe(f"  {event.error}") if event.error else ""
    return Text.assemble(
        f"{moment(event.at)}  ",
        status,
        f"  attempt {event.attempt}" if event.attempt else "",
        error,
    )


def page_of(task: Task, now: dt.datetime) -> Iterator[tuple[str, object]]:
    """What is shown of a task; what is as usual is left out."""
    yield "id", task.id
    yield "status", task.status
    yield "error", _error_of(task)
    yield "waiting for", task.waiting_for and task.waiting_for.detail
    yield "payload", _payload_of(task)
    yield "result", _result_of(task)
    yield "queue", task.queue
    yield "priority", task.priority or None
    yield "attempt", f"{task.attempt} of {task.max_attempts}"
    yield "rescues", task.rescues or None
    yield "created", f"{moment(task.created_at)}  {ago(task.created_at, now)}"
    yield "due", _if_later(task, now)
    yield "started", task.started_at and f"{moment(task.started_at)}  {ago(task.started_at, now)}"
    yield "ended", task.finished_at and f"{moment(task.finished_at)}  {ago(task.finished_at, now)}"
    yield "expires", task.expires_at and moment(task.expires_at)
    yield "tags", " ".join(f"{n}={tag_text(v)}" for n, v in task.tags.items()) or None
    yield "callback", task.callback_url
    yield "callback id", task.callback_id
    yield "callback of", task.callback_of
    yield "schedule", task.schedule
    yield "scheduled", task.scheduled_at and moment(task.scheduled_at)


def attempt_rows(attempts: Sequence[AttemptRecord]) -> Iterator[tuple[object, ...]]:
    """The row of each."""
    for one in attempts:
        took = None if one.elapsed_ms is None else duration(one.elapsed_ms / 1000)
        yield (
            one.number,
            one.status,
            moment(one.started_at),
            took,
            one.status_code,
            one.node,
            one.error or None,
        )


def _write_responses(made: Sequence[AttemptRecord], *, is_short: bool) -> None:
    """Write what was answered to attempts that failed; of one alone, the beginning."""
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
    """Write a body as it came; on a terminal only what cannot act on it."""
    if output.is_terminal():
        sys.stdout.write(safe(saved.content.decode("utf-8", "replace"), keep="\n\t") + "\n")
        return
    output.flush()
    sys.stdout.buffer.write(saved.content)
    sys.stdout.buffer.flush()


def _error_of(task: Task) -> str | None:
    return f"{task.error_type}: {task.error}" if task.error else None


def _if_later(task: Task, now: dt.datetime) -> str | None:
    if task.status.is_final or task.run_at <= now:
        return None
    return f"{moment(task.run_at)}  {ago(task.run_at, now)}"


def _payload_of(task: Task) -> str:
    if bytes(task.payload).lstrip().startswith(b'"'):
        text: str = msgspec.json.decode(task.payload)
    else:
        text = msgspec.json.format(bytes(task.payload), indent=-1).decode("utf-8", "replace")
    return _shortened(text)


def _shortened(text: str) -> str:
    limit = SHOWN_PAYLOAD_CHARACTERS
    return text if len(text) <= limit else f"{text[:limit]}..."


def _result_of(task: Task) -> str | None:
    if (result := task.result) is None:
        return None
    kind = result.content_type or "no content type"
    took = duration(result.elapsed_ms / 1000)
    return f"{result.status}, {kind}, {size(result.size)}, in {took} from {result.url}"
