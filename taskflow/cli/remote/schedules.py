"""``taskflow schedules``."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
from msgspec import UNSET, UnsetType

from taskflow.cli import output
from taskflow.cli.columns import Column
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.remote_command import ask, service_options
from taskflow.cli.remote.task_options import (
    REQUEST_NAMES,
    options_of,
    payload_of,
    request_options,
    template_options,
)
from taskflow.cli.remote.values import DURATION, FUTURE
from taskflow.cli.text import ago, duration, moment
from taskflow.client.errors import NotFound
from taskflow.client.on_trio.client import Client
from taskflow.client.options import Submission
from taskflow.model.schedule import Missed, Schedule

_COLUMNS: Final = (
    Column("SCHEDULE", may_shrink=True),
    Column("WHEN", may_shrink=True),
    Column("STATE"),
    Column("NEXT"),
    Column("LAST", goes=1),
    Column("STATUS"),
)
# Of the two ways to be due, one takes the place of the other.
_WITHOUT: Final[Mapping[str | None, dict[str, None]]] = {
    "cron": {"every": None, "start_at": None},
    "every": {"cron": None},
}
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
@click.option(
    "--conditional/--unconditional",
    default=None,
    help="Fetch only what has changed since last time.",
)
@click.option(
    "--paused/--resumed", default=None, help="Make no tasks for the time being, or make them again."
)
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
    conditional: bool | None,
    paused: bool | None,
    must_be_new: bool,
    as_json: bool,
    service_url: str | None,
    timeout_seconds: float,
    **said: Any,
) -> None:
    """Make a schedule, or change the one of this name: what is not given stays as it is.

    \b
      taskflow schedules put reports https://example.com/ --cron '30 6 * * 1-5' --queue mail
      taskflow schedules put feed https://example.com/feed --every 5m --conditional
      taskflow schedules put feed --every 10m
    """
    if target is not None and path is not None:
        raise click.UsageError("give a URL, or a task by --file, not both")
    if cron is not None and every is not None:
        raise click.UsageError("say when by --cron or by --every, not by both")
    said_of_times = {
        "cron": cron,
        "every": every,
        "start_at": start_at,
        "timezone": timezone,
        "missed": missed,
        "conditional": conditional,
        "paused": paused,
    }
    given = {name: value for name, value in said_of_times.items() if value is not None}
    task = _task_of(target, path, said)
    options = {} if isinstance(task, Submission) else _options_alone(said)
    if task is UNSET and not given and not options:
        raise click.UsageError("say what to change, such as --every 10m")

    async def work(client: Client) -> Schedule:
        if not must_be_new:
            with contextlib.suppress(NotFound):
                changed: dict[str, Any] = {**_WITHOUT.get(_way_of(given), {}), **given}
                return await client.schedules.update(name, task, options=options, **changed)
        return await _make(client, name, task, given)

    _print(ask(service_url, timeout_seconds, work), as_json=as_json)


async def _make(
    client: Client, name: str, task: Submission | UnsetType, given: Mapping[str, Any]
) -> Schedule:
    """Make a schedule that does not exist yet."""
    if task is UNSET:
        raise click.UsageError(f"give a URL, or a task by --file: {name} does not exist yet")
    if _way_of(given) is None:
        raise click.UsageError(f"say when: by --cron or by --every; {name} does not exist yet")
    return await client.schedules.put(name, task, must_be_new=True, **given)


def _way_of(given: Mapping[str, object]) -> str | None:
    """By what a schedule is said to be due."""
    return next((way for way in _WITHOUT if way in given), None)


def _options_alone(said: dict[str, Any]) -> dict[str, Any]:
    """Options of the task of a schedule whose URL stays."""
    if any(said[name] for name in REQUEST_NAMES):
        raise click.UsageError("--method, --header, --data and --fetch-timeout need the URL")
    return dict(options_of(said))


def _task_of(target: str | None, path: Path | None, said: dict[str, Any]) -> Submission | UnsetType:
    options = options_of(said)
    if target is not None:
        return Submission(payload_of(target, said), **options)
    if path is None:
        return UNSET
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
