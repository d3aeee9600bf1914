"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click
import trio

from taskflow import __version__, service, telemetry
from taskflow.api.access.keys import DEFAULT_ROLE, ROLE_NAMES, Role, new_key
from taskflow.model.errors import SettingsError, expected_message
from taskflow.model.signing import new_secret
from taskflow.settings import Settings, variable_of
from taskflow.telemetry import Event

T = TypeVar("T")

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="taskflow")
def main() -> None:
    """A self-hosted HTTP task queue on PostgreSQL.

    Settings are read from the environment and from .env in the working directory;
    .env.example lists them all.

    Exit status: 0 when all went well, 1 when something failed, 2 when a setting or an
    argument cannot be used.
    """


@main.command()
@click.option("--bind", metavar="ADDRESS:PORT", help="Where to listen, instead of TASKFLOW_BIND.")
@click.option("--workers", type=click.IntRange(1, 1000), help="Instead of TASKFLOW_WORKERS.")
def serve(bind: str | None, workers: int | None) -> None:
    """Serve the HTTP API and run tasks, until SIGTERM or Ctrl+C.

    The first signal ends it in order: fetches in flight may finish within their deadline.
    A second one ends it at once; what was running will be run again.
    """
    _run(service.serve, bind=bind, workers=workers)


@main.command()
@click.option("--workers", type=click.IntRange(1, 1000), help="Instead of TASKFLOW_WORKERS.")
def worker(workers: int | None) -> None:
    """Run tasks without serving the HTTP API, until SIGTERM or Ctrl+C.

    With TASKFLOW_METRICS_BIND it serves /metrics there, and only that.
    """
    _run(service.work, workers=workers)


@main.command()
def migrate() -> None:
    """Bring the database up to date; serve and worker do so by themselves."""
    migrated = _run(service.migrate)
    if migrated is None:
        click.echo("tasks in memory need no migration")
        return
    for step in migrated.applied:
        click.echo(f"applied {step.version:04} {step.name}")
    click.echo(f"{migrated.place} is up to date")


@main.group()
def key() -> None:
    """Make API keys."""


@key.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLE_NAMES),
    default=str(DEFAULT_ROLE),
    show_default=True,
    help="What the key is good for; each role includes those before it.",
)
def new(name: str, role: str) -> None:
    """Make a key for NAME and a line for the keys file.

    The line goes to standard output, to be added to the file that TASKFLOW_API_KEYS_FILE
    names (taskflow key new NAME >> FILE). The key is shown once, on standard error: the file
    has only its hash.
    """
    try:
        made, line = new_key(name, Role.named(role))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    try:
        # First: a key whose line was not kept would open nothing.
        click.echo(line)
        sys.stdout.flush()
    except OSError as error:
        raise click.ClickException(f"the line cannot be written: {error.strerror}") from None
    click.echo(f"the key of {name}, shown this once: {made}", err=True)


@main.group()
def secret() -> None:
    """Make secrets for callbacks."""


@secret.command("new")
def new_one() -> None:
    """Make a secret that callbacks are signed with.

    It goes to standard output, to be set as TASKFLOW_WEBHOOK_SECRETS or added to the file that
    TASKFLOW_WEBHOOK_SECRETS_FILE names, and to be given to those who receive callbacks.
    """
    click.echo(new_secret())


def _run(command: Callable[[Settings], Awaitable[T]], **options: object) -> T:
    """Run a command on the settings; errors that a person can mend become one line.

    Args:
        command: What to run.
        options: Values for fields of the settings; ``None`` leaves what is set.
    """
    overrides = {
        variable_of(field): str(value) for field, value in options.items() if value is not None
    }
    service.allow_many_files()
    try:
        return trio.run(command, service.configured_settings(overrides))
    except Exception as error:  # noqa: BLE001 - the last place: told to a person, or logged
        message = expected_message(error)
        if message is None:
            telemetry.emit(Event.CRASHED, error=error)
            raise SystemExit(EXIT_FAILED) from None
        click.echo(f"taskflow: {message}", err=True)
        raise SystemExit(EXIT_USAGE if _is_of_settings(error) else EXIT_FAILED) from None


def _is_of_settings(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_of_settings(inner) for inner in error.exceptions)
    return isinstance(error, SettingsError)
