"""``taskflow failures``."""

from __future__ import annotations

import datetime as dt
from typing import Final

import click

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.values import DURATION
from taskflow.cli.text import ago
from taskflow.model.grouped_failures import Failure, FailureState
from taskflow.model.outcome import ErrorType

_BARS: Final = " ▁▂▃▄▅▆▇█"
_COLUMNS: Final = (
    Column("ID"),
    Column("FAILED", is_number=True),
    Column("OCCURRED", is_number=True, drop_order=1),
    Column("LAST"),
    Column("QUEUE", may_shrink=True),
    Column("HOST", may_shrink=True),
    Column("ERROR", may_shrink=True),
    Column("24 HOURS", drop_order=2),
)


@click.command("failures")
@click.option("--queue", metavar="NAME", help="Only failures of tasks of this queue.")
@click.option("--host", metavar="NAME", help="Only failures of tasks for this host.")
@click.option(
    "--error-type",
    type=click.Choice([str(one) for one in ErrorType]),
    help="Only failures with this type of error.",
)
@click.option("--since", type=DURATION, metavar="AGE", help="Only what failed within this time.")
@click.option(
    "--state",
    type=click.Choice([str(one) for one in FailureState]),
    default=str(FailureState.OPEN),
    show_default=True,
    help="Whether there are FAILED tasks left.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many."
)
@json_option("Failure")
@service_options
def failures_command(  # noqa: PLR0913 - each is an option
    *,
    queue: str | None,
    host: str | None,
    error_type: str | None,
    since: float | None,
    state: str,
    limit: int,
    as_json: bool,
    service: RemoteService,
) -> None:
    """List what fails, grouped by cause: FAILED tasks that have the same cause are one failure.

    --failure of the commands for tasks selects the tasks of a failure.

    \b
      taskflow failures
      taskflow failures --queue mail --since 1h
      taskflow list --failure 5cb1a0f4-3f0e-8a6d-9d3f-0c6c2b9e4a71
      taskflow retry --failure 5cb1a0f4-3f0e-8a6d-9d3f-0c6c2b9e4a71
    """
    oldest = None if since is None else dt.datetime.now(dt.UTC) - dt.timedelta(seconds=since)
    found = service.call(
        lambda client: client.failures(
            state=state, queue=queue, host=host, error_type=error_type, since=oldest, limit=limit
        )
    )
    output.records(found, _COLUMNS, failure_row, as_json=as_json)


def failure_row(failure: Failure) -> tuple[object, ...]:
    """Return the cells of a failure."""
    return (
        failure.id,
        failure.failed,
        failure.occurrences,
        ago(failure.last_at, dt.datetime.now(dt.UTC)),
        failure.queue,
        failure.host,
        failure.message or failure.error_type,
        trend_of(failure),
    )


def trend_of(failure: Failure) -> str:
    """Draw the number of occurrences in each of the last hours as a row of bars."""
    highest = max(failure.trend, default=0) or 1
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // highest)] for count in failure.trend)
