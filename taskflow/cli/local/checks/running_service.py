"""Checks of the service at TASKFLOW_URL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from taskflow.cli.local.checks import Finding, failed, ok, skew_text, warning
from taskflow.cli.local.checks.machine import zone_mismatch
from taskflow.client.asynchronous.client import Client
from taskflow.client.connecting import Address
from taskflow.client.errors import (
    ClientError,
    Forbidden,
    InvalidEnvironment,
    ServerError,
    Unauthorized,
    Unreachable,
)
from taskflow.client.task import Service
from taskflow.fetch.errors import masked_url
from taskflow.model.monitoring import NodeRecord
from taskflow.version import __version__

MAX_SKEW_SECONDS: Final = 5.0
_TIMEOUT_SECONDS: Final = 3.0


async def service_findings(address: Address | None) -> Iterator[Finding]:
    """Check that the service is ready and accepts the key, and check its clock and nodes."""
    if address is None:
        return iter([ok("service", "not checked: TASKFLOW_URL is not set")])
    try:
        client = Client(address.url, api_key=address.api_key, timeout_seconds=_TIMEOUT_SECONDS)
    except InvalidEnvironment as error:
        return iter([failed("service", str(error))])
    except ValueError as error:
        return iter([failed("service", str(error), "correct TASKFLOW_URL or TASKFLOW_API_KEY")])
    async with client:
        try:
            service = await client.check()
            nodes = await client.nodes()
        except ClientError as error:
            return iter([_failure(error, address)])
    zones = zone_mismatch(node.tz_version for node in nodes if node.alive)
    return iter([*_of_service(service, address), _of_nodes(nodes), *zones])


def _failure(error: ClientError, address: Address) -> Finding:
    detail = f"{masked_url(address.url)}: {error}"
    if isinstance(error, (Unauthorized, Forbidden)):
        return failed("service", detail, "set TASKFLOW_API_KEY to a key of this service")
    if isinstance(error, ServerError):
        return failed("service", f"{detail} (not ready)", "see its log and its /readyz")
    if isinstance(error, Unreachable):
        return failed("service", detail, "check that it runs and that TASKFLOW_URL is correct")
    return failed("service", detail, "check which program answers at TASKFLOW_URL")


def _of_service(service: Service, address: Address) -> Iterator[Finding]:
    detail = f"{masked_url(address.url)}: TaskFlow {service.version} is ready"
    if service.version == __version__:
        yield ok("service", detail)
    else:
        yield warning("service", f"{detail}; this is {__version__}", "install the same version")
    yield ok("key", "accepted" if address.api_key else "not set, and not required")
    if service.date is None:
        return
    ahead = (service.date - dt.datetime.now(dt.UTC)).total_seconds()
    skew = skew_text("service", ahead)
    if abs(ahead) > MAX_SKEW_SECONDS:
        yield warning("service clock", skew, "synchronize both clocks with NTP")
    else:
        yield ok("service clock", skew)


def _of_nodes(nodes: list[NodeRecord]) -> Finding:
    alive = [node for node in nodes if node.alive]
    versions = sorted({node.version or "an unknown version" for node in alive})
    detail = f"{len(alive)} alive: {', '.join(versions)}"
    if not alive:
        return failed("nodes", "no node is alive, so no task runs", "start `taskflow worker`")
    if len(versions) > 1:
        return warning("nodes", detail, "upgrade all nodes to the same version")
    if len(alive) < len(nodes):
        died = len(nodes) - len(alive)
        return warning("nodes", f"{detail}; {died} died recently", "see their logs")
    return ok("nodes", detail)
