"""The server over standard input and output: the client starts it as a process of its own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server.stdio import stdio_server

from taskflow.client.asynchronous.client import Client
from taskflow.client.connecting import Address
from taskflow.mcp_server.sdk.tool_server import make_server
from taskflow.mcp_server.toolbox import Caller, Writes


def run(address: Address, writes: Writes, timeout_seconds: float) -> None:
    """Serve until standard input ends."""
    # The SDK reads in a thread that cannot be interrupted, so that Ctrl+C would wait for a line.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    anyio.run(_serve, address, writes, timeout_seconds)


async def _serve(address: Address, writes: Writes, timeout_seconds: float) -> None:
    async with Client(
        address.url, api_key=address.api_key, timeout_seconds=timeout_seconds
    ) as client:
        caller = Caller(client, has_key=address.api_key is not None)

        @asynccontextmanager
        async def caller_of(_: Any) -> AsyncIterator[Caller]:
            yield caller

        server = make_server(caller_of, writes)
        async with stdio_server() as (received, sent):
            await server.run(received, sent, server.create_initialization_options())
