"""``taskflow schedules``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from taskflow.cli import output
from taskflow.cli.columns import Column
from taskflow.cli.ending import ExitStatus, Failure
from taskflow.cli.remote.service import ask, service_options
from taskflow.cli.remote.task_options import (
    options_of,
    payload_of,
    request_options,
    template_options,
)
from taskflow.cli.remote.values import DURATION, FUTURE
from taskflow.cli.text import ago, duration, moment
from taskflow.client.on_trio.client import Client
from taskflow.client.options import Submission
from taskflow.model.shown_schedule import Missed, Schedule

_COLUMNS: Final = (
    Column("SCHEDULE", may_shrink=True),
    Column("WHEN", may_shrink=True),
    Column("STATE"),
    Column("NEXT"),
    Column("LAST", goes=1),
    Column("STATUS"),
)
_as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, a schedule a line.")


@click.group("schedules", invoke_without_command=True)
@click.pass_context
def schedules_command(ctx: click.Context) -> None:
    """Make, show, run and delete schedules; by itself it lists them.

    \b
      taskflow schedules
      taskflow schedules put reports --cron '30 6 * * MON-FRI' https://example.com/reports
      taskflow schedules run reports
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(_list_schedules)


@schedules_command.command("list")
@_as_json
@service_options
def _list_schedules(*, as_json: bool, service_url: str | None, timeout_seconds: float) -> None:
    """List all schedules by name.

    \b
      taskflow schedules list --json
    """

    async def work(client: Client) -> list[Schedule]:
        return [one async for one in client.schedules.iter()]

    schedules = ask(service_url, timeout_seconds, work)
    if as_json:
        for schedule in schedules:
            output.json_line(schedule)
        return
    output.table(_COLUMNS, rows_of(schedules))


@schedules_command.command("show")
@click.argument("name")
@_as_json
@service_options
def _show(*, name: str, as_json: bool, service_url: str | None, timeout_seconds: float) -> None:
    """Show a schedule.

    \b
      taskflow schedules show reports
    """
    schedule = ask(service_url, timeout_seconds, lambda client: client.schedules.get(name))
    _print(schedule, as_json=as_json)


@schedules_command.command("put")
@click.argument("name")
@click.argument("target", metavar="[URL]", required=False)
@click.option("--file", "-f", "path", type=Path, help="A task as POST /tasks takes it, as JSON.")
@click.option("--cron", help="When: minute, hour, day of the month, month, day of the week.")
@click.option("--every", type=DURATION, help="When: an interval, such as 90, 15m or 1d.")
@click.option("--start-at", type=FUTURE, help="The moment that --every counts from.")
@click.option("--timezone", metavar="NAME", help="Whose clock --cron goes by: Europe/Berlin.")
@click.option(
    "--missed",
    type=click.Choice([str(one) for one in Missed]),
    help="What to do about times at which no node was up.",
)
@click.option("--conditional", is_flag=True, help="Fetch only what has changed since last time.")
@click.option("--paused", is_flag=True, help="Make no tasks for the time being.")
@click.option("--new", "must_be_new", is_flag=True, help="Change nothing if it exists already.")
@template_options
@request_options
@_as_json
@service_options
def _put(  # noqa: PLR0913 - each is an option
    *,
    name: str,
    target: str | None,
    path: Path | None,
    cron: str | None,
    every: float | None,
    start_at: dt.datetime | None,
    timezone: str | None,
    missed: str | None,
    conditional: bool,
    paused: bool,
    must_be_new: bool,
    as_json: bool,
    service_url: str | None,
    timeout_seconds: float,
    **said: Any,
) -> None:
    """Make a schedule, or replace the one of this name.

    \b
      taskflow schedules put reports https://example.com/ --cron '30 6 * * 1-5' --queue mail
      taskflow schedules put feed https://example.com/feed --every 5m --conditional
    """
    if (target is None) == (path is None):
        raise click.UsageError("give a URL, or a task by --file")
    if (cron is None) == (every is None):
        raise click.UsageError("say when: by --cron or by --every")
    task = _task_of(target, path, said)
    schedule = ask(
        service_url,
        timeout_seconds,
        lambda client: client.schedules.put(
            name,
            task,
            cron=cron,
            every=every,
            start_at=start_at,
            timezone=timezone,
            missed=missed,
            conditional=conditional,
            paused=paused,
            must_be_new=must_be_new,
        ),
    )
    _print(schedule, as_json=as_json)


def _task_of(target: str | None, path: Path | None, said: dict[str, Any]) -> Submission:
    options = options_of(said)
    if target is not None:
        return Submission(payload_of(target, said), **options)
    assert path is not None
    try:
        return Submission.from_json(path.read_bytes(), **options)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", ExitStatus.USAGE) from None
    except ValueError as error:
        raise Failure(f"{path}: {error}", ExitStatus.USAGE) from None


@schedules_command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@service_options
def _delete(*, names: tuple[str, ...], service_url: str | None, timeout_seconds: float) -> None:
    """Delete schedules; the tasks that they made stay.

    \b
      taskflow schedules delete reports
    """

    async def work(client: Client) -> None:
        for name in names:
            await client.schedules.delete(name)
            output.line(name, "deleted")

    ask(service_url, timeout_seconds, work)


@schedules_command.command("run")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The task as JSON.")
@service_options
def _run(*, name: str, as_json: bool, service_url: str | None, timeout_seconds: float) -> None:
    """Hand in a schedule's task now, and print its id; the times stay as they are.

    \b
      taskflow schedules run reports
      taskflow show --watch $(taskflow schedules run reports)
    """
    task = ask(service_url, timeout_seconds, lambda client: client.schedules.run(name))
    if as_json:
        output.json_line(task)
    else:
        output.line(task.id)


def when_of(schedule: Schedule) -> str:
    """When it is due, in words."""
    if schedule.cron is None:
        return f"every {duration(schedule.every or 0.0)}"
    return f"{schedule.cron} {schedule.timezone}"


def rows_of(schedules: Iterable[Schedule]) -> Iterator[tuple[object, ...]]:
    """The row of each."""
    for one in schedules:
        yield (
            one.name,
            when_of(one),
            "paused" if one.paused else "open",
            one.next_at and moment(one.next_at),
            one.last_fired_at and moment(one.last_fired_at),
            one.last_status,
        )


def _print(schedule: Schedule, *, as_json: bool) -> None:
    if as_json:
        output.json_line(schedule)
        return
    now = dt.datetime.now(dt.UTC)
    next_at, last_at = schedule.next_at, schedule.last_fired_at
    output.pairs(
        [
            ("schedule", schedule.name),
            ("when", when_of(schedule)),
            ("state", "paused" if schedule.paused else "open"),
            ("next", next_at and f"{moment(next_at)}  {ago(next_at, now)}"),
            ("last", last_at and f"{moment(last_at)}  {ago(last_at, now)}"),
            ("last task", schedule.last_task_id),
            ("last status", schedule.last_status),
            ("missed", schedule.missed),
            ("conditional", "yes" if schedule.conditional else None),
            ("task", bytes(schedule.task).decode("utf-8", "replace")),
        ]
    )
