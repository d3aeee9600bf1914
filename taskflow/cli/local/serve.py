"""``taskflow serve``, ``worker``, ``migrate`` and ``key rotate``."""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import click
import trio

from taskflow import service, telemetry
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.progress import meter
from taskflow.model.errors import CannotListen, SettingsError, expected_message
from taskflow.model.key_generation import PUBLISHED_BEFORE_SECONDS
from taskflow.serving.process_tuning import raise_file_limit
from taskflow.settings import Settings, variable_of
from taskflow.store.postgres.key_rotation import Rotated
from taskflow.telemetry import Event

T = TypeVar("T")


@click.command("serve")
@click.option(
    "--bind", metavar="ADDRESS:PORT", help="Address to listen on, instead of TASKFLOW_BIND."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    help="Number of workers, instead of TASKFLOW_WORKERS.",
)
@click.option(
    "--processes",
    metavar="N|auto",
    help="Number of processes, instead of TASKFLOW_PROCESSES; auto is one for each CPU.",
)
@click.option("--channel", type=int, hidden=True, help="The socket to the main process.")
def serve_command(
    bind: str | None, workers: int | None, processes: str | None, channel: int | None
) -> None:
    """Serve the HTTP API and run tasks, until SIGTERM or Ctrl+C.

    The first signal starts a graceful shutdown: running fetches may finish within
    TASKFLOW_DRAIN_SECONDS. The second one ends the process at once; its running tasks are
    rescued by another node, or by this one when it starts again.

    \b
      taskflow serve
      taskflow serve --bind 127.0.0.1:9000 --workers 50
      taskflow serve --processes auto
    """
    overrides = _overrides(bind=bind, workers=workers, processes=processes)
    if channel is not None:
        run_with_settings(partial(service.serve_for_main_process, channel=channel), overrides)
        return
    command = ["-m", "taskflow", "serve"]
    if bind is not None:
        command += ["--bind", bind]
    if workers is not None:
        command += ["--workers", str(workers)]
    status = run_with_settings(partial(service.serve, command=[*command, "--channel"]), overrides)
    raise SystemExit(status)


@click.command("worker")
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    help="Number of workers, instead of TASKFLOW_WORKERS.",
)
def worker_command(workers: int | None) -> None:
    """Run tasks without serving the HTTP API, until SIGTERM or Ctrl+C.

    With TASKFLOW_METRICS_BIND it serves /metrics there, and nothing else.

    \b
      DATABASE_URL=postgresql://db.example/tasks taskflow worker --workers 50
    """
    run_with_settings(service.work, _overrides(workers=workers))


@click.command("migrate")
def migrate_command() -> None:
    """Bring the database up to date, as serve and worker also do when they start.

    \b
      DATABASE_URL=postgresql://db.example/tasks taskflow migrate
    """
    migrated = run_with_settings(service.migrate, {})
    if not migrated:
        click.echo("the memory store needs no migration")
    for database in migrated:
        for step in database.applied:
            click.echo(f"applied {step.version:04} {step.name}")
        click.echo(f"{database.place} is up to date")


def rotate_keys() -> None:
    """Run ``taskflow key rotate``.

    Raises:
        Failure: Some rows still need another key.
    """
    with meter(None) as progress:

        def report(done: Rotated) -> None:
            progress.show(f"{done.checked:,} rows checked, {done.rotated.total():,} encrypted")

        done = run_with_settings(lambda settings: service.rotate_keys(settings, report), {})
    rotated = {name.replace("_", " "): count for name, count in done.rotated.items() if count}
    counts = [f"{count:,} {name}" for name, count in rotated.items()]
    click.echo(f"encrypted with the first key: {', '.join(counts) or 'everything was already'}")
    for key_id, count in done.left.items():
        click.echo(f"{count:,} rows still need the key {key_id}", err=True)
    if done.left:
        raise Failure(
            "some rows could not be encrypted again: keep these keys, add the missing keys "
            "to TASKFLOW_ENCRYPTION_KEYS, and run this again"
        )
    click.echo("no row needs another key: the others can be removed")


def rotate_signing_keys(*, is_leaked: bool) -> None:
    """Run ``taskflow key rotate --id-tokens``."""
    rotate = partial(service.rotate_signing_keys, user=_user_name(), is_leaked=is_leaked)
    entry = run_with_settings(rotate, {})
    if is_leaked:
        numbers = ", ".join(map(str, entry.detail["withdrawn"]))
        click.echo(f"generation {entry.target} signs ID tokens now; withdrawn: {numbers}")
        return
    hours = PUBLISHED_BEFORE_SECONDS / 3600
    click.echo(f"generation {entry.target} is published, and signs ID tokens in {hours:g} hours")


def _user_name() -> str:
    """Return the name of the user who runs this, or the number if there is no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return str(os.getuid())


def _overrides(**options: object) -> dict[str, str]:
    """Return options as settings, by variable; ``None`` keeps the setting."""
    return {variable_of(field): str(value) for field, value in options.items() if value is not None}


def run_with_settings(
    command: Callable[[Settings], Awaitable[T]], overrides: Mapping[str, str]
) -> T:
    """Run a command with the settings; errors that the user can fix become one line.

    Args:
        command: The function to run.
        overrides: Variables that override the environment.

    Raises:
        Failure: The command failed.
        SystemExit: The command failed because of a bug, which is logged.
    """
    raise_file_limit()
    try:
        return trio.run(command, service.configured_settings(overrides))
    except Exception as error:  # noqa: BLE001 - reported to the user, or logged
        message = expected_message(error)
        if message is None:
            telemetry.emit(Event.CRASHED, error=error)
            raise SystemExit(ExitStatus.FAILED) from None
        if isinstance(error, CannotListen):
            message += (
                "; stop the process that listens there, or set TASKFLOW_BIND to another address"
            )
        status = ExitStatus.USAGE if _has_settings_error(error) else ExitStatus.FAILED
        raise Failure(message, status) from None


def _has_settings_error(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_has_settings_error(inner) for inner in error.exceptions)
    return isinstance(error, SettingsError)
