"""``taskflow schedules``."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
from msgspec import UNSET, UnsetType

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.output import Column
from taskflow.cli.remote.options import (
    REQUEST_NAMES,
    declared_option,
    options_of,
    payload_of,
    request_options,
    template_options,
)
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.sections import ListCommands
from taskflow.cli.text import ago, moment, moment_and_age, safe
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import NotFound
from taskflow.client.options import Submission
from taskflow.client.task import Schedule
from taskflow.model.display import duration
from taskflow.model.schedule import DEFAULT_NEXT_RUNS, MAX_NEXT_RUNS
from taskflow.schema.schedules import ScheduleRequest

_COLUMNS: Final = (
    Column("SCHEDULE", may_shrink=True),
    Column("WHEN", may_shrink=True),
    Column("STATE"),
    Column("NEXT"),
    Column("LAST", drop_order=1),
    Column("STATUS"),
)
_NEXT_COLUMNS: Final = (Column("RUN"), Column("IN"))
# What to remove from a schedule when it gets a cron expression or an interval.
_REPLACED: Final[Mapping[str | None, dict[str, None]]] = {
    "cron": {"every_seconds": None, "start_at": None},
    "every_seconds": {"cron": None},
}


@click.group("schedules", cls=ListCommands)
def schedules_command() -> None:
    """Create, show, pause, run and delete schedules; without a subcommand, list them.

    \b
      taskflow schedules
      taskflow schedules put reports --cron '30 6 * * MON-FRI' https://example.com/reports
      taskflow schedules run reports
    """


@schedules_command.command("list")
@json_option("Schedule")
@service_options
def _list_schedules(*, as_json: bool, service: RemoteService) -> None:
    """List all schedules by name.

    \b
      taskflow schedules list --json
    """

    async def work(client: Client) -> list[Schedule]:
        return [one async for one in client.schedules.iter()]

    output.records(service.call(work), _COLUMNS, row_of, as_json=as_json)


@schedules_command.command("show")
@click.argument("name")
@json_option("Schedule")
@service_options
def _show(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show a schedule.

    \b
      taskflow schedules show reports
    """
    schedule = service.call(lambda client: client.schedules.get(name))
    output.record(schedule, pairs_of, as_json=as_json)


@schedules_command.command("next")
@click.argument("name")
@click.option(
    "--count",
    type=click.IntRange(1, MAX_NEXT_RUNS),
    default=DEFAULT_NEXT_RUNS,
    show_default=True,
    help="Number of runs.",
)
@json_option("NextRuns")
@service_options
def _next(*, name: str, count: int, as_json: bool, service: RemoteService) -> None:
    """Show the next runs of a schedule; if it is paused, those after a resume now.

    \b
      taskflow schedules next reports
      taskflow schedules next reports --count 20 --json
    """
    runs = service.call(lambda client: client.schedules.next(name, count=count))
    now = dt.datetime.now(dt.UTC)
    if as_json:
        output.json_line(runs)
        return
    if runs.paused:
        click.echo(f"{safe(name)} is paused: these are its runs if it is resumed now", err=True)
    output.table(_NEXT_COLUMNS, ((moment(at), ago(at, now)) for at in runs.times))


@schedules_command.command("put")
@click.argument("name")
@click.argument("target", metavar="[URL]", required=False)
@click.option(
    "--file", "-f", "path", type=Path, help="A JSON file with a task, as POST /tasks accepts it."
)
@declared_option(ScheduleRequest, "cron")
@declared_option(ScheduleRequest, "every_seconds")
@declared_option(ScheduleRequest, "start_at")
@declared_option(ScheduleRequest, "timezone", metavar="NAME")
@declared_option(ScheduleRequest, "missed")
@declared_option(ScheduleRequest, "overlap")
@declared_option(ScheduleRequest, "conditional", "--conditional/--unconditional")
@declared_option(ScheduleRequest, "paused", "--paused/--resumed")
@click.option("--new", "must_be_new", is_flag=True, help="Change nothing if it exists already.")
@template_options
@request_options
@json_option("Schedule")
@service_options
def _put(  # noqa: PLR0913 - each is an option
    *,
    name: str,
    target: str | None,
    path: Path | None,
    cron: str | None,
    every_seconds: float | None,
    start_at: dt.datetime | None,
    timezone: str | None,
    missed: str | None,
    overlap: str | None,
    conditional: bool | None,
    paused: bool | None,
    must_be_new: bool,
    as_json: bool,
    service: RemoteService,
    **arguments: Any,
) -> None:
    """Create or change a schedule; settings that are not given stay unchanged.

    \b
      taskflow schedules put reports https://example.com/ --cron '30 6 * * 1-5' --queue mail
      taskflow schedules put feed https://example.com/feed --every 5m --conditional
      taskflow schedules put feed --every 10m
    """
    if target is not None and path is not None:
        raise click.UsageError("give either a URL or --file")
    if cron is not None and every_seconds is not None:
        raise click.UsageError("give either --cron or --every")
    settings = {
        "cron": cron,
        "every_seconds": every_seconds,
        "start_at": start_at,
        "timezone": timezone,
        "missed": missed,
        "overlap": overlap,
        "conditional": conditional,
        "paused": paused,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    task = _task_of(target, path, arguments)
    options = {} if isinstance(task, Submission) else _options_alone(arguments)
    if task is UNSET and not given and not options:
        raise click.UsageError("give something to change, such as --every 10m")

    async def work(client: Client) -> Schedule:
        if not must_be_new:
            with contextlib.suppress(NotFound):
                changed: dict[str, Any] = {**_REPLACED.get(_trigger_of(given), {}), **given}
                return await client.schedules.update(name, task, options=options, **changed)
        return await _create(client, name, task, given)

    output.record(service.call(work), pairs_of, as_json=as_json)


async def _create(
    client: Client, name: str, task: Submission | UnsetType, given: Mapping[str, Any]
) -> Schedule:
    """Create a schedule."""
    if task is UNSET:
        raise click.UsageError(f"give a URL or --file: the schedule {name} does not exist yet")
    if _trigger_of(given) is None:
        raise click.UsageError(f"give --cron or --every: the schedule {name} does not exist yet")
    return await client.schedules.put(name, task, must_be_new=True, **given)


def _trigger_of(given: Mapping[str, object]) -> str | None:
    """Return which of --cron and --every is given."""
    return next((name for name in _REPLACED if name in given), None)


def _options_alone(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the task, to change it without its request."""
    if any(arguments[name] for name in REQUEST_NAMES):
        raise click.UsageError("--method, --header, --data and --fetch-timeout need the URL")
    return dict(options_of(arguments))


def _task_of(
    target: str | None, path: Path | None, arguments: dict[str, Any]
) -> Submission | UnsetType:
    options = options_of(arguments)
    if target is not None:
        return Submission(payload_of(target, arguments), **options)
    if path is None:
        return UNSET
    try:
        return Submission.from_json(path.read_bytes(), **options)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", ExitStatus.USAGE) from None
    except ValueError as error:
        raise Failure(f"{path}: {error}", ExitStatus.USAGE) from None


def _verb(name: str, text: str, *, paused: bool) -> None:
    """Add a command that pauses or resumes schedules."""

    @schedules_command.command(name, help=text)
    @click.argument("name")
    @json_option("Schedule")
    @service_options
    def command(*, name: str, as_json: bool, service: RemoteService) -> None:
        schedule = service.call(lambda client: client.schedules.update(name, paused=paused))
        output.record(schedule, pairs_of, as_json=as_json)


_verb(
    "pause",
    "Stop submitting the tasks of a schedule.\n\n\b\n  taskflow schedules pause reports",
    paused=True,
)
_verb(
    "resume",
    "Submit the tasks of a paused schedule again.\n\n\b\n  taskflow schedules resume reports",
    paused=False,
)


@schedules_command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@service_options
def _delete(*, names: tuple[str, ...], service: RemoteService) -> None:
    """Delete schedules; tasks that they submitted stay.

    \b
      taskflow schedules delete reports
    """

    async def work(client: Client) -> None:
        for name in names:
            await client.schedules.delete(name)
            output.line(name, "deleted")

    service.call(work)


@schedules_command.command("run")
@click.argument("name")
@json_option("Task")
@service_options
def _run(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Submit the task of a schedule now, and print its id; its times do not change.

    \b
      taskflow schedules run reports
      taskflow show --watch $(taskflow schedules run reports)
    """
    task = service.call(lambda client: client.schedules.run(name))
    if as_json:
        output.json_line(task)
    else:
        output.line(task.id)


def when_of(schedule: Schedule) -> str:
    """Return the times at which a schedule is due, in words."""
    if schedule.cron is None:
        return f"every {duration(schedule.every_seconds or 0.0)}"
    return f"{schedule.cron} {schedule.timezone}"


def row_of(schedule: Schedule) -> tuple[object, ...]:
    """Return the cells of a schedule."""
    return (
        schedule.name,
        when_of(schedule),
        _state_of(schedule),
        schedule.next_run_at and moment(schedule.next_run_at),
        schedule.last_run_at and moment(schedule.last_run_at),
        schedule.last_task_status,
    )


def pairs_of(schedule: Schedule) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a schedule."""
    now = dt.datetime.now(dt.UTC)
    yield "schedule", schedule.name
    yield "when", when_of(schedule)
    yield "state", _state_of(schedule)
    yield "next", moment_and_age(schedule.next_run_at, now)
    yield "last", moment_and_age(schedule.last_run_at, now)
    yield "last task", schedule.last_task_id
    yield "last status", schedule.last_task_status
    yield "missed", schedule.missed
    yield "overlap", schedule.overlap
    yield "skipped", schedule.skipped_count or None
    yield "last skipped", moment_and_age(schedule.last_skipped_at, now)
    yield "conditional", "yes" if schedule.conditional else None
    yield "task", schedule.task_bytes.decode("utf-8", "replace")


def _state_of(schedule: Schedule) -> str:
    return "paused" if schedule.paused else "open"
