"""``taskflow stats``, ``taskflow nodes`` and ``taskflow hosts``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

import click
import trio
from rich.console import Group
from rich.live import Live
from rich.text import Text

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.remote_service import (
    RemoteService,
    failure_of,
    json_option,
    service_options,
)
from taskflow.cli.remote.values import DURATION
from taskflow.cli.text import ago, moment
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import ClientError
from taskflow.model.display import duration
from taskflow.model.monitoring import HostRecord, Minute, NodeRecord
from taskflow.model.queues import QueueStatistics, TaskStatistics, TotalStatistics
from taskflow.model.task import TaskStatus

_COLUMNS: Final = (
    Column("QUEUE", may_shrink=True),
    *(Column(str(status), is_number=True) for status in TaskStatus),
    Column("OLDEST DUE", is_number=True, drop_order=1),
    Column("COMPLETED/MIN", is_number=True, drop_order=1),
    Column("FAILED/MIN", is_number=True, drop_order=1),
)
_BARS: Final = " ▁▂▃▄▅▆▇█"
_TOTAL: Final = "all"
_NODES: Final = (
    Column("NODE"),
    Column("STATE"),
    Column("VERSION"),
    Column("WORKERS", is_number=True),
    Column("RUNNING", is_number=True),
    Column("LONGEST", is_number=True),
    Column("STARTED", drop_order=1),
    Column("HEARTBEAT"),
    Column("TIME ZONES", drop_order=2),
)
_HOSTS: Final = (
    Column("HOST", may_shrink=True),
    Column("FETCHED", is_number=True),
    Column("FAILED", is_number=True),
    Column("MEDIAN", is_number=True),
    Column("SLOWEST", is_number=True),
    Column("RUNNING", is_number=True),
    Column("HELD", may_shrink=True),
)


@click.command("stats")
@click.option("--queue", metavar="NAME", help="Count the tasks of this queue only.")
@click.option("--watch", "-w", is_flag=True, help="Refresh until Ctrl+C.")
@click.option(
    "--interval",
    type=DURATION,
    default=1.0,
    show_default=True,
    help="Time between two refreshes.",
)
@json_option("TaskStatistics", when=" and refresh")
@service_options
def stats_command(
    *, queue: str | None, watch: bool, interval: float, as_json: bool, service: RemoteService
) -> None:
    """Count tasks by queue and status, and the tasks that finished in the last minute.

    On a terminal, --watch shows a table that is kept up to date. Elsewhere it prints a line per
    refresh: the time, the number of PENDING, RUNNING, COMPLETED, FAILED and CANCELED tasks, and the
    number that became COMPLETED and FAILED in the last minute.

    \b
      taskflow stats
      taskflow stats --watch --queue mail
      taskflow stats --watch --interval 10 --json >> stats.ndjson
    """

    async def work(client: Client) -> None:
        if watch and output.is_terminal() and not as_json:
            await _draw(client, queue, interval)
            return
        while True:
            statistics = await client.stats(queue)
            if as_json:
                output.json_line(statistics)
            elif watch:
                output.line(*_line_of(statistics, queue))
            else:
                output.table(_COLUMNS, rows_of(statistics, queue))
            if not watch:
                return
            output.flush()
            await trio.sleep(interval)

    service.call(work)


def _line_of(statistics: TaskStatistics, queue: str | None) -> tuple[object, ...]:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    one = statistics.total if queue is None else statistics.queues[0]
    return (now, *_counts_of(one), *_last_minute_of(one))


async def _draw(client: Client, queue: str | None, interval: float) -> None:
    """Keep a table up to date; while the service does not answer, it stays, with the error."""
    with Live(console=output.console(), auto_refresh=False, screen=False) as live:
        drawn: list[Text | object] = []
        while True:
            try:
                drawn = [
                    output.table_of(_COLUMNS, rows_of(await client.stats(queue), queue)),
                    hour_of(await client.history(queue)),
                ]
                note = Text("Press Ctrl+C to stop", "dim")
            except ClientError as error:
                if not drawn:
                    raise
                note = Text(failure_of(error).message, "red")
            live.update(Group(*drawn, note), refresh=True)  # type: ignore[arg-type]
            await trio.sleep(interval)


def rows_of(statistics: TaskStatistics, queue: str | None) -> Iterator[tuple[object, ...]]:
    """Return the row of each queue, and one with the total unless a single queue is shown."""
    for one in statistics.queues:
        yield row_of(one.queue, one)
    if queue is None:
        yield row_of(_TOTAL, statistics.total)


def row_of(name: str, one: QueueStatistics | TotalStatistics) -> tuple[object, ...]:
    """Return the cells of a queue, or of the total."""
    oldest = one.oldest_waiting_seconds
    return (
        name,
        *_counts_of(one),
        None if oldest is None else duration(oldest),
        *_last_minute_of(one),
    )


def hour_of(minutes: Sequence[Minute]) -> Text:
    """Draw the number of tasks that finished in each minute of the last hour as a row of bars."""
    finished = [sum(minute.finished.values()) for minute in minutes]
    highest = max(finished, default=0)
    bars = "".join(
        _BARS[-(-count * (len(_BARS) - 1) // highest) if highest else 0] for count in finished
    )
    return Text.assemble(
        ("finished in the last hour  ", "bold"), (bars, "green"), f"  {sum(finished)}"
    )


def _counts_of(one: QueueStatistics | TotalStatistics) -> tuple[int, ...]:
    return tuple(one.counts.get(status, 0) for status in TaskStatus)


def _last_minute_of(one: QueueStatistics | TotalStatistics) -> tuple[int, int]:
    completed = one.finished.get(TaskStatus.COMPLETED)
    failed = one.finished.get(TaskStatus.FAILED)
    return completed.last_minute if completed else 0, failed.last_minute if failed else 0


@click.command("nodes")
@json_option("NodeRecord")
@service_options
def nodes_command(*, as_json: bool, service: RemoteService) -> None:
    """List the processes that run tasks, including processes that died recently.

    \b
      taskflow nodes
    """
    output.records(service.call(lambda client: client.nodes()), _NODES, node_row, as_json=as_json)


@click.command("hosts")
@json_option("HostRecord")
@service_options
def hosts_command(*, as_json: bool, service: RemoteService) -> None:
    """Show the state of the hosts that tasks call, problems first.

    The figures are from the most recently fetched tasks and the running ones.

    \b
      taskflow hosts
    """
    output.records(service.call(lambda client: client.hosts()), _HOSTS, host_row, as_json=as_json)


def node_row(node: NodeRecord) -> tuple[object, ...]:
    """Return the cells of a node."""
    longest = node.longest_running_seconds
    return (
        node.name,
        "alive" if node.alive else "LOST",
        node.version,
        node.workers,
        node.running,
        None if longest is None else duration(longest),
        moment(node.started_at),
        ago(node.renewed_at, dt.datetime.now(dt.UTC)),
        node.tz_version,
    )


def host_row(host: HostRecord) -> tuple[object, ...]:
    """Return the cells of a host."""
    return (
        host.host,
        host.fetched,
        host.failed,
        None if host.median_seconds is None else duration(host.median_seconds),
        None if host.slowest_seconds is None else duration(host.slowest_seconds),
        host.running,
        host.held and f"until {host.held.until and moment(host.held.until)}: {host.held.detail}",
    )
