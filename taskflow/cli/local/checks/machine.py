"""Checks of this machine: Python, packages, time zones, open files, the port."""

from __future__ import annotations

import importlib.metadata
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from taskflow.cli.local.checks import Finding, failed, ok, warning
from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import ClientError, Problem
from taskflow.model.errors import CannotListen
from taskflow.model.zones import zone_database
from taskflow.serving.process_tuning import MAX_OPEN_FILES
from taskflow.serving.server import listening
from taskflow.settings import Settings
from taskflow.version import DISTRIBUTION, __version__, install_command

TESTED_PYTHONS: Final = ("3.11", "3.12", "3.13")
_PACKAGES: Final = (
    "trio",
    "asks",
    "httptools",
    "hypercorn",
    "quart",
    "quart-trio",
    "psycopg",
    "trio-asyncio",
)
_PIN: Final = re.compile(r"([A-Za-z0-9._-]+)\s*==\s*([^\s;,]+)")
_TIMEOUT_SECONDS: Final = 2.0


def version_findings() -> Iterator[Finding]:
    """Check Python, and the packages that TaskFlow needs."""
    python = "{}.{}.{}".format(*sys.version_info[:3])
    if "{}.{}".format(*sys.version_info) not in TESTED_PYTHONS:
        advice = f"use one of {', '.join(TESTED_PYTHONS)}"
        yield warning("python", f"{python}, with which TaskFlow is not tested", advice)
    else:
        yield ok("python", f"{python}, TaskFlow {__version__}")
    installed = {name: _version_of(name) for name in _PACKAGES}
    problems = [f"{name} is not installed" for name, version in installed.items() if not version]
    problems += [
        f"{name} is {found} and must be {wanted}"
        for name, wanted in _pins()
        if (found := _version_of(name)) not in (None, wanted)
    ]
    if problems:
        yield failed("packages", "; ".join(problems), f"run {install_command('server')}")
    else:
        yield ok("packages", ", ".join(f"{name} {version}" for name, version in installed.items()))


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pins() -> list[tuple[str, str]]:
    """Return the packages that must have one exact version, since TaskFlow extends internals."""
    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return []
    return [(match[1], match[2]) for text in wanted if (match := _PIN.match(text))]


def zone_findings() -> Iterator[Finding]:
    """Check which time zone database schedules use on this machine."""
    found = zone_database()
    system = f"system: {found.system_version or 'unknown version'}"
    package = f"package tzdata: {found.packaged_version or 'not installed'}"
    if found.version is None:
        yield warning("time zones", f"{system}; {package}", "run `pip install tzdata`")
    else:
        origin = "the package tzdata" if found.is_packaged else "the system"
        other = system if found.is_packaged else package
        yield ok("time zones", f"{found.version} from {origin} ({other})")


def zone_mismatch(versions: Iterable[str | None]) -> Iterator[Finding]:
    """Return a warning if nodes use different time zone databases; unknown versions are ignored."""
    known = sorted({version for version in versions if version})
    if len(known) > 1:
        yield warning(
            "time zones",
            f"nodes use different versions ({', '.join(known)}), so they may compute different "
            "times for a schedule",
            "run `pip install -U tzdata` on every node, and restart them",
        )


def file_findings(settings: Settings) -> Iterator[Finding]:
    """Check the limit of open files: each connection and each fetch uses one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    wanted = settings.max_connections
    if limit // 2 < wanted:
        yield warning(
            "open files",
            f"{limit}, enough for {limit // 2} of {wanted} connections",
            f"raise the hard limit (ulimit -Hn) to {2 * wanted}",
        )
    else:
        yield ok("open files", f"{limit}, enough for {wanted} connections")


async def port_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the port is free, or used by TaskFlow."""
    if settings.bind.startswith("unix:"):
        return iter([ok("port", f"{settings.bind} is a Unix socket")])
    try:
        with listening(settings):
            return iter([ok("port", f"{settings.bind} is free")])
    except CannotListen as error:
        return iter([await _used_port(settings.bind, str(error))])


async def _used_port(bind: str, complaint: str) -> Finding:
    """Find out whether TaskFlow listens on the port."""
    host, _, port = bind.rpartition(":")
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - asked, not bound
    try:
        async with Client(f"http://{reached}:{port}", timeout_seconds=_TIMEOUT_SECONDS) as client:
            service = await client.check()
    except Problem:
        return ok("port", f"{bind} is used by TaskFlow")
    except (ClientError, ValueError):
        return failed(
            "port", complaint, "stop the process that listens there, or set TASKFLOW_BIND"
        )
    return ok("port", f"{bind} is used by TaskFlow {service.version}")
