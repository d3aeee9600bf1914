"""``taskflow nodes`` and ``taskflow hosts``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

import click

from taskflow.cli import output
from taskflow.cli.columns import Column
from taskflow.cli.remote.remote_command import ask, service_options
from taskflow.cli.text import ago, duration, moment
from taskflow.model.monitoring import HostRecord, NodeRecord

_NODES: Final = (
    Column("NODE"),
    Column("STATE"),
    Column("VERSION"),
    Column("WORKERS", is_number=True),
    Column("RUNNING", is_number=True),
    Column("LONGEST", is_number=True),
    Column("STARTED", goes=1),
    Column("HEARTBEAT"),
    Column("TIME ZONES", goes=2),
)
_HOSTS: Final = (
    Column("HOST", may_shrink=True),
    Column("FETCHED", is_number=True),
    Column("FAILED", is_number=True),
    Column("MEDIAN", is_number=True),
    Column("SLOWEST", is_number=True),
    Column("RUNNING", is_number=True),
    Column("HELD BACK", may_shrink=True),
)


@click.command("nodes")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a node a line.")
@service_options
def nodes_command(*, as_json: bool, service_url: str | None, timeout_seconds: float) -> None:
    """List the processes that run tasks, and those that died lately.

    \b
      taskflow nodes
    """
    nodes = ask(service_url, timeout_seconds, lambda client: client.nodes())
    if as_json:
        for node in nodes:
            output.json_line(node)
        return
    output.table(_NODES, node_rows(nodes))


@click.command("hosts")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a host a line.")
@service_options
def hosts_command(*, as_json: bool, service_url: str | None, timeout_seconds: float) -> None:
    """Show how the hosts that tasks call are doing, those in trouble first.

    It is worked out from the tasks that were fetched last, and from what is running.

    \b
      taskflow hosts
    """
    hosts = ask(service_url, timeout_seconds, lambda client: client.hosts())
    if as_json:
        for host in hosts:
            output.json_line(host)
        return
    output.table(_HOSTS, host_rows(hosts))


def node_rows(nodes: Iterable[NodeRecord]) -> Iterator[tuple[object, ...]]:
    """The row of each."""
    now = dt.datetime.now(dt.UTC)
    for node in nodes:
        longest = node.longest_running_seconds
        yield (
            node.name,
            "alive" if node.alive else "LOST",
            node.version,
            node.workers,
            node.running,
            None if longest is None else duration(longest),
            moment(node.started_at),
            ago(node.renewed_at, now),
            node.tz_version,
        )


def host_rows(hosts: Iterable[HostRecord]) -> Iterator[tuple[object, ...]]:
    """The row of each."""
    for host in hosts:
        held = host.held and f"until {moment(host.held.until)}: {host.held.why}"
        yield (
            host.host,
            host.fetched,
            host.failed,
            None if host.median_ms is None else duration(host.median_ms / 1000),
            None if host.slowest_ms is None else duration(host.slowest_ms / 1000),
            host.running,
            held,
        )
