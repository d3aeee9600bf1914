"""``taskflow bench``."""

from __future__ import annotations

import uuid
from typing import Final

import click
import trio

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.address import address_for
from taskflow.cli.remote.bench_target import serve_target
from taskflow.cli.remote.measurement import Measured, Measuring
from taskflow.cli.remote.remote_command import ask, service_options
from taskflow.cli.remote.values import DURATION
from taskflow.cli.text import duration
from taskflow.client.on_trio.client import Client
from taskflow.client.proxies import is_loopback

MOST_TASKS: Final = 100_000


@click.command("bench")
@click.option(
    "--tasks",
    "-n",
    type=click.IntRange(1, MOST_TASKS),
    default=1000,
    show_default=True,
    help="How many tasks.",
)
@click.option(
    "--at-once",
    "-c",
    type=click.IntRange(1, 500),
    default=16,
    show_default=True,
    help="How many POSTs are under way at once, a task each.",
)
@click.option(
    "--seconds",
    type=DURATION,
    default=60.0,
    show_default=True,
    help="After how long to stop, whatever is not done.",
)
@click.option("--target", metavar="URL", help="What to fetch, in place of a server of its own.")
@click.option("--keep", is_flag=True, help="Do not delete the tasks afterwards.")
@click.option(
    "--yes-load-it", is_flag=True, help="Measure a service that is not on this machine, too."
)
@click.option("--json", "as_json", is_flag=True, help="What was measured as JSON.")
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
    service_url: str | None,
    timeout_seconds: float,
) -> None:
    """Measure how fast tasks are taken and worked off.

    It hands tasks in, in a queue of their own, and waits until they are worked off, which begins
    while more are handed in; then it deletes them. Statistics show their queue for an hour. They
    fetch from a small server that this command runs on the loopback address; the service has to be
    started with TASKFLOW_ALLOW_NETWORKS=127.0.0.0/8 for that. All of them share the machine.

    \b
      taskflow bench
      taskflow bench -n 20000 -c 64 --json
    """
    is_here = is_loopback(address_for(service_url).url)
    if not is_here and not yes_load_it:
        raise Failure(
            "the service is not on this machine: say --yes-load-it if it may be put under load",
            ExitStatus.USAGE,
        )
    if not is_here and target is None:
        raise click.UsageError("a service elsewhere cannot fetch from here: give a --target")
    measuring = Measuring(f"bench-{uuid.uuid4().hex[:12]}", tasks=tasks, at_once=at_once)

    async def work(client: Client) -> Measured:
        async with trio.open_nursery() as nursery:
            url = target or await nursery.start(serve_target)
            try:
                return await measuring.run(client, url, seconds)
            finally:
                if not keep:
                    await measuring.clean_up(client)
                nursery.cancel_scope.cancel()

    measured = ask(service_url, timeout_seconds, work)
    if as_json:
        output.json_line(measured)
    else:
        _print(measured)
    if not measured.is_complete:
        raise Failure(f"not all tasks ended within {duration(seconds)}")


def _print(measured: Measured) -> None:
    taken = f"{measured.accepted_per_second:,.0f} a second"
    worked_off = f"{measured.ended_per_second:,.0f} a second"
    output.pairs(
        [
            ("tasks", f"{measured.accepted} taken, {measured.completed} COMPLETED"),
            ("other ends", measured.other_ends or None),
            ("taken", f"{taken}, in {duration(measured.accept_seconds)}"),
            ("a POST", measured.post_ms),
            ("worked off", f"{worked_off}, in {duration(measured.work_seconds)}"),
            ("until start", measured.start_ms),
            ("until end", measured.end_ms),
        ]
    )
