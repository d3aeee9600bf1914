"""``taskflow groups``."""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.output import Column
from taskflow.cli.remote.events import line_of
from taskflow.cli.remote.options import declared_option
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.remote.values import dict_of
from taskflow.cli.sections import ListCommands
from taskflow.cli.text import moment, moment_and_age
from taskflow.client.asynchronous.client import Client
from taskflow.client.options import Submission
from taskflow.client.task import Group
from taskflow.schema.groups import GroupRequest
from taskflow.schema.query import GroupsRequest

_COLUMNS: Final = (
    Column("GROUP"),
    Column("NAME", may_shrink=True),
    Column("STATUS"),
    Column("FINISHED"),
    Column("FAILED"),
    Column("CREATED", drop_order=1),
)


@click.group("groups", cls=ListCommands)
def groups_command() -> None:
    """Create, show, close, cancel and retry groups of tasks; without a subcommand, list them.

    \b
      taskflow groups create --name 'import 7' --on-complete https://example.com/imported
      taskflow submit --group 01a20c58-b6fd-77bf-9328-1ccde011d8db https://example.com/1
      taskflow groups close 01a20c58-b6fd-77bf-9328-1ccde011d8db
    """


@groups_command.command("list")
@declared_option(GroupsRequest, "status")
@declared_option(GroupsRequest, "queue", metavar="NAME")
@declared_option(GroupsRequest, "name")
@json_option("Group")
@service_options
def _list_groups(
    *,
    status: str | None = None,
    queue: str | None = None,
    name: str | None = None,
    as_json: bool,
    service: RemoteService,
) -> None:
    """List groups, newest first.

    \b
      taskflow groups list --status CLOSED
    """

    async def work(client: Client) -> list[Group]:
        return [one async for one in client.groups.iter(status=status, queue=queue, name=name)]

    output.records(service.call(work), _COLUMNS, row_of, as_json=as_json)


@groups_command.command("show")
@click.argument("group_id", metavar="ID", type=click.UUID)
@click.option(
    "--watch",
    "-w",
    is_flag=True,
    help="First follow its tasks until the group has finished, one event per line.",
)
@json_option("Group")
@service_options
def _show(*, group_id: uuid.UUID, watch: bool, as_json: bool, service: RemoteService) -> None:
    """Show a group: its progress and its first failures.

    \b
      taskflow groups show 01a20c58-b6fd-77bf-9328-1ccde011d8db
      taskflow groups show 01a20c58-b6fd-77bf-9328-1ccde011d8db --watch
      taskflow list --group 01a20c58-b6fd-77bf-9328-1ccde011d8db
    """
    if watch:
        service.call(partial(_watch, group_id=group_id, as_json=as_json))
    group = service.call(lambda client: client.groups.get(group_id))
    output.record(group, pairs_of, as_json=as_json)


async def _watch(client: Client, *, group_id: uuid.UUID, as_json: bool) -> None:
    async with client.groups.iter_events(group_id) as events:
        async for event in events:
            if as_json:
                output.json_line(event)
            else:
                output.draw(line_of(event, of_task=event.task_id))
            output.flush()


@groups_command.command("create")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@declared_option(GroupRequest, "name")
@declared_option(GroupRequest, "queue", metavar="NAME")
@click.option(
    "--on-complete", metavar="URL", help="The URL to which the group is sent when it completes."
)
@click.option(
    "--on-complete-file",
    "path",
    type=Path,
    help="A JSON file with the task to create when it completes, as POST /tasks accepts it.",
)
@declared_option(GroupRequest, "on_failure")
@declared_option(GroupRequest, "tags", "--tag")
@declared_option(GroupRequest, "open", "--open/--closed", argument="is_open")
@click.option("--idempotency-key", help="Calls with the same key create one group.")
@json_option("Group")
@service_options
def _create(  # noqa: PLR0913 - each is an option
    *,
    urls: tuple[str, ...],
    name: str | None,
    queue: str | None,
    on_complete: str | None,
    path: Path | None,
    on_failure: str | None,
    tags: tuple[tuple[str, Any], ...],
    is_open: bool | None,
    idempotency_key: str | None,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Create a group, and print its id; with URLs, of these tasks.

    \b
      taskflow groups create --on-complete https://example.com/imported
      taskflow groups create --on-failure cancel_rest https://example.com/1 https://example.com/2
    """
    if on_complete is not None and path is not None:
        raise click.UsageError("give either --on-complete or --on-complete-file")
    completion: Any = on_complete if path is None else _task_in(path)

    async def work(client: Client) -> Group:
        return await client.groups.create(
            urls,
            name=name,
            queue=queue,
            on_complete=completion,
            on_failure=on_failure,
            tags=dict_of(tags, "--tag"),
            is_open=is_open,
            idempotency_key=idempotency_key,
        )

    group = service.call(work)
    if as_json:
        output.json_line(group)
    else:
        output.line(group.id)


def _task_in(path: Path) -> Submission:
    try:
        return Submission.from_json(path.read_bytes())
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", ExitStatus.USAGE) from None
    except ValueError as error:
        raise Failure(f"{path}: {error}", ExitStatus.USAGE) from None


@groups_command.command("close")
@click.argument("group_id", metavar="ID", type=click.UUID)
@json_option("Group")
@service_options
def _close(*, group_id: uuid.UUID, as_json: bool, service: RemoteService) -> None:
    """Close a group: no more tasks can join it.

    \b
      taskflow groups close 01a20c58-b6fd-77bf-9328-1ccde011d8db
    """
    group = service.call(lambda client: client.groups.close(group_id))
    output.record(group, pairs_of, as_json=as_json)


@groups_command.command("cancel")
@click.argument("group_id", metavar="ID", type=click.UUID)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option("Group")
@service_options
def _cancel(*, group_id: uuid.UUID, yes: bool, as_json: bool, service: RemoteService) -> None:
    """Cancel a group and all of its tasks that have not finished.

    \b
      taskflow groups cancel 01a20c58-b6fd-77bf-9328-1ccde011d8db --yes
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("give --yes to cancel it without a question")
        click.confirm("Cancel the group and its open tasks?", abort=True, err=True)
    group = service.call(lambda client: client.groups.cancel(group_id))
    output.record(group, pairs_of, as_json=as_json)


@groups_command.command("retry")
@click.argument("group_id", metavar="ID", type=click.UUID)
@json_option("Group")
@service_options
def _retry(*, group_id: uuid.UUID, as_json: bool, service: RemoteService) -> None:
    """Retry the FAILED tasks of a group, up to 10,000.

    \b
      taskflow groups retry 01a20c58-b6fd-77bf-9328-1ccde011d8db
    """
    group = service.call(lambda client: client.groups.retry(group_id))
    output.record(group, pairs_of, as_json=as_json)


def row_of(group: Group) -> tuple[object, ...]:
    """Return the cells of a group."""
    counts = group.counts
    return (
        group.id,
        group.name,
        group.status,
        f"{counts.total - counts.open} of {counts.total}",
        counts.FAILED or None,
        moment(group.created_at),
    )


def pairs_of(group: Group) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a group."""
    now, counts = dt.datetime.now(dt.UTC), group.counts
    yield "group", group.id
    yield "name", group.name
    yield "status", group.status
    yield "finished", f"{counts.total - counts.open} of {counts.total}"
    for name in counts.__struct_fields__:
        yield name.lower(), getattr(counts, name) or None
    for failure in group.first_failures:
        yield "failure", f"{failure.task_id}: {failure.error}"
    yield "queue", group.queue
    yield "on failure", group.on_failure
    yield "created", moment_and_age(group.created_at, now)
    yield "closed", moment_and_age(group.closed_at, now)
    yield "finished at", moment_and_age(group.finished_at, now)
    yield "completions", group.completions or None
    yield "completion task", group.completion_task_id
    if group.has_completion_task:
        yield "on complete", group.on_complete_bytes.decode("utf-8", "replace")
