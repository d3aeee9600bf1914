"""``taskflow list`` and ``taskflow export``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from taskflow.cli import output
from taskflow.cli.columns import Column
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.filters import filter_options, filters_of
from taskflow.cli.remote.remote_command import ask, service_options
from taskflow.cli.text import ago, safe_json
from taskflow.client.filters import Filters
from taskflow.client.on_trio.client import Client
from taskflow.client.task import Task
from taskflow.model.filter import url_of

DEFAULT_LIMIT: Final = 20
FIELDS: Final = ("queue", "attempt", "max_attempts", "error_type", "error", "waiting_for")
_COLUMNS: Final = (
    Column("ID"),
    Column("STATUS"),
    Column("QUEUE", may_shrink=True, goes=2),
    Column("CREATED"),
    Column("ATTEMPT", goes=3),
    Column("URL", may_shrink=True, least=16),
    Column("ERROR", may_shrink=True, least=12, goes=1),
)


@click.command("list")
@filter_options
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(1),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="How many at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Whole tasks as JSON, one a line.")
@service_options
def list_command(
    *, limit: int, as_json: bool, service_url: str | None, timeout_seconds: float, **filters: Any
) -> None:
    """List tasks, newest first.

    On a terminal the columns are cut to fit it. Elsewhere each task is a line of id, status, queue,
    creation, attempts, URL and error, with tabs between them.

    \b
      taskflow list --status FAILED --since 2h
      taskflow list --queue mail --tag customer=42 -n 100
      taskflow list --json | jq -r .payload
    """
    wanted = filters_of(filters)
    if as_json:
        ask(service_url, timeout_seconds, partial(_print_lines, limit=limit, filters=wanted))
        return
    tasks = ask(
        service_url,
        timeout_seconds,
        lambda client: client.list_tasks(limit=limit, fields=FIELDS, **wanted),
    )
    output.table(_COLUMNS, rows_of(tasks, is_for_people=output.is_terminal()))


def rows_of(tasks: Iterable[Task], *, is_for_people: bool) -> Iterator[tuple[object, ...]]:
    """The row of each."""
    now = dt.datetime.now(dt.UTC)
    for task in tasks:
        why = task.error or (task.waiting_for and task.waiting_for.detail)
        yield (
            task.id,
            task.status,
            task.queue,
            ago(task.created_at, now, units=1) if is_for_people else task.created_at.isoformat(),
            f"{task.attempt}/{task.max_attempts}",
            url_of(task.payload) or bytes(task.payload)[:200].decode("utf-8", "replace"),
            why,
        )


@click.command("export")
@filter_options
@click.option("--fields", metavar="NAMES", help="Only these of each, with commas between them.")
@click.option("--limit", "-n", type=click.IntRange(1), help="How many at most.")
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, instead of standard output.",
)
@service_options
def export_command(
    *,
    fields: str | None,
    limit: int | None,
    path: Path | None,
    service_url: str | None,
    timeout_seconds: float,
    **filters: Any,
) -> None:
    """Write all tasks that match as NDJSON: a JSON object a line, newest first.

    They are written as they come, however many there are. Exit status 0 means that all are there.

    \b
      taskflow export --status FAILED --since 7d -o failed.ndjson
      taskflow export --fields id,status,payload | gzip > tasks.gz
      taskflow export --status FAILED --fields payload,queue | taskflow submit -
    """
    wanted = filters_of(filters)
    names = [name.strip() for name in fields.split(",")] if fields else None
    with _opened(path) as file:
        written = ask(
            service_url,
            timeout_seconds,
            partial(_write_lines, file=file, limit=limit, fields=names, filters=wanted),
        )
    if path is not None:
        click.echo(f"{path}: {written} tasks", err=True)


async def _print_lines(client: Client, *, limit: int, filters: Filters) -> None:
    async with client.export(limit=limit, **filters) as lines:
        async for document in lines:
            output.raw_json(document)


async def _write_lines(
    client: Client,
    *,
    file: BinaryIO | None,
    limit: int | None,
    fields: list[str] | None,
    filters: Filters,
) -> int:
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
    """The file to write.

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
