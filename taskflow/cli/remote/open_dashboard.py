"""``taskflow open``."""

from __future__ import annotations

import webbrowser

import click

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.remote.remote_service import RemoteService, address_for, service_options
from taskflow.cli.remote.task_ids import full_id
from taskflow.cli.remote.values import TASK_ID
from taskflow.client.calls import base_url_of, shown_url
from taskflow.client.errors import InvalidArgument


@click.command("open")
@click.argument("given", metavar="[ID]", type=TASK_ID, required=False)
@click.option("--print", "is_printed", is_flag=True, help="Print the address only.")
@service_options
def open_command(*, given: str | None, is_printed: bool, service: RemoteService) -> None:
    """Open the dashboard in a browser, or the page of a task, and print its address.

    \b
      taskflow open
      taskflow open 01a20c58-b6fd
    """
    address = f"{_base_url(service)}/ui"
    if given is not None:
        address += f"/tasks/{service.call(lambda client: full_id(client, given))}"
    output.line(address)
    output.flush()
    if not is_printed:
        webbrowser.open(address)


def _base_url(service: RemoteService) -> str:
    """Return the address of the service; a browser would open any other one, such as a file.

    Raises:
        Failure: It is not an address of a service.
    """
    try:
        return shown_url(base_url_of(address_for(service.url).url))
    except InvalidArgument as error:
        raise Failure(str(error), ExitStatus.USAGE) from None
