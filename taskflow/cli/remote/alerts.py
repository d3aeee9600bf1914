"""``taskflow alerts``. URLs of chats are read from files, because other users see arguments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import click

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.input_lines import STANDARD_INPUT, json_fields_of
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.values import DURATION
from taskflow.cli.sections import Commands
from taskflow.cli.text import moment_and_age
from taskflow.client.asynchronous.client import Client
from taskflow.model.alerts import FILTERS, THRESHOLDS, Alert, AlertNotification

_COLUMNS: Final = (
    Column("ALERT", may_shrink=True),
    Column("STATUS"),
    Column("ON"),
    Column("FIRES FOR", may_shrink=True),
    Column("SINCE", drop_order=1),
    Column("NOTIFIES", may_shrink=True, drop_order=2),
)
_NOTIFICATION_COLUMNS: Final = (
    Column("SENT"),
    Column("KIND"),
    Column("TITLE", may_shrink=True),
    Column("TASKS", may_shrink=True, drop_order=1),
)


@click.group("alerts", cls=Commands, invoke_without_command=True)
@click.pass_context
def alerts_command(ctx: click.Context) -> None:
    """Create, test, silence and delete alerts; without a subcommand, list them.

    An alert notifies people by e-mail, chat or webhook when tasks fail, a queue waits, a schedule
    misses its time, or a node is lost, and when that has ended.

    \b
      taskflow alerts
      taskflow alerts put mail-failures --file alert.json
      taskflow alerts test mail-failures
      taskflow alerts silence mail-failures 2h
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(_list_alerts)


@alerts_command.command("list")
@json_option("Alert")
@service_options
def _list_alerts(*, as_json: bool, service: RemoteService) -> None:
    """List all alerts by name.

    \b
      taskflow alerts list --json
    """
    found = service.call(lambda client: client.alerts.all())
    output.records(found, _COLUMNS, row_of, as_json=as_json)


@alerts_command.command("show")
@click.argument("name")
@json_option("Alert")
@service_options
def _show(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show an alert, and for what it fires.

    \b
      taskflow alerts show mail-failures
    """
    alert = service.call(lambda client: client.alerts.get(name))
    output.record(alert, pairs_of, as_json=as_json)


@alerts_command.command("history")
@click.argument("name")
@json_option("AlertNotification")
@service_options
def _history(*, name: str, as_json: bool, service: RemoteService) -> None:
    """List the last notifications of an alert, the newest first, with their tasks.

    \b
      taskflow alerts history mail-failures
    """
    found = service.call(lambda client: client.alerts.notifications(name))
    output.records(found, _NOTIFICATION_COLUMNS, notification_row_of, as_json=as_json)


@alerts_command.command("put")
@click.argument("name")
@click.option(
    "--file",
    "-f",
    "path",
    default=STANDARD_INPUT,
    help="The JSON file with the alert. Default: standard input.",
)
@json_option("Alert")
@service_options
def _put(*, name: str, path: str, as_json: bool, service: RemoteService) -> None:
    """Create or replace an alert.

    It is read as JSON from a file or standard input: URLs of chats are secrets, and other users of
    this machine see the arguments of commands. docs/how-to/use-alerts.md has examples.

    \b
      taskflow alerts put mail-failures --file alert.json
    """
    fields = json_fields_of(path)
    alert = service.call(lambda client: client.alerts.put(name, fields))
    output.record(alert, pairs_of, as_json=as_json)


@alerts_command.command("test")
@click.argument("name")
@json_option("AlertNotification")
@service_options
def _test(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Send a test to the destinations of an alert; `taskflow show` of a task says if it arrived.

    \b
      taskflow alerts test mail-failures
    """
    sent = service.call(lambda client: client.alerts.test(name))
    output.record(sent, notification_pairs_of, as_json=as_json)


@alerts_command.command("silence")
@click.argument("name")
@click.argument("duration", type=DURATION)
@json_option("Alert")
@service_options
def _silence(*, name: str, duration: float, as_json: bool, service: RemoteService) -> None:
    """Let an alert notify nothing for some time, such as 2h; it is evaluated all the same.

    \b
      taskflow alerts silence mail-failures 2h
    """
    alert = service.call(lambda client: client.alerts.silence(name, duration))
    output.record(alert, pairs_of, as_json=as_json)


@alerts_command.command("unsilence")
@click.argument("name")
@json_option("Alert")
@service_options
def _unsilence(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Let a silenced alert notify again.

    \b
      taskflow alerts unsilence mail-failures
    """
    alert = service.call(lambda client: client.alerts.silence(name, None))
    output.record(alert, pairs_of, as_json=as_json)


@alerts_command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@service_options
def _delete(*, names: tuple[str, ...], service: RemoteService) -> None:
    """Delete alerts.

    \b
      taskflow alerts delete mail-failures
    """

    async def work(client: Client) -> None:
        for name in names:
            await client.alerts.delete(name)
            output.line(name, "deleted")

    service.call(work)


def row_of(alert: Alert) -> tuple[object, ...]:
    """Return the cells of an alert."""
    return (
        alert.name,
        alert.status,
        alert.on,
        " ".join(one.name for one in alert.subjects) or None,
        moment_and_age(alert.since, dt.datetime.now(dt.UTC)),
        " ".join(dict.fromkeys(one.kind for one in alert.to)),
    )


def pairs_of(alert: Alert) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe an alert."""
    now = dt.datetime.now(dt.UTC)
    yield "alert", alert.name
    yield "status", alert.status
    yield "on", alert.on
    for name in (*FILTERS, *THRESHOLDS):
        if (value := getattr(alert, name)) is not None:
            yield name.replace("_", " "), f"{value:g}" if isinstance(value, float) else value
    for one in alert.to:
        yield "to", f"{one.kind} {one.url or ' '.join(one.addresses or ())}"
    yield "every seconds", f"{alert.every_seconds:g}"
    yield "notify recovery", "yes" if alert.notify_recovery else "no"
    yield "since", moment_and_age(alert.since, now)
    for subject in alert.subjects:
        yield "fires for", f"{subject.name}: {subject.detail}" if subject.detail else subject.name
    yield "silenced until", moment_and_age(alert.silenced_until, now)
    yield "evaluated", moment_and_age(alert.evaluated_at, now)
    yield "notified", moment_and_age(alert.notified_at, now)


def notification_row_of(one: AlertNotification) -> tuple[object, ...]:
    """Return the cells of a notification."""
    at = moment_and_age(one.at, dt.datetime.now(dt.UTC))
    return at, one.kind, one.title, " ".join(map(str, one.tasks)) or None


def notification_pairs_of(one: AlertNotification) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a notification."""
    yield "sent", moment_and_age(one.at, dt.datetime.now(dt.UTC))
    yield "kind", one.kind
    yield "title", one.title
    for task_id in one.tasks:
        yield "task", task_id
