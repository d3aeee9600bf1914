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
from taskflow.cli.exit_status import ExitStatus, Failure
from taskflow.cli.local.checks import Finding, State, failed
from taskflow.cli.local.checks.database import database_findings
from taskflow.cli.local.checks.egress_proxy import egress_findings, proxy_findings
from taskflow.cli.local.checks.guard import guard_findings, resolver_findings
from taskflow.cli.local.checks.machine import (
    file_findings,
    port_findings,
    version_findings,
    zone_findings,
)
from taskflow.cli.local.checks.public_url import public_url_findings
from taskflow.cli.local.checks.running_service import service_findings
from taskflow.cli.local.checks.settings import access_findings, settings_findings
from taskflow.cli.output import STYLES
from taskflow.cli.remote.remote_service import named_address
from taskflow.cli.text import safe
from taskflow.client.connecting import Address
from taskflow.settings import Settings, examine

_CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    access_findings,
    file_findings,
    guard_findings,
    egress_findings,
)
_ASYNC_CHECKS: Final[tuple[Callable[[Settings], Awaitable[Iterator[Finding]]], ...]] = (
    resolver_findings,
    proxy_findings,
    public_url_findings,
    port_findings,
    database_findings,
)


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON, one per line.")
@click.option(
    "--url", metavar="URL", help="Address of a service to check, instead of TASKFLOW_URL."
)
def doctor_command(*, as_json: bool, url: str | None) -> int:
    """Check the installation and report problems, each with a remedy.

    The checks cover settings, keys and secrets and the permissions of their files, packages, the
    time zone database, open files, the addresses that tasks may fetch, the resolver, the egress
    proxy, TASKFLOW_PUBLIC_URL, the port, the database with its clock and connections, and the
    service at TASKFLOW_URL if that is set. Nothing is started or changed, and no secrets are shown.
    Exit status 0 means that no check failed.

    \b
      taskflow doctor
      taskflow doctor --url https://taskflow.example --json
    """
    telemetry.configure("error", "console")  # the findings say the rest
    address = None
    with contextlib.suppress(Failure):  # .env cannot be read, which the settings check reports
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
        for check in _CHECKS:
            for finding in check(examined.settings):
                yield finding
        for async_check in _ASYNC_CHECKS:
            for finding in await _checked(async_check, examined.settings):
                yield finding
    for finding in await service_findings(address):
        yield finding


async def _checked(
    check: Callable[[Settings], Awaitable[Iterator[Finding]]], settings: Settings
) -> list[Finding]:
    """Return the findings of a check; an error in it does not end the others."""
    try:
        return list(await check(settings))
    except Exception as error:  # noqa: BLE001 - reported to the user
        name = check.__name__.removesuffix("_findings")
        return [failed(name, f"the check failed: {type(error).__name__}: {error}")]


def _print(finding: Finding) -> None:
    text = safe(finding.detail) + (f" -> {safe(finding.advice)}" if finding.advice else "")
    output.draw(
        Text.assemble(
            (f"{finding.state:<7}", STYLES[finding.state]),
            (f"  {finding.check:<13} ", "bold"),
            text,
        )
    )
