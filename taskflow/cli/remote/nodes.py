"""``taskflow nodes`` and ``taskflow hosts``."""

from __future__ import annotations

import datetime as dt
from typing import Final

import click

from taskflow.cli import output
from taskflow.cli.columns import Column
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.text import ago, moment
from taskflow.model.display import duration
from taskflow.model.monitoring import HostRecord, NodeRecord

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


@click.command("nodes")
@json_option
@service_options
def nodes_command(*, as_json: bool, service: RemoteService) -> None:
    """List the processes that run tasks, and those that died recently.

    \b
      taskflow nodes
    """
    output.records(service.call(lambda client: client.nodes()), _NODES, node_row, as_json=as_json)


@click.command("hosts")
@json_option
@service_options
def hosts_command(*, as_json: bool, service: RemoteService) -> None:
    """Show the state of the hosts that tasks call, problems first.

    The figures are from the most recently fetched tasks and from those that are running.

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
