"""``taskflow doctor``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Final

import click
import trio
from rich.text import Text

from taskflow import telemetry
from taskflow.cli import output
from taskflow.cli.columns import STYLES
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.local.checks.check import Finding, State, failed
from taskflow.cli.local.checks.database import database_findings
from taskflow.cli.local.checks.guard import guard_findings, resolver_findings
from taskflow.cli.local.checks.machine import file_findings, port_findings, version_findings
from taskflow.cli.local.checks.running_service import service_findings
from taskflow.cli.local.checks.settings import access_findings, settings_findings
from taskflow.cli.local.checks.zones import zone_findings
from taskflow.cli.remote.remote_service import named_address
from taskflow.cli.text import safe
from taskflow.client.environment import Address
from taskflow.settings import Settings, examine

_PLAIN: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    access_findings,
    file_findings,
    guard_findings,
)
_WAITING: Final[tuple[Callable[[Settings], Awaitable[Iterator[Finding]]], ...]] = (
    resolver_findings,
    port_findings,
    database_findings,
)


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Each finding as JSON, one a line.")
@click.option("--url", metavar="URL", help="A service to look at, instead of TASKFLOW_URL.")
def doctor_command(*, as_json: bool, url: str | None) -> int:
    """Check the installation and report problems, each with a remedy.

    It looks at the settings, the files that they name, keys and secrets, packages, the time zone
    database, the guard, the resolver, the port, the database, its clock and connections, and,
    where TASKFLOW_URL is set, at the service there. It starts and changes nothing, and shows no
    secrets. Exit status 0 means that nothing failed.

    \b
      taskflow doctor
      taskflow doctor --url https://taskflow.example --json
    """
    telemetry.configure("error", "console")  # what else is odd it says itself
    address = None
    with contextlib.suppress(Failure):  # .env cannot be read, as is told of the settings
        address = named_address(url)

    async def work() -> bool:
        has_failed = False
        async with contextlib.aclosing(_findings(address)) as findings:
            async for finding in findings:
                has_failed |= finding.state is State.FAILED
                output.json_line(finding) if as_json else _print(finding)
                output.flush()
        return has_failed

    return ExitStatus.FAILED if trio.run(work) else ExitStatus.OK


async def _findings(address: Address | None) -> AsyncGenerator[Finding]:
    examined = examine()
    for finding in [*settings_findings(examined), *version_findings(), *zone_findings()]:
        yield finding
    if examined.settings is not None:
        for look in _PLAIN:
            for finding in look(examined.settings):
                yield finding
        for wait in _WAITING:
            for finding in await _looked(wait, examined.settings):
                yield finding
    for finding in await service_findings(address):
        yield finding


async def _looked(
    wait: Callable[[Settings], Awaitable[Iterator[Finding]]], settings: Settings
) -> list[Finding]:
    """What one check finds; a fault in it keeps nobody from the others."""
    try:
        return list(await wait(settings))
    except Exception as error:  # noqa: BLE001 - told to a person
        name = wait.__name__.removesuffix("_findings")
        return [failed(name, f"it could not be looked at: {type(error).__name__}: {error}")]


def _print(finding: Finding) -> None:
    told = safe(finding.detail) + (f" -> {safe(finding.advice)}" if finding.advice else "")
    output.draw(
        Text.assemble(
            (f"{finding.state:<7}", STYLES[finding.state]),
            (f"  {finding.check:<13} ", "bold"),
            told,
        )
    )
