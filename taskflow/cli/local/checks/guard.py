"""What may be fetched from, and whether names are resolved."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Final

import psutil
import trio

from taskflow.cli.local.checks.check import Finding, failed, ok, warning
from taskflow.fetch.errors import Blocked, NameNotResolved
from taskflow.fetch.guard import Guard
from taskflow.fetch.resolver import SystemResolver
from taskflow.model.errors import SettingsError
from taskflow.model.url import parse_target
from taskflow.settings import Settings

_METADATA: Final = "169.254.169.254"
_LOOPBACK: Final = "127.0.0.1"
_RESOLVE_SECONDS: Final = 5.0


def guard_findings(settings: Settings) -> Iterator[Finding]:
    """What is open besides the public internet."""
    try:
        guard = Guard(settings)
    except SettingsError as error:
        yield failed("guard", str(error), "correct it in the environment or in .env")
        return
    if is_open(guard, _METADATA):
        yield warning(
            "guard",
            f"tasks may be fetched from {_METADATA}, where clouds keep credentials",
            "take it out of TASKFLOW_ALLOW_NETWORKS unless that is meant",
        )
    if is_open(guard, _LOOPBACK):
        yield warning(
            "guard",
            "tasks may be fetched from this machine's loopback address",
            "fine on a laptop; elsewhere take it out of TASKFLOW_ALLOW_NETWORKS",
        )
    opened = [address for address in own_addresses() if is_open(guard, address)]
    if opened:
        yield warning(
            "guard", f"tasks may be fetched from this machine itself: {', '.join(opened)}"
        )
    rest = [*settings.allow_networks, *settings.allow_hosts]
    said = f", and {', '.join(rest)}" if rest else " only"
    yield ok("guard", f"public addresses are open{said}; {len(settings.deny_hosts)} hosts denied")


def is_open(guard: Guard, address: str) -> bool:
    """Whether tasks may be fetched from an address."""
    host = f"[{address}]" if ":" in address else address
    try:
        guard.admit(parse_target(f"http://{host}/"))
    except Blocked:
        return False
    return True


def own_addresses() -> list[str]:
    """This machine's, those aside that are no more than its own."""
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
    """Whether the system resolves names: by one that every machine knows by itself."""
    addresses = None
    try:
        with trio.move_on_after(_RESOLVE_SECONDS):
            addresses = await SystemResolver(settings.resolver_threads).resolve("localhost")
    except (OSError, NameNotResolved) as error:
        return iter([warning("resolver", f"localhost does not resolve: {error}", "see /etc/hosts")])
    if addresses is None:
        return iter([warning("resolver", "there is no answer", "see /etc/resolv.conf")])
    return iter([ok("resolver", f"localhost is {', '.join(map(str, addresses))}")])
