"""``taskflow queues``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.options import declared_option, nullable_fields
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.task_actions import confirm, total_of
from taskflow.cli.remote.values import LIMIT, NO_LIMIT, TEXT_OR_FILE, WHOLE_LIMIT
from taskflow.cli.sections import ListCommands
from taskflow.client.asynchronous.client import Client
from taskflow.model.display import YES_OR_NO, duration
from taskflow.model.queues import Queue, limits_text
from taskflow.model.task import TaskStatus
from taskflow.model.task_states import number_text
from taskflow.schema.queues import HostLimitsRequest, QueueRequest, RateRequest

_COLUMNS: Final = (
    Column("QUEUE", may_shrink=True),
    Column("STATE"),
    Column("PENDING", is_number=True),
    Column("RUNNING", is_number=True),
    Column("OLDEST DUE", is_number=True),
    Column("LIMITS", may_shrink=True),
)


@click.group("queues", cls=ListCommands)
def queues_command() -> None:
    """Show, limit, pause and purge queues; without a subcommand, list them.

    \b
      taskflow queues
      taskflow queues pause mail
      taskflow queues put mail --max-concurrency 10 --rate 5 --burst 10
    """


@queues_command.command("list")
@json_option("Queue")
@service_options
def _list_queues(*, as_json: bool, service: RemoteService) -> None:
    """List the queues that have tasks or limits, or are paused.

    \b
      taskflow queues list --json
    """
    queues = service.call(lambda client: client.queues.all())
    output.records(queues, _COLUMNS, row_of, as_json=as_json)


@queues_command.command("show")
@click.argument("name")
@json_option("Queue")
@service_options
def _show(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show a queue: its state, limits and tasks.

    \b
      taskflow queues show mail
    """
    queue = service.call(lambda client: client.queues.get(name))
    output.record(queue, pairs_of, as_json=as_json)


@queues_command.command("put")
@click.argument("name")
@declared_option(QueueRequest, "paused", "--paused/--resumed")
@declared_option(QueueRequest, "sign")
@declared_option(QueueRequest, "credential", metavar="NAME")
@declared_option(QueueRequest, "max_concurrency", type=WHOLE_LIMIT)
@declared_option(RateRequest, "per_second", "--rate", argument="rate", type=LIMIT)
@declared_option(RateRequest, "burst", type=WHOLE_LIMIT)
@declared_option(
    HostLimitsRequest,
    "max_concurrency",
    "--host-max-concurrency",
    argument="host_max_concurrency",
    type=WHOLE_LIMIT,
)
@declared_option(HostLimitsRequest, "rate", "--host-rate", argument="host_rate", type=LIMIT)
@click.option("--host-burst", type=WHOLE_LIMIT, help="As --burst, for each host.")
@click.option("--no-limits", is_flag=True, help="Remove all limits that are not given.")
@declared_option(QueueRequest, "egress_proxy", type=TEXT_OR_FILE, metavar="URL|direct|@FILE")
@click.option(
    "--unset",
    type=click.Choice([name.replace("_", "-") for name in nullable_fields(QueueRequest)]),
    multiple=True,
    help="A setting to reset to its default.",
)
@json_option("Queue")
@service_options
def _put(  # noqa: PLR0913 - each is an option
    *,
    name: str,
    paused: bool | None,
    sign: bool | None,
    credential: str | None,
    no_limits: bool,
    egress_proxy: str | None,
    unset: Sequence[str],
    as_json: bool,
    service: RemoteService,
    **limits: float | str | None,
) -> None:
    """Change the settings of a queue; settings that are not given stay unchanged.

    Limits apply to all nodes together. The value none removes a limit. The password of a proxy is
    best read from a file, because other users of this machine see the arguments of commands.

    \b
      taskflow queues put mail --max-concurrency 10 --rate 5 --burst 10
      taskflow queues put crawl --host-max-concurrency 2 --host-rate 1
      taskflow queues put mail --rate none
      taskflow queues put mail --no-limits
      taskflow queues put mail --sign
      taskflow queues put mail --credential billing
      taskflow queues put mail --unset sign
      taskflow queues put mail --egress-proxy @proxy.url
    """
    if no_limits:
        limits = {name: NO_LIMIT if value is None else value for name, value in limits.items()}
    change = change_of(limits)
    others = {
        "paused": paused,
        "sign": sign,
        "credential": credential,
        "egress_proxy": egress_proxy,
    }
    change |= {name: value for name, value in others.items() if value is not None}
    for flag in unset:
        if change.setdefault(flag.replace("-", "_"), None) is not None:
            raise click.UsageError(f"{flag} is given, and --unset names it")
    queue = service.call(lambda client: client.queues.update(name, **change))
    output.record(queue, pairs_of, as_json=as_json)


def change_of(limits: Mapping[str, float | str | None]) -> dict[str, Any]:
    """Return the options as a merge patch of the queue."""
    change = _part(limits, "max_concurrency") | _rate_change(limits, "rate", "burst")
    of_host = _part(limits, "host_max_concurrency") | _rate_change(
        limits, "host_rate", "host_burst"
    )
    of_host = {name.removeprefix("host_"): value for name, value in of_host.items()}
    return change | {"per_host": of_host} if of_host else change


def _rate_change(limits: Mapping[str, float | str | None], rate: str, burst: str) -> dict[str, Any]:
    """Return the patch of a rate and its burst; either may be given without the other."""
    per_second, bursts = _part(limits, rate), _part(limits, burst)
    if per_second.get(rate, 0) is None:
        if bursts.get(burst) is not None:
            raise click.UsageError(f"--{burst.replace('_', '-')} needs a rate")
        return per_second
    parts = {}
    if rate in per_second:
        parts["per_second"] = per_second[rate]
    if burst in bursts:
        parts["burst"] = bursts[burst]
    return {rate: parts} if parts else {}


def _part(limits: Mapping[str, float | str | None], name: str) -> dict[str, Any]:
    """Return the patch of an option; empty if the option was not given."""
    value = limits[name]
    if value is None:
        return {}
    return {name: None if value == NO_LIMIT else value}


def _verb(name: str, change: Callable[[Client, str], Awaitable[Queue]], text: str) -> click.Command:
    """Add a command whose only argument is a queue."""

    @queues_command.command(name, help=text)
    @click.argument("name")
    @json_option("Queue")
    @service_options
    def command(*, name: str, as_json: bool, service: RemoteService) -> None:
        queue = service.call(lambda client: change(client, name))
        output.record(queue, pairs_of, as_json=as_json)

    return command


_verb(
    "pause",
    lambda client, name: client.queues.pause(name),
    "Stop starting tasks of a queue; running ones finish.\n\n\b\n  taskflow queues pause mail",
)
_verb(
    "resume",
    lambda client, name: client.queues.resume(name),
    "Start tasks of a paused queue again.\n\n\b\n  taskflow queues resume mail",
)


@queues_command.command("purge")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@service_options
def _purge(*, name: str, yes: bool, service: RemoteService) -> None:
    """Cancel all PENDING tasks of a queue.

    \b
      taskflow queues purge mail --yes
    """

    async def work(client: Client) -> None:
        if not yes:
            pending = (await client.queues.get(name)).counts.get(TaskStatus.PENDING, 0)
            confirm(f"cancel {pending} tasks?")
        output.line(await total_of(partial(client.queues.purge, name)))

    service.call(work)


def row_of(queue: Queue) -> tuple[object, ...]:
    """Return the cells of a queue."""
    oldest = queue.oldest_waiting_seconds
    return (
        queue.name,
        _state_of(queue),
        queue.counts.get(TaskStatus.PENDING, 0),
        queue.counts.get(TaskStatus.RUNNING, 0),
        None if oldest is None else duration(oldest),
        limits_text(queue) or None,
    )


def pairs_of(queue: Queue) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a queue."""
    oldest = queue.oldest_waiting_seconds
    yield "queue", queue.name
    yield "state", _state_of(queue)
    yield "limits", limits_text(queue) or "none"
    yield "signed", YES_OR_NO[queue.sign]
    yield "credential", queue.credential
    yield "egress proxy", queue.egress_proxy
    yield from ((str(status), queue.counts.get(status, 0)) for status in TaskStatus)
    yield from (
        (state.value.replace("_", " "), number_text(number))
        for state, number in queue.states.items()
        if number.count and state.status is TaskStatus.PENDING
    )
    yield "oldest due", None if oldest is None else duration(oldest)


def _state_of(queue: Queue) -> str:
    return "paused" if queue.paused else "open"
