"""This machine: Python, packages, files, the port."""

from __future__ import annotations

import importlib.metadata
import re
import resource
import sys
from collections.abc import Iterator
from typing import Final

from taskflow.cli.local.checks.check import Finding, failed, ok, warning
from taskflow.client.errors import ClientError, Problem
from taskflow.client.on_trio.client import Client
from taskflow.model.errors import CannotListen
from taskflow.service import MAX_OPEN_FILES
from taskflow.serving.server import bound_sockets
from taskflow.settings import Settings
from taskflow.version import DISTRIBUTION, __version__, install_command

TESTED_PYTHONS: Final = ("3.11", "3.12", "3.13")
_PACKAGES: Final = (
    "trio",
    "asks",
    "h11",
    "hypercorn",
    "quart",
    "quart-trio",
    "psycopg",
    "trio-asyncio",
)
_PIN: Final = re.compile(r"([A-Za-z0-9._-]+)\s*==\s*([^\s;,]+)")
_ANSWER_SECONDS: Final = 2.0


def version_findings() -> Iterator[Finding]:
    """Python, TaskFlow and what it is pinned to."""
    python = "{}.{}.{}".format(*sys.version_info[:3])
    if "{}.{}".format(*sys.version_info) not in TESTED_PYTHONS:
        advice = f"use one that is: {', '.join(TESTED_PYTHONS)}"
        yield warning("python", f"{python}, on which TaskFlow is not tested", advice)
    else:
        yield ok("python", f"{python}, TaskFlow {__version__}")
    installed = {name: _version_of(name) for name in _PACKAGES}
    missing = [name for name, version in installed.items() if version is None]
    wrong = [
        f"{name} is {found} and must be {wanted}"
        for name, wanted in _pins()
        if (found := _version_of(name)) not in (None, wanted)
    ]
    if missing or wrong:
        said = [*(f"there is no {name}" for name in missing), *wrong]
        yield failed("packages", "; ".join(said), f"run {install_command('server')}")
    else:
        yield ok("packages", ", ".join(f"{name} {version}" for name, version in installed.items()))


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pins() -> list[tuple[str, str]]:
    """Packages whose insides are replaced or subclassed, each at one version."""
    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        return []
    return [(match[1], match[2]) for text in wanted if (match := _PIN.match(text))]


def file_findings(settings: Settings) -> Iterator[Finding]:
    """How many files a process may open: each client and each fetch is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if most // 2 < settings.max_connections:
        yield warning(
            "open files",
            f"{most}, so {most // 2} clients and not {settings.max_connections}",
            f"raise the hard limit (ulimit -Hn) to {2 * settings.max_connections}",
        )
    else:
        yield ok("open files", f"{most}, enough for {settings.max_connections} clients")


async def port_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the port is free, or who is there."""
    if settings.bind.startswith("unix:"):
        return iter([ok("port", f"{settings.bind} is a socket in the file system")])
    try:
        with bound_sockets(settings):
            return iter([ok("port", f"{settings.bind} is free")])
    except CannotListen as error:
        return iter([await _neighbour(settings.bind, str(error))])


async def _neighbour(bind: str, complaint: str) -> Finding:
    """Who listens there."""
    host, _, port = bind.rpartition(":")
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - asked, not bound
    try:
        async with Client(f"http://{reached}:{port}", timeout_seconds=_ANSWER_SECONDS) as client:
            service = await client.check()
    except Problem:
        return ok("port", f"{bind}: a service is running there already")
    except (ClientError, ValueError):
        return failed("port", complaint, "stop what listens there, or set TASKFLOW_BIND")
    return ok("port", f"{bind}: TaskFlow {service.version} is running there")
