"""``taskflow bench``."""

from __future__ import annotations

import uuid
from typing import Final

import click
import trio

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.measurement import Measurement, Report, serve_target
from taskflow.cli.remote.remote_service import RemoteService, address_for, service_options
from taskflow.cli.remote.values import DURATION
from taskflow.client.asynchronous.client import Client
from taskflow.client.proxies import is_loopback
from taskflow.model.display import duration

MAX_TASKS: Final = 100_000


@click.command("bench")
@click.option(
    "--tasks",
    "-n",
    type=click.IntRange(1, MAX_TASKS),
    default=1000,
    show_default=True,
    help="Number of tasks.",
)
@click.option(
    "--at-once",
    "-c",
    type=click.IntRange(1, 500),
    default=16,
    show_default=True,
    help="Number of concurrent POST requests, with one task each.",
)
@click.option(
    "--seconds",
    type=DURATION,
    default=60.0,
    show_default=True,
    help="Time limit; unfinished tasks are canceled.",
)
@click.option("--target", metavar="URL", help="URL to fetch, instead of the built-in server.")
@click.option("--keep", is_flag=True, help="Do not delete the tasks afterwards.")
@click.option("--yes-load-it", is_flag=True, help="Allow a service on another machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@service_options
def bench_command(  # noqa: PLR0913 - each is an option
    *,
    tasks: int,
    at_once: int,
    seconds: float,
    target: str | None,
    keep: bool,
    yes_load_it: bool,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Measure submission and processing throughput.

    The command submits tasks to a queue of their own, waits until they are finished (processing
    starts with the first one), and deletes them. The statistics of the queue are kept for an hour.
    The tasks fetch from a small server that this command runs on the loopback address, so the
    service must be started with TASKFLOW_ALLOW_NETWORKS=127.0.0.0/8. The command, the service and
    its database share the machine.

    \b
      taskflow bench
      taskflow bench -n 20000 -c 64 --json
    """
    is_local = is_loopback(address_for(service.url).url)
    if not is_local and not yes_load_it:
        raise Failure(
            "the service is on another machine: use --yes-load-it if it may be put under load",
            ExitStatus.USAGE,
        )
    if not is_local and target is None:
        raise click.UsageError("a service on another machine needs a --target that it can reach")
    measurement = Measurement(f"bench-{uuid.uuid4().hex[:12]}", tasks=tasks, at_once=at_once)

    async def work(client: Client) -> Report:
        async with trio.open_nursery() as nursery:
            url = target or await nursery.start(serve_target)
            try:
                return await measurement.run(client, url, seconds)
            finally:
                if not keep:
                    await measurement.clean_up(client)
                nursery.cancel_scope.cancel()

    report = service.call(work)
    if as_json:
        output.json_line(report)
    else:
        _print(report)
    if not report.complete:
        raise Failure(f"not all tasks finished within {duration(seconds)}")


def _print(report: Report) -> None:
    submission = f"{report.submitted_per_second:,.0f} per second"
    processing = f"{report.finished_per_second:,.0f} per second"
    output.pairs(
        [
            ("tasks", f"{report.submitted} submitted, {report.completed} COMPLETED"),
            ("other outcomes", report.other_outcomes or None),
            ("submission", f"{submission}, in {duration(report.submit_seconds)}"),
            ("POST", report.post_seconds),
            ("processing", f"{processing}, in {duration(report.work_seconds)}"),
            ("until started", report.start_seconds),
            ("until finished", report.finish_seconds),
        ]
    )
