"""All tools, and which of them a caller may use."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

from taskflow.client.asynchronous.client import Client
from taskflow.client.errors import ClientError, Forbidden, Unauthorized
from taskflow.mcp_server.failures import FAILURE_TOOLS
from taskflow.mcp_server.queue_tools import QUEUE_TOOLS
from taskflow.mcp_server.schedule_tools import SCHEDULE_TOOLS
from taskflow.mcp_server.task_tools import TASK_TOOLS
from taskflow.mcp_server.tool import Tool

TOOLS: Final[Mapping[str, Tool]] = {
    one.name: one for one in (*TASK_TOOLS, *FAILURE_TOOLS, *QUEUE_TOOLS, *SCHEDULE_TOOLS)
}


class Writes(enum.Enum):
    """Which callers are offered the tools that change something."""

    BY_KEY = enum.auto()
    """Those with an API key whose role is ``write`` or ``admin``."""
    ALLOWED = enum.auto()
    """Those, and callers without a key if the service requires none."""
    NEVER = enum.auto()
    """None."""


class Caller(NamedTuple):
    """An agent.

    Attributes:
        client: The client by which its calls reach the service.
        has_key: Whether it has an API key.
    """

    client: Client
    has_key: bool


def may_use(tool: Tool, writes: Writes, *, has_key: bool) -> bool:
    """Return whether a caller may use a tool; the service checks its key as well."""
    if tool.hints.is_read_only or writes is Writes.ALLOWED:
        return True
    return writes is Writes.BY_KEY and has_key


async def offered(caller: Caller, writes: Writes) -> list[Tool]:
    """Return the tools that a caller may use."""
    usable = [tool for tool in TOOLS.values() if may_use(tool, writes, has_key=caller.has_key)]
    has_writing = any(not tool.hints.is_read_only for tool in usable)
    if has_writing and not await _may_write(caller.client):
        return [tool for tool in usable if tool.hints.is_read_only]
    return usable


async def _may_write(client: Client) -> bool:
    """Return whether the service accepts writes from a caller.

    It has no route that tells a role. But it checks the role before the body, and rejects the body
    of a bulk action without filters: nothing is ever changed, or even counted, by this request.
    """
    try:
        await client.cancel_many(dry_run=True)
    except (Forbidden, Unauthorized):
        return False
    except ClientError:  # the expected one; or it does not answer, and decides at each call
        return True
    return True
