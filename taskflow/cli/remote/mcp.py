"""``taskflow mcp``."""

from __future__ import annotations

import importlib.util

import click

from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.cli.remote.remote_service import RemoteService, address_for, service_options
from taskflow.client.asynchronous.client import Client
from taskflow.client.connecting import Address
from taskflow.client.errors import ClientError
from taskflow.mcp_server.binding import Binding, Unprotected, check_service_requires_keys
from taskflow.mcp_server.toolbox import Writes
from taskflow.model.errors import CannotListen
from taskflow.version import install_command


@click.command("mcp")
@click.option(
    "--bind",
    metavar="ADDRESS:PORT",
    help="Serve streamable HTTP there, at /mcp, instead of standard input and output.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A host name by which other machines reach the server; may be repeated. With --bind.",
)
@click.option("--read-only", is_flag=True, help="Offer no tool that changes something.")
@click.option(
    "--allow-writes",
    is_flag=True,
    help="Offer tools that change something without an API key, too, if the service requires none.",
)
@service_options
def mcp_command(
    *,
    bind: str | None,
    hosts: tuple[str, ...],
    read_only: bool,
    allow_writes: bool,
    service: RemoteService,
) -> None:
    """Serve tools for agents, by the Model Context Protocol.

    Over standard input and output, for an agent that starts this command, calls are made with the
    key in TASKFLOW_API_KEY. With --bind, each agent sends its own key as a bearer token. The tools
    that change something are offered to keys with the role write or admin.

    It needs the extra mcp, in an environment of its own: docs/how-to/use-with-agents.md.

    \b
      TASKFLOW_API_KEY=... taskflow mcp
      taskflow mcp --allow-writes
      taskflow mcp --bind 127.0.0.1:8090
    """
    _check_installation()
    if read_only and allow_writes:
        raise click.UsageError("--read-only and --allow-writes exclude each other")
    if hosts and bind is None:
        raise click.UsageError("--allow-host needs --bind")
    writes = Writes.ALLOWED if allow_writes else Writes.NEVER if read_only else Writes.BY_KEY
    address = address_for(service.url)
    _check_client(address)
    if bind is not None:
        _serve_http(address, service, _binding_of(bind, hosts), writes)
        return
    # Here, for it needs the SDK.
    from taskflow.mcp_server.sdk import over_stdio  # noqa: PLC0415

    over_stdio.run(address, writes, service.timeout_seconds)


def _check_installation() -> None:
    """Check that the SDK is installed, and the service is not.

    Raises:
        Failure: The command cannot run.
    """
    if importlib.util.find_spec("asks") is not None:
        raise Failure(
            "the MCP SDK and the service cannot share an environment: it needs AnyIO 4, and the "
            f"service AnyIO 3. In an environment of its own, run {install_command('mcp')}"
        )
    if importlib.util.find_spec("mcp") is None:
        raise Failure(f"the MCP SDK is not installed: run {install_command('mcp')}")


def _check_client(address: Address) -> None:
    """Make a client, which otherwise would fail at each call.

    Raises:
        Failure: The address, the key or a variable of the environment cannot be used.
    """
    try:
        Client(address.url, api_key=address.api_key)
    except ClientError as error:
        raise Failure(str(error), ExitStatus.USAGE) from None


def _binding_of(bind: str, hosts: tuple[str, ...]) -> Binding:
    try:
        return Binding.of(bind, hosts)
    except ClientError as error:
        raise click.UsageError(f"--bind: {error}") from None


def _serve_http(address: Address, service: RemoteService, binding: Binding, writes: Writes) -> None:
    if address.api_key:
        complain("TASKFLOW_API_KEY is not used with --bind: each agent sends its own key")
    if binding.is_exposed:
        _check_keys(address, service)
    # Here, for it needs the SDK.
    from taskflow.mcp_server.sdk.over_http import HttpServer  # noqa: PLC0415

    server = HttpServer(address.url, binding, writes, timeout_seconds=service.timeout_seconds)
    try:
        server.run(lambda url: complain(f"serving MCP at {url}"))
    except CannotListen as error:
        raise Failure(str(error)) from None


def _check_keys(address: Address, service: RemoteService) -> None:
    """Check that the service requires keys.

    Raises:
        Failure: It does not, or does not answer.
    """
    try:
        service.call(check_service_requires_keys, address._replace(api_key=None))
    except Unprotected as error:
        raise Failure(str(error)) from None
