"""The client of the MCP SDK, told by lines of JSON what to do; runs where the SDK is installed.

Each line is an object with ``do``; each answer is a line, too.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


class Driver:
    """The connections, by name; the one that was opened last is closed first."""

    def __init__(self) -> None:
        self._stacks: list[AsyncExitStack] = []
        self._clients: dict[str, Client] = {}

    async def stdio(self, name: str, command: list[str], environ: dict[str, str], mode: str) -> Any:
        server = StdioServerParameters(command=command[0], args=command[1:], env=environ)
        return await self._open(name, AsyncExitStack(), server, mode)

    async def http(self, name: str, url: str, headers: dict[str, str], mode: str) -> Any:
        stack = AsyncExitStack()
        http = await stack.enter_async_context(
            httpx2.AsyncClient(headers=headers, timeout=90, trust_env=False)
        )
        return await self._open(name, stack, streamable_http_client(url, http_client=http), mode)

    async def _open(self, name: str, stack: AsyncExitStack, server: Any, mode: str) -> Any:
        client = await stack.enter_async_context(Client(server, mode=mode))
        self._stacks.append(stack)
        self._clients[name] = client
        assert client.server_info is not None
        return {"version": client.protocol_version, "name": client.server_info.name}

    async def close(self) -> None:
        await self._stacks.pop().aclose()

    async def close_all(self) -> None:
        while self._stacks:
            await self.close()

    async def tools(self, name: str) -> Any:
        listed = await self._clients[name].list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]

    async def call(self, name: str, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool; the SDK checks the result by the output schema of the tool."""
        result = await self._clients[name].call_tool(tool, arguments)
        return {
            "error": result.is_error,
            "text": result.content[0].text,
            "value": result.structured_content,
        }


async def main() -> None:
    driver = Driver()
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        try:
            answer = {"is": await getattr(driver, wanted.pop("do"))(**wanted)}
        except (MCPError, httpx2.HTTPError) as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    await driver.close_all()


if __name__ == "__main__":
    asyncio.run(main())
