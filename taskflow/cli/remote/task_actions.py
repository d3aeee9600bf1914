"""``taskflow cancel``, ``retry`` and ``delete``: by ids, or by filters; ``skip``: by ids."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, Unpack

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.cli.remote.options import filter_options, filters_of
from taskflow.cli.remote.remote_service import (
    RemoteService,
    failure_of,
    interrupted_at_once,
    service_options,
)
from taskflow.cli.remote.task_ids import full_id
from taskflow.cli.remote.values import TASK_ID
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import Conflict, NotFound
from taskflow.client.options import Filters
from taskflow.client.task import BulkResult, Task

_Act: TypeAlias = Callable[[Client, uuid.UUID], Awaitable[Task | None]]


class BulkMethod(Protocol):
    """A method of the client that acts on all tasks that match filters."""

    def __call__(
        self, *, everything: bool = ..., dry_run: bool = ..., **filters: Unpack[Filters]
    ) -> Awaitable[BulkResult]:
        """See ``Client.cancel_many``."""


class Action(NamedTuple):
    """An action on tasks.

    Attributes:
        name: The name of the command.
        past: Its past participle, for messages.
        one: Perform it on one task.
        many: Return the method that performs it on all tasks that match filters.
    """

    name: str
    past: str
    one: _Act
    many: Callable[[Client], BulkMethod]


CANCEL: Final = Action("cancel", "canceled", Client.cancel, lambda client: client.cancel_many)
RETRY: Final = Action("retry", "retried", Client.retry, lambda client: client.retry_many)
DELETE: Final = Action("delete", "deleted", Client.delete, lambda client: client.delete_many)


def _command(action: Action, text: str) -> click.Command:
    """Return the command that performs an action."""

    @click.command(action.name, help=text)
    @click.argument("ids", metavar="[ID]...", nargs=-1, type=TASK_ID)
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="All tasks, without a filter.")
    @click.option("--dry-run", is_flag=True, help="Only count the matching tasks.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
    @service_options
    def command(
        *,
        ids: Sequence[str],
        everything: bool,
        dry_run: bool,
        yes: bool,
        service: RemoteService,
        **options: Any,
    ) -> int:
        filters = filters_of(options)
        _check(ids, filters, everything=everything, dry_run=dry_run)

        async def work(client: Client) -> ExitStatus:
            if ids:
                return await _each(client, action.one, ids, action.past)
            return await _all(client, action, filters, dry_run=dry_run, is_confirmed=yes)

        return service.call(work)

    return command


def _check(
    ids: Sequence[str], filters: Mapping[str, object], *, everything: bool, dry_run: bool
) -> None:
    if ids and (filters or everything or dry_run):
        raise click.UsageError("give either ids or filters")
    if not ids and not filters and not everything:
        raise click.UsageError("give the ids of tasks, filters, or --all")
    if filters and everything:
        raise click.UsageError("give either filters or --all")


async def _each(client: Client, act: _Act, ids: Sequence[str], past: str) -> ExitStatus:
    """Perform an action on each of these tasks; go on after an error.

    Raises:
        Failure: A short id stands for no task or several; then nothing is done.
    """
    status = ExitStatus.OK
    for task_id in [await full_id(client, text) for text in ids]:
        try:
            task = await act(client, task_id)
        except (Conflict, NotFound) as error:
            complain(f"{task_id}: {error}")
            status = max(status, failure_of(error).status)
            continue
        output.line(task_id, task.status if task else past)
    return status


async def _all(
    client: Client, action: Action, filters: Filters, *, dry_run: bool, is_confirmed: bool
) -> ExitStatus:
    """Perform an action on all tasks that match, after asking for confirmation."""
    method = partial(action.many(client), everything=not filters, **filters)
    if dry_run or not is_confirmed:
        matching = await method(dry_run=True)
        if dry_run or not matching.count:
            output.line(count_text(matching))
            return ExitStatus.OK
        confirm(f"{action.name} {count_text(matching)} tasks?")
    output.line(await total_of(method))
    return ExitStatus.OK


async def total_of(method: Callable[[], Awaitable[BulkResult]]) -> int:
    """Repeat a bulk request until no task is left, and return the number of tasks."""
    total, is_complete = 0, False
    while not is_complete:
        moved = await method()
        total, is_complete = total + moved.count, moved.complete
    return total


def count_text(moved: BulkResult) -> str:
    """Return the number of tasks; the service stops counting after a time limit."""
    return f"{moved.count}" if moved.complete else f"more than {moved.count}"


def confirm(question: str) -> None:
    """Ask the user for confirmation.

    Raises:
        Failure: The user answered no, or there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure(f"{question} Confirm with --yes; there is no terminal", ExitStatus.USAGE)
    with interrupted_at_once():
        is_confirmed = click.confirm(question, err=True)
    if not is_confirmed:
        raise Failure("nothing was changed")


cancel_command: Final = _command(
    CANCEL,
    """Cancel tasks: the given ones, or all that match and are not finished.

    With filters, the matching tasks are counted and you are asked to confirm.

    \b
      taskflow cancel 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow cancel --queue mail --status PENDING
    """,
)
retry_command: Final = _command(
    RETRY,
    """Retry FAILED and CANCELED tasks: the given ones, or all that match.

    With filters, the matching tasks are counted and you are asked to confirm.

    \b
      taskflow retry 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow retry --status FAILED --error-type timeout --since 1d --yes
    """,
)
delete_command: Final = _command(
    DELETE,
    """Delete finished tasks: the given ones, or all that match.

    With filters, the matching tasks are counted and you are asked to confirm.

    \b
      taskflow delete 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow delete --status COMPLETED --finished-before 30d --dry-run
    """,
)


@click.command(
    "skip",
    help="""Skip FAILED tasks that hold their order key, so that the next task of the key starts.

    The tasks stay FAILED.

    \b
      taskflow skip 01a20c58-b6fd-77bf-9328-1ccde011d8da
    """,
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True, type=TASK_ID)
@service_options
def skip_command(*, ids: Sequence[str], service: RemoteService) -> int:
    """Skip tasks."""
    return service.call(lambda client: _each(client, Client.skip, ids, "skipped"))
