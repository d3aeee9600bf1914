"""Agents that call the tools of ``taskflow mcp`` by the client of the MCP SDK."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.frameworks.environment import Environment
from tests.service.processes import START_SECONDS, wait_until

DRIVER = Path(__file__).with_name("driver.py")
MODERN, LEGACY = "auto", "legacy"


class Agent:
    """A connection to a server of tools.

    Attributes:
        version: The version of the protocol that was negotiated.
    """

    def __init__(self, agents: Agents, name: str, version: str) -> None:
        self._agents = agents
        self._name = name
        self.version = version

    def tools(self) -> dict[str, Any]:
        """The tools that are offered, by name."""
        return {tool["name"]: tool for tool in self._agents.ask("tools", name=self._name)}

    def result(self, tool: str, **arguments: Any) -> Any:
        """The structured result of a call that succeeds."""
        result = self._agents.ask("call", name=self._name, tool=tool, arguments=arguments)
        assert not result["error"], result["text"]
        assert json.loads(result["text"]) == result["value"]
        return result["value"]

    def error(self, tool: str, **arguments: Any) -> str:
        """The text of a call that fails."""
        result = self._agents.ask("call", name=self._name, tool=tool, arguments=arguments)
        assert result["error"], result["text"]
        return result["text"]


class Agents:
    """The process in which the client of the SDK runs; all connections share it."""

    def __init__(self, environment: Environment, process: subprocess.Popen[str]) -> None:
        self._environment = environment
        self._process = process
        self._count = 0

    @contextlib.contextmanager
    def over_stdio(self, *options: str, mode: str = MODERN, **variables: str) -> Iterator[Agent]:
        """Start a server and connect to it, as clients for desktops do."""
        command = [str(self._environment.python), "-m", "taskflow", "mcp", *options]
        environ = self._environment.environ(variables)
        with self._connected("stdio", mode, command=command, environ=environ) as agent:
            yield agent

    @contextlib.contextmanager
    def over_http(self, url: str, key: str | None = None, *, mode: str = MODERN) -> Iterator[Agent]:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with self._connected("http", mode, url=url, headers=headers) as agent:
            yield agent

    @contextlib.contextmanager
    def _connected(self, kind: str, mode: str, **place: Any) -> Iterator[Agent]:
        self._count += 1
        name = str(self._count)
        server = self.ask(kind, name=name, mode=mode, **place)
        assert server["name"] == "taskflow"
        try:
            yield Agent(self, name, server["version"])
        finally:
            self.ask("close")

    def ask(self, what: str, **arguments: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "is" in answer, answer
        return answer["is"]


@contextlib.contextmanager
def open_agents(environment: Environment, folder: Path) -> Iterator[Agents]:
    with subprocess.Popen(
        [environment.python, DRIVER],
        cwd=folder,
        env=environment.environ({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Agents(environment, process)
        assert process.stdin
        process.stdin.close()
        assert process.wait() == 0


@contextlib.contextmanager
def http_server(
    environment: Environment, folder: Path, options: Sequence[str], **variables: str
) -> Iterator[str]:
    """Serve over HTTP on a free port, and return the URL."""
    log = folder / "mcp.log"
    command = [environment.python, "-m", "taskflow", "mcp", "--bind", "127.0.0.1:0", *options]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment.environ(variables), stderr=output
        ) as process,
    ):
        try:
            wait_until(lambda: "serving MCP" in log.read_text() or process.poll(), START_SECONDS)
            assert process.poll() is None, log.read_text()
            yield log.read_text().split()[-1]
        finally:
            process.terminate()
