"""``taskflow list`` and ``taskflow export``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.cli.output import Column
from taskflow.cli.remote.options import filter_options, filters_of
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.text import ago, safe_json
from taskflow.client.asynchronous.client import Client
from taskflow.client.options import Filters
from taskflow.client.task import Task
from taskflow.model.display import duration
from taskflow.model.filter import tag_text, url_of

DEFAULT_LIMIT: Final = 20
_MAX_PAYLOAD_BYTES: Final = 200  # of a payload without a URL


class TaskColumn(NamedTuple):
    """A column of a list of tasks.

    Attributes:
        column: How it is shown; its title in lower case is its name.
        value: Returns the value of a task, by which tasks are sorted.
        fields: What it needs of a task, besides what every list has.
        shown: Returns the cell for a value other than ``None``; ``is_short`` on a terminal.
    """

    column: Column
    value: Callable[[Task], Any]
    fields: tuple[str, ...] = ()
    shown: Callable[[Any, bool], object] = lambda value, is_short: value  # noqa: ARG005 - of all


def _moment_cell(at: dt.datetime, is_short: bool) -> str:  # noqa: FBT001 - see TaskColumn
    return ago(at, dt.datetime.now(dt.UTC), units=1) if is_short else at.isoformat()


def _duration_cell(seconds: float, is_short: bool) -> str:  # noqa: FBT001 - see TaskColumn
    return duration(seconds) if is_short else f"{seconds:.3f}"


def _duration_of(task: Task) -> float | None:
    if task.started_at is None:
        return None
    return ((task.finished_at or dt.datetime.now(dt.UTC)) - task.started_at).total_seconds()


def _url_of(task: Task) -> str:
    beginning = task.payload_bytes[:_MAX_PAYLOAD_BYTES].decode("utf-8", "replace")
    return url_of(task.payload_bytes) or beginning


def _error_of(task: Task) -> str | None:
    reasons = (one.detail for one in (task.held, task.waiting_for) if one is not None)
    return task.error or next(reasons, None)


_DEFAULT_COLUMNS: Final = (
    TaskColumn(Column("ID"), lambda task: task.id),
    TaskColumn(Column("STATUS"), lambda task: task.status),
    TaskColumn(Column("QUEUE", may_shrink=True, drop_order=2), lambda task: task.queue, ("queue",)),
    TaskColumn(Column("CREATED"), lambda task: task.created_at, shown=_moment_cell),
    TaskColumn(
        Column("ATTEMPT", drop_order=3),
        lambda task: (task.attempt, task.max_attempts),
        ("attempt", "max_attempts"),
        shown=lambda value, _: "{}/{}".format(*value),
    ),
    TaskColumn(Column("URL", may_shrink=True, min_width=16), _url_of),
    TaskColumn(
        Column("ERROR", may_shrink=True, min_width=12, drop_order=1),
        _error_of,
        ("error", "held", "waiting_for"),
    ),
)
_OTHER_COLUMNS: Final = (
    TaskColumn(Column("DUE"), lambda task: task.run_at, shown=_moment_cell),
    TaskColumn(
        Column("STARTED"), lambda task: task.started_at, ("started_at",), shown=_moment_cell
    ),
    TaskColumn(
        Column("FINISHED"), lambda task: task.finished_at, ("finished_at",), shown=_moment_cell
    ),
    TaskColumn(
        Column("DURATION", is_number=True),
        _duration_of,
        ("started_at", "finished_at"),
        shown=_duration_cell,
    ),
    TaskColumn(Column("ERROR_TYPE"), lambda task: task.error_type, ("error_type",)),
    TaskColumn(Column("PRIORITY", is_number=True), lambda task: task.priority, ("priority",)),
    TaskColumn(
        Column("TAGS", may_shrink=True),
        lambda task: " ".join(f"{name}={tag_text(value)}" for name, value in task.tags.items()),
        ("tags",),
    ),
    TaskColumn(Column("ORDER_KEY", may_shrink=True), lambda task: task.order_key, ("order_key",)),
    TaskColumn(Column("SCHEDULE", may_shrink=True), lambda task: task.schedule, ("schedule",)),
    TaskColumn(Column("GROUP"), lambda task: task.group, ("group",)),
)
_COLUMNS: Final = {one.column.title.lower(): one for one in (*_DEFAULT_COLUMNS, *_OTHER_COLUMNS)}
_NAMES: Final = ", ".join(_COLUMNS)


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
@click.option("--columns", metavar="NAMES", help=f"The columns, separated by commas: {_NAMES}.")
@click.option(
    "--sort",
    metavar="COLUMN",
    help="Sort the listed tasks by a column; with - before its name, in descending order.",
)
@json_option("Task")
@service_options
def list_command(
    *,
    limit: int,
    columns: str | None,
    sort: str | None,
    as_json: bool,
    service: RemoteService,
    **filters: Any,
) -> None:
    """List tasks, newest first.

    On a terminal the columns are truncated to fit it. Elsewhere each task is a line of id, status,
    queue, creation time, attempts, URL and error, separated by tabs.

    --sort changes the order of the listed tasks, not which tasks are listed: with --limit 20 these
    are the 20 newest that match.

    \b
      taskflow list --status FAILED --since 2h
      taskflow list --queue mail --tag customer=42 -n 100
      taskflow list -n 100 --columns id,duration,url --sort -duration
      taskflow list --json | jq -r .payload
    """
    wanted = filters_of(filters)
    if as_json:
        if columns is not None or sort is not None:
            raise click.UsageError("--columns and --sort cannot be combined with --json")
        service.call(partial(_write_lines, file=None, limit=limit, fields=None, filters=wanted))
        return
    chosen = _DEFAULT_COLUMNS if columns is None else _columns_of(columns)
    order = None if sort is None else _column_of(sort.removeprefix("-"), "--sort")
    fields = {name for one in (*chosen, *([order] if order else ())) for name in one.fields}
    tasks = service.call(
        lambda client: client.list_tasks(limit=limit, fields=sorted(fields), **wanted)
    )
    is_descending = (sort or "").startswith("-")
    listed = tasks if order is None else _sorted(tasks, order, is_descending=is_descending)
    row_of = partial(_row_of, columns=chosen, is_short=output.is_terminal())
    output.table([one.column for one in chosen], map(row_of, listed))
    if tasks.missing_cells:
        complain(_missing_text(tasks.missing_cells))


def _columns_of(names: str) -> list[TaskColumn]:
    return [_column_of(name.strip(), "--columns") for name in names.split(",")]


def _column_of(name: str, option: str) -> TaskColumn:
    if (found := _COLUMNS.get(name.lower())) is None:
        raise click.UsageError(f"{option}: there is no column {name!r}; there are {_NAMES}")
    return found


def _sorted(tasks: Iterable[Task], by: TaskColumn, *, is_descending: bool) -> list[Task]:
    """Sort tasks by a column; those without a value are last."""
    valued = [(by.value(task), task) for task in tasks]
    known = sorted(
        (one for one in valued if one[0] is not None),
        key=lambda one: one[0],
        reverse=is_descending,
    )
    return [task for _, task in [*known, *(one for one in valued if one[0] is None)]]


def _row_of(task: Task, *, columns: Sequence[TaskColumn], is_short: bool) -> tuple[object, ...]:
    values = [(one, one.value(task)) for one in columns]
    return tuple(None if value is None else one.shown(value, is_short) for one, value in values)


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
    complete, with the tasks of all cells.

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
    if lines.missing_cells:
        raise Failure(_missing_text(lines.missing_cells))
    return written


def _missing_text(cells: Collection[str]) -> str:
    return f"tasks are missing: no answer from the cells {', '.join(sorted(cells))}"


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
