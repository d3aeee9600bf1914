"""``taskflow stats``."""

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
from taskflow.cli.columns import Column
from taskflow.cli.remote.remote_command import ask, failure_of, service_options
from taskflow.cli.remote.values import DURATION
from taskflow.cli.text import duration
from taskflow.client.errors import ClientError
from taskflow.client.on_trio.client import Client
from taskflow.model.monitoring import Minute
from taskflow.model.queues import QueueStatistics, TaskStatistics, TotalStatistics
from taskflow.model.task import TaskStatus

_COLUMNS: Final = (
    Column("QUEUE", may_shrink=True),
    *(Column(str(status), is_number=True) for status in TaskStatus),
    Column("OLDEST WAITS", is_number=True, goes=1),
    Column("COMPLETED/MIN", is_number=True, goes=1),
    Column("FAILED/MIN", is_number=True, goes=1),
)
_BARS: Final = " ▁▂▃▄▅▆▇█"
_TOTAL: Final = "all"


@click.command("stats")
@click.option("--queue", metavar="NAME", help="Of this queue alone.")
@click.option("--watch", "-w", is_flag=True, help="Again and again, until Ctrl+C.")
@click.option(
    "--interval",
    type=DURATION,
    default=1.0,
    show_default=True,
    help="How long to wait between two looks.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, a look a line.")
@service_options
def stats_command(
    *,
    queue: str | None,
    watch: bool,
    interval: float,
    as_json: bool,
    service_url: str | None,
    timeout_seconds: float,
) -> None:
    """Count tasks by queue and status, and those that ended in the last minute.

    With --watch a terminal has a table that stays up to date; elsewhere each look is a line of the
    time, how many tasks are PENDING, RUNNING, COMPLETED, FAILED and CANCELED, and how many were
    COMPLETED and FAILED in the last minute.

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
            seen = await client.stats(queue)
            if as_json:
                output.json_line(seen)
            elif watch:
                output.line(*_look_of(seen, queue))
            else:
                output.table(_COLUMNS, rows_of(seen, queue))
            if not watch:
                return
            output.flush()
            await trio.sleep(interval)

    ask(service_url, timeout_seconds, work)


def _look_of(seen: TaskStatistics, queue: str | None) -> tuple[object, ...]:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    one = seen.total if queue is None else seen.queues[0]
    return (now, *(one.counts.get(status, 0) for status in TaskStatus), *_lately(one))


async def _draw(client: Client, queue: str | None, interval: float) -> None:
    """A table that stays up to date; while there is no answer it says so, and stays."""
    with Live(console=output.console(), auto_refresh=False, screen=False) as live:
        drawn: list[Text | object] = []
        while True:
            try:
                drawn = [
                    output.table_of(_COLUMNS, rows_of(await client.stats(queue), queue)),
                    hour_of(await client.history(queue)),
                ]
                note = Text("Ctrl+C ends it", "dim")
            except ClientError as error:
                if not drawn:
                    raise
                note = Text(failure_of(error).message, "red")
            live.update(Group(*drawn, note), refresh=True)  # type: ignore[arg-type]
            await trio.sleep(interval)


def rows_of(seen: TaskStatistics, queue: str | None) -> Iterator[tuple[object, ...]]:
    """The row of each queue, and of all together unless one alone was asked for."""
    for one in seen.queues:
        yield row_of(one.queue, one)
    if queue is None:
        yield row_of(_TOTAL, seen.total)


def row_of(name: str, one: QueueStatistics | TotalStatistics) -> tuple[object, ...]:
    """The row of a queue."""
    oldest = one.oldest_waiting_seconds
    return (
        name,
        *(one.counts.get(status, 0) for status in TaskStatus),
        None if oldest is None else duration(oldest),
        *_lately(one),
    )


def hour_of(minutes: Sequence[Minute]) -> Text:
    """How many ended in each minute of the last hour, as a row of bars."""
    ended = [sum(minute.ended.values()) for minute in minutes]
    most = max(ended, default=0)
    bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // most) if most else 0] for count in ended)
    return Text.assemble(("ended in the last hour  ", "bold"), (bars, "green"), f"  {sum(ended)}")


def _lately(one: QueueStatistics | TotalStatistics) -> tuple[int, int]:
    completed = one.ended.get(TaskStatus.COMPLETED)
    failed = one.ended.get(TaskStatus.FAILED)
    return completed.last_minute if completed else 0, failed.last_minute if failed else 0
