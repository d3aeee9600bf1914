"""``taskflow open``."""

from __future__ import annotations

import webbrowser

import click

from taskflow.cli import output
from taskflow.cli.remote.remote_service import RemoteService, address_for, service_options
from taskflow.cli.remote.task_ids import full_id
from taskflow.cli.remote.values import TASK_ID
from taskflow.client.calls import shown_url


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
    address = f"{shown_url(address_for(service.url).url).rstrip('/')}/ui"
    if given is not None:
        address += f"/tasks/{service.call(lambda client: full_id(client, given))}"
    output.line(address)
    output.flush()
    if not is_printed:
        webbrowser.open(address)
