"""``taskflow heartbeats``."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.options import declared_option
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.sections import ListCommands
from taskflow.cli.text import moment, moment_and_age
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import NotFound
from taskflow.model.display import duration
from taskflow.model.heartbeat_monitors import Heartbeat, Ping
from taskflow.schema.heartbeats import HeartbeatRequest

_COLUMNS: Final = (
    Column("HEARTBEAT", may_shrink=True),
    Column("STATE"),
    Column("EXPECTED", may_shrink=True),
    Column("LAST PING"),
    Column("NEXT"),
    Column("DESCRIPTION", may_shrink=True, drop_order=1),
)
_PING_COLUMNS: Final = (
    Column("PING"),
    Column("AT"),
    Column("SIGNAL"),
    Column("DURATION"),
    Column("FROM", drop_order=1),
    Column("NOTE", may_shrink=True),
)
# What to remove from a heartbeat when it gets a cron expression or an interval.
_REPLACED: Final[Mapping[str, dict[str, None]]] = {
    "cron": {"every_seconds": None},
    "every_seconds": {"cron": None},
}


@click.group("heartbeats", cls=ListCommands)
def heartbeats_command() -> None:
    """Watch jobs that run elsewhere; without a subcommand, list all heartbeats.

    A job requests the ping URL of its heartbeat each time that it has run. If no ping arrives in
    time, the heartbeat is down.

    \b
      taskflow heartbeats put backup --cron '30 2 * * *' --grace 30m
      taskflow heartbeats url backup
      taskflow heartbeats
    """


@heartbeats_command.command("list")
@json_option("Heartbeat")
@service_options
def _list_heartbeats(*, as_json: bool, service: RemoteService) -> None:
    """List all heartbeats by name.

    \b
      taskflow heartbeats list --json
    """

    async def work(client: Client) -> list[Heartbeat]:
        return [one async for one in client.heartbeats.iter()]

    output.records(service.call(work), _COLUMNS, row_of, as_json=as_json)


@heartbeats_command.command("show")
@click.argument("name")
@json_option("Heartbeat")
@service_options
def _show(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show a heartbeat.

    \b
      taskflow heartbeats show backup
    """
    heartbeat = service.call(lambda client: client.heartbeats.get(name))
    output.record(heartbeat, pairs_of, as_json=as_json)


@heartbeats_command.command("history")
@click.argument("name")
@json_option("HeartbeatHistory")
@service_options
def _history(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show the last pings of a heartbeat, newest first; with --json the changes of its state, too.

    \b
      taskflow heartbeats history backup
    """
    history = service.call(lambda client: client.heartbeats.history(name))
    if as_json:
        output.json_line(history)
    else:
        output.table(_PING_COLUMNS, map(ping_row_of, history.pings))


@heartbeats_command.command("url")
@click.argument("name")
@service_options
def _url(*, name: str, service: RemoteService) -> None:
    """Print the ping URL of a heartbeat. Who knows it can ping, and nothing else.

    \b
      taskflow heartbeats url backup
          curl -fsS --retry 5 $(taskflow heartbeats url backup)
    """
    heartbeat = service.call(lambda client: client.heartbeats.get(name))
    if heartbeat.ping_url is None:
        raise click.ClickException("the ping URL is shown to keys with the role write or admin")
    click.echo(heartbeat.ping_url)


@heartbeats_command.command("put")
@click.argument("name")
@declared_option(HeartbeatRequest, "every_seconds")
@declared_option(HeartbeatRequest, "cron")
@declared_option(HeartbeatRequest, "timezone", metavar="NAME")
@declared_option(HeartbeatRequest, "grace_seconds")
@declared_option(HeartbeatRequest, "max_run_seconds")
@declared_option(HeartbeatRequest, "description", metavar="TEXT")
@declared_option(HeartbeatRequest, "paused", "--paused/--resumed")
@json_option("Heartbeat")
@service_options
def _put(*, name: str, as_json: bool, service: RemoteService, **settings: Any) -> None:
    """Create or change a heartbeat; settings that are not given stay unchanged.

    \b
      taskflow heartbeats put sync --every 1h --grace 10m
      taskflow heartbeats put backup --cron '30 2 * * *' --timezone Europe/Berlin
      taskflow heartbeats put backup --grace 1h
    """
    given = {one: value for one, value in settings.items() if value is not None}
    if not given:
        raise click.UsageError("give something to change, such as --every 1h")
    triggers = [one for one in _REPLACED if one in given]
    if len(triggers) > 1:
        raise click.UsageError("give either --cron or --every")

    async def work(client: Client) -> Heartbeat:
        with contextlib.suppress(NotFound):
            replaced: dict[str, Any] = {**_REPLACED[triggers[0]]} if triggers else {}
            return await client.heartbeats.update(name, **replaced, **given)
        if not triggers:
            raise click.UsageError(
                f"give --cron or --every: the heartbeat {name} does not exist yet"
            )
        return await client.heartbeats.put(name, **given)

    output.record(service.call(work), pairs_of, as_json=as_json)


def _verb(name: str, text: str, *, paused: bool) -> None:
    """Add a command that pauses or resumes a heartbeat."""

    @heartbeats_command.command(name, help=text)
    @click.argument("name")
    @json_option("Heartbeat")
    @service_options
    def command(*, name: str, as_json: bool, service: RemoteService) -> None:
        heartbeat = service.call(lambda client: client.heartbeats.update(name, paused=paused))
        output.record(heartbeat, pairs_of, as_json=as_json)


_verb(
    "pause",
    "Ignore missed pings of a heartbeat.\n\n\b\n  taskflow heartbeats pause backup",
    paused=True,
)
_verb(
    "resume",
    "Notice missed pings of a heartbeat again, from now on.\n\n\b\n"
    "  taskflow heartbeats resume backup",
    paused=False,
)


@heartbeats_command.command("rotate")
@click.argument("name")
@json_option("Heartbeat")
@service_options
def _rotate(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Replace the ping URL of a heartbeat; the old one is unknown from now on.

    \b
      taskflow heartbeats rotate backup
    """
    heartbeat = service.call(lambda client: client.heartbeats.rotate(name))
    output.record(heartbeat, pairs_of, as_json=as_json)


@heartbeats_command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@service_options
def _delete(*, names: tuple[str, ...], service: RemoteService) -> None:
    """Delete heartbeats with their history; their ping URLs are unknown from now on.

    \b
      taskflow heartbeats delete backup
    """

    async def work(client: Client) -> None:
        for name in names:
            await client.heartbeats.delete(name)
            output.line(name, "deleted")

    service.call(work)


def when_of(heartbeat: Heartbeat) -> str:
    """Return when pings are expected, in words."""
    if heartbeat.cron is None:
        return f"every {duration(heartbeat.every_seconds or 0.0)}"
    return f"{heartbeat.cron} {heartbeat.timezone}"


def row_of(heartbeat: Heartbeat) -> tuple[object, ...]:
    """Return the cells of a heartbeat."""
    return (
        heartbeat.name,
        heartbeat.state,
        when_of(heartbeat),
        heartbeat.last_ping_at and moment(heartbeat.last_ping_at),
        heartbeat.next_expected_at and moment(heartbeat.next_expected_at),
        heartbeat.description,
    )


def ping_row_of(ping: Ping) -> tuple[object, ...]:
    """Return the cells of a ping."""
    return (
        ping.number,
        moment(ping.at),
        ping.signal if ping.exit_code is None else f"{ping.signal} ({ping.exit_code})",
        None if ping.duration_seconds is None else duration(ping.duration_seconds),
        ping.address,
        ping.note,
    )


def pairs_of(heartbeat: Heartbeat) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a heartbeat."""
    now = dt.datetime.now(dt.UTC)
    yield "heartbeat", heartbeat.name
    yield "state", heartbeat.state
    yield "since", moment_and_age(heartbeat.state_since, now)
    yield "description", heartbeat.description or None
    yield "expected", when_of(heartbeat)
    yield "grace", duration(heartbeat.grace_seconds)
    if heartbeat.max_run_seconds is not None:
        yield "run time", f"at most {duration(heartbeat.max_run_seconds)}"
    yield "next", moment_and_age(heartbeat.next_expected_at, now)
    yield "down at", moment_and_age(heartbeat.down_at, now)
    yield "started", moment_and_age(heartbeat.started_at, now)
    yield "last ping", moment_and_age(heartbeat.last_ping_at, now)
    yield "last signal", heartbeat.last_signal
    yield "exit code", heartbeat.last_exit_code
    if heartbeat.last_duration_seconds is not None:
        yield "last run took", duration(heartbeat.last_duration_seconds)
    yield "pings", heartbeat.ping_count or None
    yield "ping URL", heartbeat.ping_url
