"""``taskflow serve``, ``worker`` and ``migrate``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import trio

from taskflow import service, telemetry
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.model.errors import CannotListen, SettingsError, expected_message
from taskflow.settings import Settings, variable_of
from taskflow.telemetry import Event

T = TypeVar("T")


@click.command("serve")
@click.option("--bind", metavar="ADDRESS:PORT", help="Where to listen, instead of TASKFLOW_BIND.")
@click.option("--workers", type=click.IntRange(1, 1000), help="Instead of TASKFLOW_WORKERS.")
def serve_command(bind: str | None, workers: int | None) -> None:
    """Serve the HTTP API and run tasks, until SIGTERM or Ctrl+C.

    The first signal ends it in order: fetches in flight may finish within their deadline.
    A second one ends it at once; what was running will be run again.

    \b
      taskflow serve
      taskflow serve --bind 127.0.0.1:9000 --workers 50
    """
    _run(service.serve, bind=bind, workers=workers)


@click.command("worker")
@click.option("--workers", type=click.IntRange(1, 1000), help="Instead of TASKFLOW_WORKERS.")
def worker_command(workers: int | None) -> None:
    """Run tasks without serving the HTTP API, until SIGTERM or Ctrl+C.

    With TASKFLOW_METRICS_BIND it serves /metrics there, and only that.

    \b
      DATABASE_URL=postgresql://db.example/tasks taskflow worker --workers 50
    """
    _run(service.work, workers=workers)


@click.command("migrate")
def migrate_command() -> None:
    """Bring the database up to date; serve and worker do so by themselves.

    \b
      DATABASE_URL=postgresql://db.example/tasks taskflow migrate
    """
    migrated = _run(service.migrate)
    if migrated is None:
        click.echo("tasks in memory need no migration")
        return
    for step in migrated.applied:
        click.echo(f"applied {step.version:04} {step.name}")
    click.echo(f"{migrated.place} is up to date")


def _run(command: Callable[[Settings], Awaitable[T]], **options: object) -> T:
    """Run a command on the settings; errors that a person can mend become one line.

    Args:
        command: What to run.
        options: Values for fields of the settings; ``None`` leaves what is set.

    Raises:
        Failure: It could not be run, or a part of it failed.
        SystemExit: By a fault of ours, which is logged.
    """
    overrides = {
        variable_of(field): str(value) for field, value in options.items() if value is not None
    }
    service.raise_file_limit()
    try:
        return trio.run(command, service.configured_settings(overrides))
    except Exception as error:  # noqa: BLE001 - the last place: told to a person, or logged
        message = expected_message(error)
        if message is None:
            telemetry.emit(Event.CRASHED, error=error)
            raise SystemExit(ExitStatus.FAILED) from None
        if isinstance(error, CannotListen):
            message += "; stop what listens there, or choose another address: TASKFLOW_BIND"
        is_setting = _is_of_settings(error)
        raise Failure(message, ExitStatus.USAGE if is_setting else ExitStatus.FAILED) from None


def _is_of_settings(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_of_settings(inner) for inner in error.exceptions)
    return isinstance(error, SettingsError)
