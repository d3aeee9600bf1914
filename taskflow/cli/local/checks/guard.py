"""Checks of the addresses that tasks may fetch, and of the resolver."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Final

import psutil
import trio

from taskflow.cli.local.checks import Finding, failed, ok, warning
from taskflow.fetch.errors import Blocked, NameNotResolved
from taskflow.fetch.guard import Guard
from taskflow.fetch.resolver import SystemResolver
from taskflow.model.errors import SettingsError
from taskflow.model.hostname import bracketed
from taskflow.model.url import parse_target
from taskflow.settings import Settings

_METADATA: Final = "169.254.169.254"
_LOOPBACK: Final = "127.0.0.1"
_RESOLVE_SECONDS: Final = 5.0


def guard_findings(settings: Settings) -> Iterator[Finding]:
    """Check which addresses are allowed besides the public internet."""
    try:
        guard = Guard(settings)
    except SettingsError as error:
        yield failed("guard", str(error), "correct it in the environment or in .env")
        return
    if is_open(guard, _METADATA):
        yield warning(
            "guard",
            f"tasks may fetch {_METADATA}, where cloud providers serve credentials",
            "remove it from TASKFLOW_ALLOW_NETWORKS unless this is intended",
        )
    if is_open(guard, _LOOPBACK):
        yield warning(
            "guard",
            "tasks may fetch the loopback addresses of this machine",
            "in production, remove them from TASKFLOW_ALLOW_NETWORKS",
        )
    opened = [address for address in own_addresses() if is_open(guard, address)]
    if opened:
        yield warning("guard", f"tasks may fetch this machine: {', '.join(opened)}")
    allowed = ", ".join(["public addresses", *settings.allow_networks, *settings.allow_hosts])
    yield ok("guard", f"allowed: {allowed}; denied hosts: {len(settings.deny_hosts)}")


def is_open(guard: Guard, address: str) -> bool:
    """Return whether tasks may fetch an address."""
    try:
        guard.admit(parse_target(f"http://{bracketed(address)}/"))
    except Blocked:
        return False
    return True


def own_addresses() -> list[str]:
    """Return the addresses of this machine that others can reach."""
    found = []
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family not in (socket.AF_INET, socket.AF_INET6) or "%" in one.address:
                continue
            address = ipaddress.ip_address(one.address)
            if not address.is_loopback and not address.is_link_local:
                found.append(str(address))
    return found


async def resolver_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the system resolves names, with one that needs no network."""
    addresses = None
    try:
        with trio.move_on_after(_RESOLVE_SECONDS):
            addresses = await SystemResolver(settings.resolver_threads).resolve("localhost")
    except (OSError, NameNotResolved) as error:
        return iter(
            [warning("resolver", f"localhost cannot be resolved: {error}", "see /etc/hosts")]
        )
    if addresses is None:
        return iter([warning("resolver", "no response in time", "see /etc/resolv.conf")])
    return iter([ok("resolver", f"localhost is {', '.join(map(str, addresses))}")])
