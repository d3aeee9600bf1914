"""``taskflow audit``."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.options import declared_option, declared_options
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.text import moment
from taskflow.client.asynchronous.client import Client
from taskflow.model.audit import AuditEntry
from taskflow.schema.query import LARGEST_PAGE, AuditRequest

DEFAULT_LIMIT: Final = 20
_COLUMNS: Final = (
    Column("TIME"),
    Column("ACTION"),
    Column("TARGET", may_shrink=True),
    Column("COUNT", is_number=True),
    Column("ACTOR", may_shrink=True),
    Column("ADDRESS", drop_order=1),
    Column("DETAIL", may_shrink=True, drop_order=2),
)
_FLAGS: Final = {"at_after": ("--since", "--at-after"), "at_before": ("--until", "--at-before")}
_FILTERS: Final = ("actor", "action", "target_kind", "target", "at_after", "at_before")


@click.command("audit")
@declared_options(declared_option(AuditRequest, name, *_FLAGS.get(name, ())) for name in _FILTERS)
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(1),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Maximum number of entries.",
)
@json_option("AuditEntry")
@service_options
def audit_command(*, limit: int, as_json: bool, service: RemoteService, **filters: Any) -> None:
    """Show who did what, newest first.

    This needs a key with the role admin.

    \b
      taskflow audit --since 7d --action queue.pause
      taskflow audit --target-kind schedule --target reports
      taskflow audit --actor ops --json -n 100000 > audit.ndjson
    """

    async def work(client: Client) -> list[AuditEntry]:
        found: list[AuditEntry] = []
        stream = client.iter_audit(page=min(limit, LARGEST_PAGE), **filters)
        while len(found) < limit and (entry := await anext(stream, None)) is not None:
            found.append(entry)
        return found

    output.records(service.call(work), _COLUMNS, row_of, as_json=as_json)


def row_of(entry: AuditEntry) -> tuple[object, ...]:
    """Return the cells of an entry."""
    return (
        moment(entry.at) if output.is_terminal() else entry.at.isoformat(),
        entry.action,
        entry.target,
        entry.count,
        entry.actor,
        entry.address,
        msgspec.json.encode(entry.detail).decode() if entry.detail else None,
    )
