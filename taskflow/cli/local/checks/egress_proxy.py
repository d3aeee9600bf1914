"""Checks of the egress proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import trio

from taskflow.cli.local.checks import Finding, failed, ok, warning
from taskflow.fetch.egress import Egress, egress_of
from taskflow.fetch.http_fetcher import default_ssl_context
from taskflow.fetch.resolver import SystemResolver
from taskflow.fetch.tunnel import Refused, connect_to, open_tunnel
from taskflow.model.errors import SettingsError
from taskflow.model.invalid_url import FetchError
from taskflow.model.url import parse_target
from taskflow.settings import Settings

_TIMEOUT_SECONDS: Final = 5.0
_NOWHERE: Final = "https://doctor.taskflow.invalid/"
"""A target that does not exist (RFC 2606): a proxy that answers does not connect to it."""


def egress_findings(settings: Settings) -> Iterator[Finding]:
    """Check the settings of the egress proxy."""
    try:
        egress = egress_of(settings)
    except SettingsError as error:
        yield failed("egress proxy", str(error), "correct it in the environment or in .env")
        return
    if egress is None and settings.egress_no_proxy:
        yield warning(
            "egress proxy",
            "TASKFLOW_EGRESS_NO_PROXY is set, but there is no proxy",
            "set TASKFLOW_EGRESS_PROXY, or unset it",
        )


async def proxy_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the egress proxy answers, and accepts its credentials."""
    try:
        egress = egress_of(settings)
    except SettingsError:
        return iter(())  # egress_findings reports it
    return iter(()) if egress is None else iter([await _examined(egress)])


async def _examined(egress: Egress) -> Finding:
    proxy, context = egress.proxy, default_ssl_context()
    advice = "check TASKFLOW_EGRESS_PROXY, and that the proxy runs and this machine can reach it"
    resolver = SystemResolver(1, relative_names=(proxy.target.host,))
    try:
        with trio.move_on_after(_TIMEOUT_SECONDS):
            stream = await connect_to(proxy, resolver, context)
            await open_tunnel(stream, proxy, parse_target(_NOWHERE))
            await trio.aclose_forcefully(stream)
    except Refused:
        pass  # as it should
    except FetchError as error:
        return failed("egress proxy", f"{proxy.target.origin}: {error}", advice)
    return ok("egress proxy", f"{proxy.target.origin} answers")
