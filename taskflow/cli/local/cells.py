"""``taskflow cells``."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Final

import click

from taskflow import cell_service
from taskflow.cell_service import LostCells
from taskflow.cli import output
from taskflow.cli.local.serve import run_with_settings
from taskflow.cli.output import Column
from taskflow.cli.remote.task_actions import confirm
from taskflow.cli.sections import Commands
from taskflow.model import cell_map
from taskflow.model.cell_map import BUCKETS, CellMap

_COLUMNS: Final = (
    Column("NAME", may_shrink=True),
    Column("NUMBER", is_number=True),
    Column("STATE"),
    Column("SHARE", is_number=True),
    Column("UNFINISHED", is_number=True),
)
_LISTED: Final = 20


@click.group("cells", cls=Commands)
def cells_command() -> None:
    """Divide the tasks among several databases.

    TASKFLOW_CELLS_FILE names the cells and their URLs. A queue is in one cell, which a hash of its
    name decides. A change of the cells waits until all nodes know of it: for about 15 seconds,
    submissions to queues that may move are rejected with a 503. All cells must answer.

    \b
      taskflow cells add a b
      taskflow cells list
      taskflow cells add c
      taskflow cells drain a
      taskflow cells remove a
    """


@cells_command.command("list")
def _list() -> None:
    """List the cells, with their share of the queues and their unfinished tasks.

    The number of a cell that does not answer is not known.

    \b
      taskflow cells list
    """
    report = run_with_settings(cell_service.list_cells, {})
    buckets = Counter(report.map.buckets)
    rows = [
        [
            one.name,
            str(one.number),
            one.state.value,
            f"{buckets[one.number] / BUCKETS:.0%}",
            f"{report.unfinished[one.name]:,}" if one.name in report.unfinished else "no answer",
        ]
        for one in report.map.cells
    ]
    output.table(_COLUMNS, rows)
    _print_exceptions(report.map)


@cells_command.command("add")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def _add(names: tuple[str, ...]) -> None:
    """Add cells, whose lines are in the file of all nodes.

    They are empty, except for the first one of all, which may have tasks. The first cells make the
    map; later ones take over their share of the queues.

    \b
      taskflow cells add a b
    """
    made = run_with_settings(partial(cell_service.add_cells, names=list(names)), {})
    _print_changed(made)


@cells_command.command("drain")
@click.argument("name")
def _drain(name: str) -> None:
    """Let a cell have no new queues; run it again to move queues that have finished.

    Queues with unfinished tasks stay in the cell, and take new tasks there, until they have none
    when this is run. Schedules and topics stay until they are deleted; create them again then.

    \b
      taskflow cells drain a
    """
    _change(lambda known: cell_map.with_drained(known, name))


@cells_command.command("activate")
@click.argument("name")
def _activate(name: str) -> None:
    """Let a draining cell have its share of the queues again.

    \b
      taskflow cells activate a
    """
    _change(lambda known: cell_map.with_active(known, name))


@cells_command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--lost", is_flag=True, help="Give up cells that are lost for good.")
@click.option("--yes", "-y", is_flag=True, help="With --lost, do not ask for confirmation.")
def _remove(names: tuple[str, ...], *, lost: bool, yes: bool) -> None:
    """Remove draining cells in which nothing unfinished is left.

    Their finished tasks are no longer shown; the databases are not changed.

    With --lost, cells that do not answer are removed, in whatever state they are. All their tasks,
    results, groups, schedules, heartbeats, topics and idempotency keys are given up, and other
    cells take over their queues. All other cells must answer. Make sure first that these databases
    cannot come back, or delete their lines from TASKFLOW_CELLS_FILE on all nodes.

    \b
      taskflow cells remove a
      taskflow cells remove --lost b
    """
    if lost:
        found = run_with_settings(partial(cell_service.examine_lost_cells, names=names), {})
        _print_lost(found)
        if not yes:
            confirm(f"Give up {', '.join(names)}?")
        _print_changed(run_with_settings(partial(cell_service.remove_lost_cells, names=names), {}))
    else:
        for name in names:
            remove = partial(cell_map.without, name=name)
            run_with_settings(partial(cell_service.remove_cell, name=name, remove=remove), {})
    click.echo(f"removed {', '.join(names)}: delete the lines from TASKFLOW_CELLS_FILE")


def _print_lost(lost: LostCells) -> None:
    for name, reason in lost.reasons.items():
        click.echo(f"{name} does not answer: {reason}")
    click.echo(f"{lost.share:.0%} of all queues are given up, with everything in them:")
    click.echo(
        "tasks, results, groups, schedules, heartbeats, topics, audit log entries, idempotency keys"
    )
    for what, listed in (("queues with settings", lost.queues), ("known to be there", lost.kept)):
        if listed:
            more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            click.echo(f"{what}: {', '.join(listed[:_LISTED])}{more}")


@cells_command.command("place")
@click.argument("queue")
@click.argument("name")
def _place(queue: str, name: str) -> None:
    """Place QUEUE in the cell NAME, so that it is with others; it has no unfinished tasks.

    \b
      taskflow cells place reports a
    """
    _change(lambda known: cell_map.with_placed(known, queue, name))


@cells_command.command("spread")
@click.argument("queue")
@click.option("--off", is_flag=True, help="Store new tasks in the cell of the queue again.")
def _spread(queue: str, *, off: bool) -> None:
    """Spread new tasks of QUEUE over all active cells that answer.

    The queue has no limits, and its tasks start in the order of each cell. Tasks with an order key,
    a unique key or a debounce key are still in the cell of the queue.

    \b
      taskflow cells spread mail
      taskflow cells spread mail --off
    """
    made = run_with_settings(partial(cell_service.spread_queue, queue=queue, is_spread=not off), {})
    _print_changed(made)


def _change(change: cell_service.Change) -> None:
    _print_changed(run_with_settings(partial(cell_service.change_cells, change=change), {}))


def _print_changed(made: CellMap) -> None:
    names = ", ".join(f"{one.name} ({one.state})" for one in made.cells)
    click.echo(f"version {made.version}: {names}")
    _print_exceptions(made)


def _print_exceptions(known: CellMap) -> None:
    if known.frozen:
        click.echo(
            "a change is in progress, or was interrupted: if so, run it again, since submissions "
            "to queues that may move are rejected until then"
        )
    names = {one.number: one.name for one in known.cells}
    for key, number in known.stays.items():
        click.echo(f"{key} stays in {names[number]}")
    for queue, number in known.placed.items():
        click.echo(f"queue {queue} is placed in {names[number]}")
    for queue in known.spread:
        click.echo(f"queue {queue} is spread")
