"""``taskflow list`` and ``taskflow export``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.output import Column
from taskflow.cli.remote.options import filter_options, filters_of
from taskflow.cli.remote.remote_service import RemoteService, service_options
from taskflow.cli.text import ago, safe_json
from taskflow.client.on_trio.client import Client
from taskflow.client.options import Filters
from taskflow.client.task import Task
from taskflow.model.filter import url_of

DEFAULT_LIMIT: Final = 20
FIELDS: Final = (
    *("queue", "attempt", "max_attempts", "error_type", "error", "held", "waiting_for"),
)
_MAX_PAYLOAD_BYTES: Final = 200  # of a payload without a URL
_COLUMNS: Final = (
    Column("ID"),
    Column("STATUS"),
    Column("QUEUE", may_shrink=True, drop_order=2),
    Column("CREATED"),
    Column("ATTEMPT", drop_order=3),
    Column("URL", may_shrink=True, min_width=16),
    Column("ERROR", may_shrink=True, min_width=12, drop_order=1),
)


@click.command("list")
@filter_options
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(1),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Maximum number of tasks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print whole tasks as JSON, one per line.")
@service_options
def list_command(*, limit: int, as_json: bool, service: RemoteService, **filters: Any) -> None:
    """List tasks, newest first.

    On a terminal the columns are truncated to fit it. Elsewhere each task is a line of id, status,
    queue, creation time, attempts, URL and error, separated by tabs.

    \b
      taskflow list --status FAILED --since 2h
      taskflow list --queue mail --tag customer=42 -n 100
      taskflow list --json | jq -r .payload
    """
    wanted = filters_of(filters)
    if as_json:
        service.call(partial(_write_lines, file=None, limit=limit, fields=None, filters=wanted))
        return
    tasks = service.call(lambda client: client.list_tasks(limit=limit, fields=FIELDS, **wanted))
    row_of = partial(_row_of, now=dt.datetime.now(dt.UTC) if output.is_terminal() else None)
    output.table(_COLUMNS, map(row_of, tasks))


def _row_of(task: Task, *, now: dt.datetime | None) -> tuple[object, ...]:
    """Return the cells of a task; with ``now``, its age is shown instead of its creation time."""
    waiting = task.waiting_for
    return (
        task.id,
        task.status,
        task.queue,
        ago(task.created_at, now, units=1) if now else task.created_at.isoformat(),
        f"{task.attempt}/{task.max_attempts}",
        url_of(task.payload) or bytes(task.payload)[:_MAX_PAYLOAD_BYTES].decode("utf-8", "replace"),
        task.error or (task.held and task.held.detail) or (waiting and waiting.detail),
    )


@click.command("export")
@filter_options
@click.option("--fields", metavar="NAMES", help="Write only these fields, separated by commas.")
@click.option("--limit", "-n", type=click.IntRange(1), help="Maximum number of tasks.")
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, instead of standard output.",
)
@service_options
def export_command(
    *,
    fields: str | None,
    limit: int | None,
    path: Path | None,
    service: RemoteService,
    **filters: Any,
) -> None:
    """Write all matching tasks as NDJSON: one JSON object per line, newest first.

    Tasks are streamed, so there is no limit to their number. Exit status 0 means that the export is
    complete.

    \b
      taskflow export --status FAILED --since 7d -o failed.ndjson
      taskflow export --fields id,status,payload | gzip > tasks.gz
      taskflow export --status FAILED --fields payload,queue | taskflow submit -
    """
    wanted = filters_of(filters)
    names = [name.strip() for name in fields.split(",")] if fields else None
    with _opened(path) as file:
        written = service.call(
            partial(_write_lines, file=file, limit=limit, fields=names, filters=wanted)
        )
    if path is not None:
        click.echo(f"{path}: {written} tasks", err=True)


async def _write_lines(
    client: Client,
    *,
    file: BinaryIO | None,
    limit: int | None,
    fields: list[str] | None,
    filters: Filters,
) -> int:
    """Write tasks to the file, or to standard output; return their number."""
    written = 0
    async with client.export(limit=limit, fields=fields, **filters) as lines:
        async for document in lines:
            if file is None:
                output.raw_json(document)
            else:
                file.write(safe_json(document.decode("utf-8", "replace")).encode() + b"\n")
            written += 1
    return written


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO | None]:
    """Open the file for writing.

    Raises:
        Failure: It cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        with path.open("wb") as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror or error}", ExitStatus.FAILED
        ) from None
