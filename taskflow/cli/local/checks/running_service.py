"""The service at TASKFLOW_URL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from taskflow.cli.local.checks.check import Finding, failed, ok, warning
from taskflow.cli.local.checks.zones import difference
from taskflow.client.environment import Address
from taskflow.client.errors import (
    ClientError,
    Forbidden,
    InvalidEnvironment,
    ServerFault,
    Unauthorized,
    Unreachable,
)
from taskflow.client.on_trio.client import Client
from taskflow.client.task import Service
from taskflow.fetch.errors import masked_url
from taskflow.model.display import duration
from taskflow.model.monitoring import NodeRecord
from taskflow.version import __version__

MOST_SKEW_SECONDS: Final = 5.0
_TIMEOUT_SECONDS: Final = 3.0


async def service_findings(address: Address | None) -> Iterator[Finding]:
    """Whether it answers, is well, takes the key, and has the right time."""
    if address is None:
        return iter([ok("service", "TASKFLOW_URL is not set, so none is asked")])
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
            return iter([_trouble(error, address)])
    zones = difference(node.tz_version for node in nodes if node.alive)
    return iter([*_of_service(service, address), _of_nodes(nodes), *zones])


def _trouble(error: ClientError, address: Address) -> Finding:
    told = f"{masked_url(address.url)}: {error}"
    if isinstance(error, (Unauthorized, Forbidden)):
        return failed("service", told, "set TASKFLOW_API_KEY to a key that is known there")
    if isinstance(error, ServerFault):
        return failed("service", f"{told} (not ready)", "see its log, and its /readyz")
    if isinstance(error, Unreachable):
        return failed("service", told, "see that it runs, and that TASKFLOW_URL leads there")
    return failed("service", told, "see what answers at TASKFLOW_URL")


def _of_service(service: Service, address: Address) -> Iterator[Finding]:
    told = f"{masked_url(address.url)}: TaskFlow {service.version}, ready"
    if service.version == __version__:
        yield ok("service", told)
    else:
        yield warning("service", f"{told}; here it is {__version__}", "install the same version")
    yield ok("key", "the key is taken" if address.api_key else "none is set, and none is wanted")
    if service.date is None:
        return
    ahead = (service.date - dt.datetime.now(dt.UTC)).total_seconds()
    skew = f"the service's is {'ahead' if ahead >= 0 else 'behind'} by {duration(abs(ahead))}"
    if abs(ahead) > MOST_SKEW_SECONDS:
        yield warning("service clock", skew, "have both machines set their clocks by NTP")
    else:
        yield ok("service clock", skew)


def _of_nodes(nodes: list[NodeRecord]) -> Finding:
    alive = [node for node in nodes if node.alive]
    versions = sorted({node.version or "an older one" for node in alive})
    told = f"{len(alive)} alive, of version {', '.join(versions)}"
    if not alive:
        return failed("nodes", "none is alive, so no task is run", "start `taskflow worker`")
    if len(versions) > 1:
        return warning("nodes", told, "bring all of them to one version")
    if len(alive) < len(nodes):
        return warning("nodes", f"{told}; {len(nodes) - len(alive)} died lately", "see their logs")
    return ok("nodes", told)
