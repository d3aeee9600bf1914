"""``taskflow events``."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from taskflow.cli import output
from taskflow.cli.exit_status import complain
from taskflow.cli.output import STYLES
from taskflow.cli.remote.options import STATUSES
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.task_ids import full_id
from taskflow.cli.remote.values import TAG, TASK_ID, dict_of
from taskflow.cli.text import moment, safe
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import EventsMissed
from taskflow.model.event import TaskEvent
from taskflow.model.task import TagValue


@click.command("events")
@click.argument("task_id", metavar="[ID]", type=TASK_ID, required=False)
@click.option("--queue", metavar="NAME", help="Only events of tasks of this queue.")
@click.option(
    "--tag",
    "tags",
    type=TAG,
    multiple=True,
    help="Only events of tasks with this tag, or with all of several.",
)
@click.option(
    "--status",
    "statuses",
    type=STATUSES,
    multiple=True,
    help="Only changes to this status, or to one of several.",
)
@click.option(
    "--after",
    type=click.IntRange(0, 10**18 - 1),
    metavar="EVENT",
    help="Start after the event with this id. Default: with the next event.",
)
@click.option("--limit", "-n", type=click.IntRange(1), help="End after this number of events.")
@json_option("TaskEvent")
@service_options
def events_command(  # noqa: PLR0913 - each is an option
    *,
    task_id: str | None,
    queue: str | None,
    tags: tuple[tuple[str, TagValue], ...],
    statuses: tuple[str, ...],
    after: int | None,
    limit: int | None,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Follow the changes of tasks: of one until it is finished, or of all until Ctrl+C.

    A broken connection is opened again, and no event is lost. On a terminal an event is a line for
    people. Elsewhere its columns are separated by tabs: the id of the event, time, id of the task,
    status, queue, attempts and error.

    \b
      taskflow events --queue mail --status FAILED
      taskflow events 01a20c58
      taskflow events --json --after 4711 >> events.ndjson
    """
    if task_id is not None and (queue is not None or tags):
        raise click.UsageError("give either an id, or --queue and --tag")
    wanted = dict_of(tags, "--tag")

    async def follow(client: Client) -> None:
        one = None if task_id is None else await full_id(client, task_id)
        shown = 0
        async with client.iter_events(one, queue=queue, tags=wanted, after=after) as events:
            while limit is None or shown < limit:
                try:
                    event = await anext(events, None)
                except EventsMissed as error:
                    complain(str(error))
                    continue
                if event is None:
                    return
                if not statuses or event.status in statuses:
                    shown += 1
                    _print(event, as_json=as_json)

    service.call(follow)


def _print(event: TaskEvent, *, as_json: bool) -> None:
    if as_json:
        output.json_line(event)
    elif output.is_terminal():
        output.draw(line_of(event, of_task=event.task_id))
    else:
        output.line(*_cells_of(event))
    output.flush()


def line_of(event: TaskEvent, *, of_task: object = "") -> Text:
    """Return the line for an event; ``of_task`` is the id of the task, where that is not clear."""
    return Text.assemble(
        f"{of_task}  " if of_task else "",
        f"{moment(event.at)}  ",
        (str(event.status), STYLES.get(event.status, "")),
        f"  attempt {event.attempt}" if event.attempt else "",
        safe(f"  {event.error}") if event.error else "",
    )


def _cells_of(event: TaskEvent) -> tuple[Any, ...]:
    at = event.at.isoformat()
    return (event.id, at, event.task_id, event.status, event.queue, event.attempt, event.error)
