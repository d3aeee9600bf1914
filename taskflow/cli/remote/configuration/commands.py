"""``taskflow config``: validate, plan, apply, export and schema."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.configuration.declaration import Wanted, schema, wanted_of
from taskflow.cli.remote.configuration.plan import (
    Action,
    Change,
    Options,
    plan_of,
    summary_of,
    text_of,
)
from taskflow.cli.remote.configuration.resources import ALL, Credentials
from taskflow.cli.remote.configuration.variables import Variables
from taskflow.cli.remote.configuration.yaml_text import dumped, loaded
from taskflow.cli.remote.input_lines import STANDARD_INPUT
from taskflow.cli.remote.remote_service import RemoteService, service_options
from taskflow.cli.remote.task_actions import confirm
from taskflow.cli.sections import Commands
from taskflow.cli.text import safe
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import Rejected, ServerError, Unreachable
from taskflow.model.configuration import WHEN
from taskflow.model.errors import FieldError, Unprocessable
from taskflow.model.problem_types import METHOD_NOT_ALLOWED as NO_METHOD
from taskflow.model.problem_types import NOT_FOUND

T = TypeVar("T")
DEFAULT_FILE: Final = "taskflow.yaml"
_UNKNOWN_ROUTE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_TOO_OLD: Final = (
    "the service is older than this command: it cannot make changes all together; update it, or "
    "use the `taskflow` of its version"
)
MAX_NAMED: Final = 10
"""Maximum number of resources that a question names."""


def file_option(function: Callable[..., T]) -> Callable[..., T]:
    """Add ``--file``."""
    return click.option(
        "--file",
        "-f",
        "path",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        default=DEFAULT_FILE,
        show_default=True,
        help="The configuration; - reads standard input.",
    )(function)


def plan_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add what a plan includes."""
    function = click.option(
        "--prune",
        is_flag=True,
        help="Delete what the file does not name, in the sections that it has, even empty ones.",
    )(function)
    return click.option(
        "--credentials",
        is_flag=True,
        help="Send all credentials of the file: their values cannot be compared.",
    )(function)


_json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print the changes as JSON, one per line."
)


@click.group("config", cls=Commands)
def config_command() -> None:
    """Manage queues, schedules, heartbeats, topics and credentials as a file.

    The file says which settings these have; settings that it does not name stay as they are, and
    null resets one. ${NAME} in a text is a variable of the environment.

    \b
      taskflow config export > taskflow.yaml
      taskflow config validate
      taskflow config plan
      taskflow config apply
    """


@config_command.command("validate")
@file_option
def _validate(*, path: Path) -> None:
    """Check a file without the service.

    The service checks more, such as whether a credential exists. A schedule or heartbeat
    without cron and every_seconds is named: it is valid only if it exists, which `plan` checks.

    \b
      taskflow config validate --file taskflow.yaml
    """
    wanted = _read(path)
    count = sum(map(len, wanted.sections.values()))
    click.echo(f"{path} is valid: {count} resource{'' if count == 1 else 's'}")
    if names := wanted.without_trigger:
        click.echo(f"neither cron nor every_seconds, so these must exist: {', '.join(names)}")


@config_command.command("plan")
@file_option
@plan_options
@click.option("--check", is_flag=True, help="End with status 1 if there is something to change.")
@_json_option
@service_options
def _plan(
    *,
    path: Path,
    prune: bool,
    credentials: bool,
    check: bool,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Show what a file would change, field by field. Nothing is changed.

    \b
      taskflow config plan
      taskflow config plan --prune --check
    """
    wanted, options = _read(path), Options(prune, credentials)
    changes = service.call(lambda client: _planned(path, wanted, client, options))
    _print(changes, as_json=as_json)
    if check and changes:
        raise click.exceptions.Exit(ExitStatus.FAILED)


@config_command.command("apply")
@file_option
@plan_options
@click.option("--yes", "-y", is_flag=True, help="With --prune, do not ask for confirmation.")
@_json_option
@service_options
def _apply(
    *,
    path: Path,
    prune: bool,
    credentials: bool,
    yes: bool,
    as_json: bool,
    service: RemoteService,
) -> None:
    """Make the changes that `plan` shows. A second call changes nothing.

    All of the file is validated first. The changes are made all together, or none of them: not if
    the service rejects one, and not if a resource was changed after the plan was made. Before
    resources are deleted, you are asked to confirm; without a terminal, --yes is required for that.

    \b
      taskflow config apply
      taskflow config apply --prune --yes
    """
    wanted, options = _read(path), Options(prune, credentials)

    async def work(client: Client) -> list[Change]:
        changes = await _planned(path, wanted, client, options)
        if not yes:
            _confirm_deletions(changes)
        if changes:
            await _apply_together(client, changes)
        return changes

    _print(service.call(work), as_json=as_json)


async def _apply_together(client: Client, changes: Sequence[Change]) -> None:
    """Make the changes, all or none.

    Raises:
        Failure: The service is of a version that cannot do that.
        ClientError: It rejects them, or cannot be reached.
    """
    try:
        await client.configuration.apply([change.request for change in changes])
    except Rejected as error:
        if error.status_code in _UNKNOWN_ROUTE and error.type in (NOT_FOUND.type, NO_METHOD.type):
            raise Failure(_TOO_OLD, ExitStatus.FAILED) from None
        click.echo("nothing was changed", err=True)
        raise
    except (Unreachable, ServerError):
        click.echo(
            "it is unknown whether the changes were made: `taskflow config plan` shows it", err=True
        )
        raise


@config_command.command("export")
@service_options
def _export(*, service: RemoteService) -> None:
    """Write the configuration of the service as a file.

    Values of credentials are not shown, so credentials are not exported; credentials in URLs and
    headers are shown as ***, and stay as they are when the file is applied.

    \b
      taskflow config export > taskflow.yaml
    """
    click.echo(dumped(service.call(_exported)), nl=False)


@config_command.command("schema")
def _schema() -> None:
    """Print the JSON Schema of the file, for editors.

    \b
      taskflow config schema > taskflow.schema.json
    """
    click.echo(msgspec.json.format(msgspec.json.encode(schema())).decode())


def _read(path: Path) -> Wanted:
    """Read and validate a file.

    Raises:
        Failure: It cannot be read, or is invalid; the message has all reasons.
    """
    try:
        text = sys.stdin.read() if str(path) == STANDARD_INPUT else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}", ExitStatus.USAGE) from None
    variables = Variables()
    document = variables.replaced(loaded(text, str(path)))
    if variables.malformed:
        raise Failure(f"{path} is invalid: {'; '.join(variables.malformed)}", ExitStatus.USAGE)
    if variables.missing:
        names = ", ".join(sorted(variables.missing))
        raise Failure(f"{path}: these variables are not set: {names}", ExitStatus.USAGE)
    with _failing_for(path):
        return wanted_of(document)


@contextlib.contextmanager
def _failing_for(path: Path) -> Iterator[None]:
    """Turn validation errors into the failure of a file."""
    try:
        yield
    except Unprocessable as error:
        reasons = "; ".join(map(_reason, error.errors))
        raise Failure(f"{path} is invalid: {reasons}", ExitStatus.USAGE) from None


async def _planned(path: Path, wanted: Wanted, client: Client, options: Options) -> list[Change]:
    with _failing_for(path):
        return await plan_of(wanted, client, options)


def _confirm_deletions(changes: Sequence[Change]) -> None:
    """Ask for confirmation if resources would be deleted.

    Raises:
        Failure: The user answered no, or there is no terminal.
    """
    deleted = [
        f"{change.section.kind} {safe(change.name)}"
        for change in changes
        if change.action is Action.DELETE
    ]
    if not deleted:
        return
    named = deleted[:MAX_NAMED]
    if len(deleted) > MAX_NAMED:
        named.append(f"{len(deleted) - MAX_NAMED} more")
    confirm(f"delete {len(deleted)} of {len(changes)} changed resources: {', '.join(named)}?")


def _reason(error: FieldError) -> str:
    """Return the message of an error; its place, if the message does not begin with that."""
    place = error.pointer.removeprefix("#/").replace("/", ".")
    section = place.partition(".")[0]
    is_placed = not section or error.detail.startswith((section, "there is no section"))
    return error.detail if is_placed else f"{place}: {error.detail}"


def _print(changes: Sequence[Change], *, as_json: bool) -> None:
    _print_changes(changes, as_json=as_json)
    if not as_json:
        click.echo(summary_of(changes))


def _print_changes(changes: Sequence[Change], *, as_json: bool) -> None:
    for change in changes:
        if as_json:
            output.json_line(_document_of(change))
            continue
        for line in text_of(change):
            click.echo(safe(line))


def _document_of(change: Change) -> dict[str, Any]:
    return {
        "kind": change.section.kind,
        "name": change.name,
        "action": change.action.name.lower(),
        "fields": [field._asdict() for field in change.fields],
    }


async def _exported(client: Client) -> dict[str, Any]:
    """Return the sections without what is not set."""
    found: dict[str, Any] = {}
    for section in ALL:
        if isinstance(section, Credentials):
            continue
        resources = {name: _set(one) for name, one in (await section.current(client)).items()}
        if section.name == "endpoints":
            for name, fields in resources.items():
                topic, _, endpoint = name.partition("/")
                found["topics"][topic].setdefault("endpoints", {})[endpoint] = fields
        elif resources:
            found[section.name] = dict(sorted(resources.items()))
    return found


def _set(fields: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if value not in (None, {}, []) and name != WHEN
    }
