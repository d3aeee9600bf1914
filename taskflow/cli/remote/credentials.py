"""``taskflow credentials``. Values are read from files, because other users see arguments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import click

from taskflow.cli import output
from taskflow.cli.output import Column
from taskflow.cli.remote.input_lines import STANDARD_INPUT, json_fields_of
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.cli.sections import ListCommands
from taskflow.cli.text import moment_and_age
from taskflow.client.asynchronous.client import Client
from taskflow.model.sealed_credential import CredentialSummary

_COLUMNS: Final = (
    Column("CREDENTIAL", may_shrink=True),
    Column("KIND"),
    Column("HOSTS", may_shrink=True),
    Column("LAST USED"),
    Column("USED BY", may_shrink=True, drop_order=1),
)


@click.group("credentials", cls=ListCommands)
def credentials_command() -> None:
    """Create, show and delete credentials; without a subcommand, list them.

    The service adds a credential to the requests of the tasks, queues and schedules that refer to
    it. It needs encryption keys. If it has API keys, these commands need the role admin. The values
    of a credential are never shown.

    \b
      taskflow credentials
      taskflow credentials put billing --file billing.json
      taskflow submit --credential billing https://api.example.com/invoices
    """


@credentials_command.command("list")
@json_option("CredentialSummary")
@service_options
def _list_credentials(*, as_json: bool, service: RemoteService) -> None:
    """List all credentials by name, without their values.

    \b
      taskflow credentials list --json
    """
    found = service.call(lambda client: client.credentials.all())
    output.records(found, _COLUMNS, row_of, as_json=as_json)


@credentials_command.command("show")
@click.argument("name")
@json_option("CredentialSummary")
@service_options
def _show(*, name: str, as_json: bool, service: RemoteService) -> None:
    """Show a credential without its values, and what uses it.

    \b
      taskflow credentials show billing
    """
    credential = service.call(lambda client: client.credentials.get(name))
    output.record(credential, pairs_of, as_json=as_json)


@credentials_command.command("put")
@click.argument("name")
@click.option(
    "--file",
    "-f",
    "path",
    default=STANDARD_INPUT,
    help="The JSON file with the credential. Default: standard input.",
)
@json_option("CredentialSummary")
@service_options
def _put(*, name: str, path: str, as_json: bool, service: RemoteService) -> None:
    """Create or replace a credential.

    It is read as JSON from a file or standard input, because other users of this machine see the
    arguments of commands. docs/how-to/use-credentials.md has an example of each kind.

    \b
      taskflow credentials put billing --file billing.json
      pass show billing.json | taskflow credentials put billing
    """
    fields = json_fields_of(path)
    credential = service.call(lambda client: client.credentials.put(name, fields))
    output.record(credential, pairs_of, as_json=as_json)


@credentials_command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--force",
    is_flag=True,
    help="Delete credentials even if a queue, schedule or endpoint uses them.",
)
@service_options
def _delete(*, names: tuple[str, ...], force: bool, service: RemoteService) -> None:
    """Delete credentials; tasks that still refer to one fail as credential_missing.

    \b
      taskflow credentials delete billing
    """

    async def work(client: Client) -> None:
        for name in names:
            await client.credentials.delete(name, force=force)
            output.line(name, "deleted")

    service.call(work)


def row_of(credential: CredentialSummary) -> tuple[object, ...]:
    """Return the cells of a credential."""
    return (
        credential.name,
        credential.kind,
        " ".join(credential.hosts),
        moment_and_age(credential.last_used_at, dt.datetime.now(dt.UTC)),
        str(credential.used_by) or None,
    )


def pairs_of(credential: CredentialSummary) -> Iterator[tuple[str, object]]:
    """Return the names and values that describe a credential."""
    now = dt.datetime.now(dt.UTC)
    yield "credential", credential.name
    yield "kind", credential.kind
    yield "hosts", " ".join(credential.hosts)
    yield "created", moment_and_age(credential.created_at, now)
    yield "updated", moment_and_age(credential.updated_at, now)
    yield "last used", moment_and_age(credential.last_used_at, now)
    yield "used by", str(credential.used_by) or None
