"""Who is offered what by ``taskflow mcp``: the role of the key decides, and so does the service."""

from __future__ import annotations

import json
import socket
import subprocess

import httpx
import pytest

from taskflow import BlockingClient, Client
from taskflow.mcp_server.binding import (
    CHECK_SECONDS,
    KeyRequirement,
    Unprotected,
    check_service_requires_keys,
)
from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer
from tests.mcp_server.agents import LEGACY, http_server
from tests.mcp_server.conftest import KEYS
from tests.mcp_server.test_tools import READING, WRITING

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def server(environment, service, tmp_path_factory):
    """A server over HTTP, without a key of its own: the one in its environment is not used."""
    folder = tmp_path_factory.mktemp("http")
    options = ["--allow-host", "mcp.example.com"]
    variables = {"TASKFLOW_URL": service.url, "TASKFLOW_API_KEY": KEYS["admin"]}
    with http_server(environment, folder, options, **variables) as url:
        yield url


def test_each_agent_has_its_own_key(agents, server):
    """Over HTTP the key of each agent decides what it is offered, and what it may do."""
    with (
        agents.over_http(server, KEYS["write"]) as writer,
        agents.over_http(server, KEYS["read"]) as reader,
        agents.over_http(server, "not-a-key-of-this-service") as stranger,
    ):
        assert writer.tools().keys() == READING | WRITING
        assert reader.tools().keys() == READING
        task_id = writer.result("submit_task", payload="no url")["task"]["id"]
        done = reader.result("wait_for_task", task_id=task_id, timeout_seconds=90)
        assert done["task"]["status"] == "FAILED"
        # It is not offered, but the service has the last word.
        said = "needs a key with the role write; this one has read"
        assert said in reader.error("retry_task", task_id=task_id)
        assert stranger.tools().keys() == READING
        assert "this key is unknown" in stranger.error("get_stats")


def test_older_clients(agents, server):
    """Clients of the protocol with a handshake have the same tools."""
    with agents.over_http(server, KEYS["read"], mode=LEGACY) as agent:
        assert agent.version < "2026"
        assert agent.tools().keys() == READING
        assert agent.result("list_failures", since_seconds=1)["complete"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401),
        ({"Authorization": f"Bearer {KEYS['read']}"}, 200),
        ({"Authorization": f"Bearer {KEYS['read']}", "Host": "evil.example"}, 421),
        ({"Authorization": f"Bearer {KEYS['read']}", "Host": "mcp.example.com"}, 200),
        ({"Authorization": f"Bearer {KEYS['read']}", "Origin": "https://evil.example"}, 403),
        ({"Authorization": f"Bearer {KEYS['read']}", "Origin": "https://mcp.example.com"}, 200),
    ],
)
def test_requests_that_are_not_served(server, headers, status):
    """A server that others reach wants a key, and names and origins that are its own."""
    with httpx.Client(trust_env=False, timeout=90) as client:
        answer = client.post(server, json=INITIALIZE, headers={**ACCEPT, **headers})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


def run(
    environment, folder, *options: str, text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with this standard input, whose end ends it."""
    return subprocess.run(
        [environment.python, "-m", "taskflow", "mcp", *options],
        cwd=folder,
        env=environment.environ(variables),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("key", [None, KEYS["admin"]])
async def test_whether_a_service_requires_keys(key):
    """Found out by a request without one."""
    with LiveServer(database_url=MEMORY_URL, key=key) as server:
        async with Client(server.url) as client:
            if key:
                await check_service_requires_keys(client)
            else:
                with pytest.raises(Unprotected):
                    await check_service_requires_keys(client)


async def test_a_service_whose_keys_are_removed():
    """It is noticed within a minute, before a call is made."""
    now = 0.0
    with LiveServer(database_url=MEMORY_URL, key=KEYS["admin"]) as server:
        requirement = KeyRequirement(server.url, 90, now=lambda: now)
        await requirement.check()
    bind = server.url.removeprefix("http://")
    with LiveServer(database_url=MEMORY_URL, bind=bind):
        now = CHECK_SECONDS - 1
        await requirement.check()
        now = CHECK_SECONDS
        for _ in range(2):
            with pytest.raises(Unprotected):
                await requirement.check()


@pytest.mark.long
def test_a_server_for_others_wants_a_service_with_keys(environment, tmp_path):
    """Otherwise the service would take each of its clients for a local one."""
    with LiveServer(database_url=MEMORY_URL) as open_service:
        ended = run(
            *(environment, tmp_path, "--bind", "127.0.0.1:0", "--allow-host", "mcp.example.com"),
            TASKFLOW_URL=open_service.url,
        )
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "the service requires no API key" in line and "TASKFLOW_API_KEYS" in line


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "role", "is_offered"),
    [
        ([], "write", True),
        ([], "read", False),
        (["--read-only"], "admin", False),
        (["--allow-writes"], "read", False),
    ],
)
def test_a_key_over_stdio(agents, service, options, role, is_offered):
    """The role of the key decides, and an option can say less than that but no more."""
    place = {"TASKFLOW_URL": service.url, "TASKFLOW_API_KEY": KEYS[role]}
    with agents.over_stdio(*options, **place) as agent:
        assert agent.tools().keys() == (READING | WRITING if is_offered else READING)


@pytest.mark.long
def test_without_a_key(agents):
    """A service without keys: an agent only reads, unless the option lets it write."""
    with LiveServer(database_url=MEMORY_URL) as open_service:
        place = {"TASKFLOW_URL": open_service.url}
        with agents.over_stdio(**place) as reader:
            assert reader.tools().keys() == READING
            assert "--allow-writes" in reader.error("submit_task", payload="no url")
            assert reader.result("get_stats")["total"]["counts"]["FAILED"] == 0
        with agents.over_stdio("--allow-writes", mode=LEGACY, **place) as writer:
            assert writer.tools().keys() == READING | WRITING
            task = writer.result("submit_task", payload="no url", wait_seconds=60)
            assert task["task"]["error_type"] == "invalid_url"


@pytest.mark.long
@pytest.mark.parametrize("options", [[], ["--allow-writes"]])
def test_without_a_key_over_http(agents, environment, tmp_path, options):
    """The same on the loopback address, to which only local agents connect."""
    with (
        LiveServer(database_url=MEMORY_URL) as open_service,
        http_server(environment, tmp_path, options, TASKFLOW_URL=open_service.url) as url,
        agents.over_http(url) as agent,
    ):
        assert agent.tools().keys() == (READING | WRITING if options else READING)
        assert agent.result("get_stats")["total"]["counts"]["FAILED"] == 0


@pytest.mark.long
def test_a_service_that_is_away(agents):
    """The error of a call says so, and the server goes on."""
    place = {"TASKFLOW_URL": "http://127.0.0.1:9", "TASKFLOW_API_KEY": "x"}
    with agents.over_stdio("--timeout", "0.1", **place) as agent:
        assert agent.tools().keys() == READING | WRITING
        for _ in range(2):
            assert "connect" in agent.error("get_stats")


@pytest.mark.long
def test_an_address_that_is_not_available(environment, tmp_path):
    """One line says so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        ended = run(environment, tmp_path, "--bind", bind)
    assert ended.returncode == 1
    assert ended.stderr == f"taskflow: cannot listen on {bind}: Address already in use\n"


@pytest.mark.long
def test_the_end_of_input_ends_it(environment, tmp_path):
    """Without an error, and without a word on standard output, which is the wire."""
    ended = run(environment, tmp_path, TASKFLOW_URL="http://127.0.0.1:9")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.long
def test_the_end_of_input_ends_calls(environment, service, tmp_path):
    """A call that waits for a task is canceled with its connection."""
    with BlockingClient(service.url, api_key=KEYS["write"]) as client:
        task = client.submit("no url", delay_seconds=3600)
    calls = [
        INITIALIZE,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {
                "name": "wait_for_task",
                "arguments": {"task_id": str(task.id), "timeout_seconds": 300},
            },
        },
    ]
    ended = run(
        *(environment, tmp_path),
        text="".join(f"{json.dumps(call)}\n" for call in calls),
        TASKFLOW_URL=service.url,
        TASKFLOW_API_KEY=KEYS["read"],
    )
    assert ended.returncode == 0
    answers = {answer["id"]: answer for answer in map(json.loads, ended.stdout.splitlines())}
    assert "error" in answers.get(2, {"error": "none"})


@pytest.mark.long
def test_the_installation_without_the_service(environment):
    """The environment of the extra has AnyIO 4, and no part of the service."""
    assert environment.versions(["anyio"])["anyio"].startswith("4.")
    names = ["asks", "quart", "psycopg"]
    program = f"from importlib.util import find_spec; print([*map(find_spec, {names})])"
    assert environment.run("-c", program, cwd=environment.python.parent) == f"{[None] * 3}\n"
