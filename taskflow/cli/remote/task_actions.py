"""``taskflow cancel``, ``retry`` and ``delete``: by ids, or by filters."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, Unpack

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.cli.remote.filters import filter_options, filters_of
from taskflow.cli.remote.interrupts import interrupted_at_once
from taskflow.cli.remote.remote_command import ask, failure_of, service_options
from taskflow.client.errors import Conflict, NotFound
from taskflow.client.filters import Filters
from taskflow.client.on_trio.client import Client
from taskflow.client.task import Moved, Task


class MovesMany(Protocol):
    """A method of the client's for all tasks of a filter."""

    def __call__(
        self, *, everything: bool = ..., dry_run: bool = ..., **filters: Unpack[Filters]
    ) -> Awaitable[Moved]:
        """See ``Client.cancel_many``."""


class Verb(NamedTuple):
    """What is done to tasks.

    Attributes:
        name: As the command has it.
        done: As it is told afterwards.
        one: Do it to one.
        many: Do it to all of a filter.
    """

    name: str
    done: str
    one: Callable[[Client, uuid.UUID], Awaitable[Task | None]]
    many: Callable[[Client], MovesMany]


CANCEL: Final = Verb("cancel", "canceled", Client.cancel, lambda client: client.cancel_many)
RETRY: Final = Verb("retry", "retried", Client.retry, lambda client: client.retry_many)
DELETE: Final = Verb("delete", "deleted", Client.delete, lambda client: client.delete_many)


def _command(verb: Verb, text: str) -> click.Command:
    """The command of a verb."""

    @click.command(verb.name, help=text)
    @click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="All tasks: no filter is needed.")
    @click.option("--dry-run", is_flag=True, help="Only count them.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @service_options
    def command(
        *,
        ids: Sequence[uuid.UUID],
        everything: bool,
        dry_run: bool,
        yes: bool,
        service_url: str | None,
        timeout_seconds: float,
        **options: Any,
    ) -> int:
        filters = filters_of(options)
        _check(ids, filters, everything=everything, dry_run=dry_run)

        async def work(client: Client) -> ExitStatus:
            if ids:
                return await _each(client, verb, ids)
            return await _all(client, verb, filters, dry_run=dry_run, is_sure=yes)

        return ask(service_url, timeout_seconds, work)

    return command


def _check(
    ids: Sequence[uuid.UUID], filters: Mapping[str, object], *, everything: bool, dry_run: bool
) -> None:
    if ids and (filters or everything or dry_run):
        raise click.UsageError("give either ids or filters")
    if not ids and not filters and not everything:
        raise click.UsageError("say which tasks: by their ids, by filters, or by --all")
    if filters and everything:
        raise click.UsageError("give either filters or --all")


async def _each(client: Client, verb: Verb, ids: Sequence[uuid.UUID]) -> ExitStatus:
    """Do it to these; one that cannot be done keeps nobody else from it."""
    status = ExitStatus.OK
    for task_id in ids:
        try:
            task = await verb.one(client, task_id)
        except (Conflict, NotFound) as error:
            complain(f"{task_id}: {error}")
            status = max(status, failure_of(error).status)
            continue
        output.line(task_id, task.status if task else verb.done)
    return status


async def _all(
    client: Client, verb: Verb, filters: Filters, *, dry_run: bool, is_sure: bool
) -> ExitStatus:
    move = verb.many(client)
    everything = not filters
    if dry_run or not is_sure:
        counted = await move(everything=everything, dry_run=True, **filters)
        if dry_run:
            output.line(told_of(counted))
            return ExitStatus.OK
        if not counted.count:
            output.line(0)
            return ExitStatus.OK
        confirm(f"{verb.name} {told_of(counted)} tasks?")
    count, is_complete = 0, False
    while not is_complete:
        moved = await move(everything=everything, **filters)
        count, is_complete = count + moved.count, moved.is_complete
    output.line(count)
    return ExitStatus.OK


def told_of(moved: Moved) -> str:
    """How many, as far as they were counted."""
    return f"{moved.count}" if moved.is_complete else f"more than {moved.count}"


def confirm(question: str) -> None:
    """Ask whether it is to be done.

    Raises:
        Failure: It is not, or there is nobody to ask.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure(f"{question} Say --yes, as there is no terminal to ask at", ExitStatus.USAGE)
    with interrupted_at_once():
        is_wanted = click.confirm(question, err=True)
    if not is_wanted:
        raise Failure("nothing was done")


cancel_command: Final = _command(
    CANCEL,
    """Cancel tasks: those with these ids, or all that match and have not ended.

    By filters the tasks are counted first, and you are asked.

    \b
      taskflow cancel 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow cancel --queue mail --status PENDING
    """,
)
retry_command: Final = _command(
    RETRY,
    """Run tasks again that FAILED or were CANCELED: those with these ids, or all that match.

    By filters the tasks are counted first, and you are asked.

    \b
      taskflow retry 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow retry --status FAILED --error-type timeout --since 1d --yes
    """,
)
delete_command: Final = _command(
    DELETE,
    """Delete tasks that have ended: those with these ids, or all that match.

    By filters the tasks are counted first, and you are asked.

    \b
      taskflow delete 01a20c58-b6fd-77bf-9328-1ccde011d8da
      taskflow delete --status COMPLETED --finished-before 30d --dry-run
    """,
)
