"""The tools of ``taskflow mcp``, called by the client of the MCP SDK against a real service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.api.target import BIG
from tests.mcp_server.agents import Agent, Agents
from tests.mcp_server.conftest import KEYS

READING = {
    *("get_task", "wait_for_task", "list_tasks", "read_result", "list_attempts", "list_failures"),
    *("get_stats", "list_queues", "list_schedules", "get_schedule"),
}
DESTRUCTIVE = {
    *("submit_task", "retry_task", "retry_tasks", "cancel_task", "run_schedule", "put_schedule"),
}
WRITING = DESTRUCTIVE | {"pause_queue", "resume_queue"}
# Clients warn from 10,000 tokens on, which are about four characters each.
MAX_CHARACTERS = 40_000


@pytest.fixture(scope="module")
def agent(agents: Agents, service) -> Iterator[Agent]:
    """An agent that may write; its server is a process that it started."""
    place = {"TASKFLOW_URL": service.url, "TASKFLOW_API_KEY": KEYS["write"]}
    with agents.over_stdio(**place) as agent:
        yield agent


@pytest.fixture
def queue() -> str:
    return f"q{uuid.uuid4().hex}"


def test_the_tools_and_what_clients_are_told(agent):
    """All tools with their hints; schemas are objects, and short enough for an agent to read."""
    tools = agent.tools()
    assert tools.keys() == READING | WRITING
    hints = {name: tool["annotations"] for name, tool in tools.items()}
    assert {name for name in tools if hints[name]["readOnlyHint"]} == READING
    assert {name for name in tools if hints[name]["destructiveHint"]} == DESTRUCTIVE
    assert {name for name in tools if hints[name]["openWorldHint"]} == (
        WRITING - {"cancel_task", "pause_queue"}
    )
    for tool in tools.values():
        assert tool["description"].endswith(".")
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            assert schema["type"] == "object"
            assert "pattern" not in json.dumps(schema)
    assert len(json.dumps(tools)) < MAX_CHARACTERS


def test_the_arguments_are_those_of_the_api(agent):
    """The declarations of the service say what they mean and which values they have."""
    properties = agent.tools()["submit_task"]["inputSchema"]["properties"]
    assert properties["priority"]["maximum"] == 100
    assert properties["queue"]["description"].startswith("The queue of the task.")
    filters = agent.tools()["list_tasks"]["inputSchema"]["properties"]
    assert {"status", "queue", "host", "error_type", "tags", "created_before"} <= filters.keys()


def test_submit_wait_and_read(agent, target, queue):
    """A whole request with options; its result is part of the task."""
    submitted = agent.result(
        "submit_task", payload={"url": f"{target.url}/json"}, queue=queue, tags={"customer": 42}
    )
    task_id = submitted["task"]["id"]
    done = agent.result("wait_for_task", task_id=task_id, timeout_seconds=90)
    assert (done["finished"], done["task"]["status"]) == (True, "COMPLETED")
    assert done["task"]["result"]["result"] == {"b": 1.5, "a": ["1e400", "\0"]}
    assert done["task"]["tags"] == {"customer": 42}
    assert "notes" not in done
    assert agent.result("get_task", task_id=task_id) == done
    read = agent.result("read_result", task_id=task_id)
    assert read["text"] == '{"b": 1.50, "a": [1e400, "\\u0000"]}'
    assert read["encoding"] == "json"
    [attempt] = agent.result("list_attempts", task_id=task_id)["attempts"]
    assert (attempt["number"], attempt["status_code"]) == (1, 200)


def test_submitting_once(agent, target, queue):
    """Calls with the same idempotency key submit one task."""
    calls = [
        agent.result(
            "submit_task", payload=f"{target.url}/text", queue=queue, idempotency_key=queue
        )
        for _ in range(2)
    ]
    assert len({call["task"]["id"] for call in calls}) == 1


def test_a_long_result_is_cut(agent, target):
    """The task says where the rest is; the parts are the whole."""
    payload = f"{target.url}/big"
    done = agent.result("submit_task", payload=payload, wait_seconds=60)
    [note] = done["notes"]
    assert "12,000 of 1,048,574 characters" in note and "read_result" in note
    assert len(json.dumps(done)) < MAX_CHARACTERS
    parts, offset = [], 0
    while offset is not None and len(parts) < 3:
        part = agent.result(
            "read_result", task_id=done["task"]["id"], offset=offset, max_characters=30_000
        )
        parts.append(part["text"])
        offset = part.get("next_offset")
    assert "".join(parts) == BIG.decode()[:90_000]
    assert part["total_characters"] == len(BIG)
    last = agent.result("read_result", task_id=done["task"]["id"], offset=len(BIG) - 5)
    assert last["text"] == 'xxxx"' and "next_offset" not in last


@pytest.mark.parametrize("path", ["deep", "surrogate", "nul", "binary", "204"])
def test_any_body_can_be_shown(agent, target, path):
    """Whatever a target returns, the client of the SDK can read the task."""
    done = agent.result("submit_task", payload=f"{target.url}/{path}", wait_seconds=60)
    assert done["task"]["status"] == "COMPLETED"


def test_waiting_ends(agent, queue):
    """A task that does not finish in time is returned as it is."""
    submitted = agent.result(
        "submit_task", payload="http://127.0.0.1/", queue=queue, delay_seconds=3600
    )
    waited = agent.result("wait_for_task", task_id=submitted["task"]["id"], timeout_seconds=0.1)
    assert (waited["finished"], waited["task"]["status"]) == (False, "PENDING")
    canceled = agent.result("cancel_task", task_id=submitted["task"]["id"])
    assert canceled["task"]["status"] == "CANCELED"
    assert "CANCELED" in agent.error("cancel_task", task_id=submitted["task"]["id"])


def test_failures_are_grouped_and_retried(agent, target, queue):
    """By their cause, the largest first; the failure selects its tasks."""
    for path in ("404", "404", "404"):
        payload = {"url": f"{target.url}/{path}?{queue}"}
        agent.result("submit_task", payload=payload, queue=queue, max_attempts=1, wait_seconds=60)
    agent.result("submit_task", payload="no url", queue=queue, wait_seconds=60)
    found = agent.result("list_failures", queue=queue)
    host = target.url.removeprefix("http://")
    assert [(one["error_type"], one["host"], one["failed"]) for one in found["failures"]] == [
        ("http_status", host, 3),
        ("invalid_url", "", 1),
    ]
    assert (found["failed"], found["complete"]) == (4, True)
    first = found["failures"][0]
    assert (first["status_code"], "404" in first["message"]) == (404, True)
    assert len(first["example_ids"]) == 3
    [other] = agent.result("list_failures", queue=queue, error_type="invalid_url")["failures"]
    assert other["failed"] == 1

    filters = {"failure": first["id"]}
    listed = agent.result("list_tasks", **filters, status=["FAILED"], limit=2)
    assert [task["url"] for task in listed["tasks"]] == [f"{target.url}/404?{queue}"] * 2
    older = agent.result("list_tasks", **filters, offset=listed["next_offset"], limit=2)
    assert (len(older["tasks"]), "next_offset" in older) == (1, False)
    assert agent.result("retry_tasks", **filters, dry_run=True)["count"] == 3
    assert agent.result("retry_tasks", **filters)["count"] == 3
    retried = agent.result("wait_for_task", task_id=listed["tasks"][0]["id"], timeout_seconds=90)
    [first, second] = agent.result("list_attempts", task_id=retried["task"]["id"])["attempts"]
    assert (first["response"]["body"], second["status"]) == ("no such thing", "FAILED")
    again = agent.result("retry_task", task_id=listed["tasks"][0]["id"])
    assert again["task"]["status"] == "PENDING"


def test_queues_and_statistics(agent, queue):
    """A paused queue starts no task; statistics and the list of queues show that."""
    assert agent.result("pause_queue", name=queue) == {"name": queue, "paused": True}
    held = agent.result("submit_task", payload="no url", queue=queue)
    [shown] = agent.result("list_queues", queue=queue)["queues"]
    assert (shown["paused"], shown["counts"]["PENDING"], shown["limits"]) == (True, 1, "")
    [counted] = agent.result("get_stats", queue=queue)["queues"]
    assert counted["counts"]["PENDING"] == 1
    assert agent.result("get_stats")["total"]["counts"]["PENDING"] >= 1
    assert queue in {one["name"] for one in agent.result("list_queues")["queues"]}
    assert agent.result("resume_queue", name=queue) == {"name": queue, "paused": False}
    done = agent.result("wait_for_task", task_id=held["task"]["id"], timeout_seconds=90)
    assert done["task"]["error_type"] == "invalid_url"


def test_schedules(agent, target, queue):
    """Put, list, get and run."""
    task = {"payload": f"{target.url}/text", "queue": queue}
    put = agent.result("put_schedule", name=queue, task=task, cron="0 3 * * *", paused=False)
    assert put["schedule"]["task"] == task
    [listed] = [one for one in agent.result("list_schedules")["schedules"] if one["name"] == queue]
    assert listed["cron"] == "0 3 * * *"
    shown = agent.result("get_schedule", name=queue)
    assert len(shown["next_runs"]) == 5
    assert shown["schedule"]["next_run_at"] == shown["next_runs"][0]
    run = agent.result("run_schedule", name=queue)
    done = agent.result("wait_for_task", task_id=run["task"]["id"], timeout_seconds=90)
    assert done["task"]["result"]["result"] == "héllo"
    assert done["task"]["schedule"] == queue


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("get_task", {"task_id": "1"}, "task_id must be the id of a task, a UUID"),
        ("get_task", {}, "task_id is required"),
        ("get_task", {"task_id": str(uuid.UUID(int=7))}, "No task has this id."),
        ("submit_task", {"payload": "x", "priority": 1000}, "priority must be a whole number"),
        ("submit_task", {"url": "http://a/"}, "there is no field 'url'; url goes into payload"),
        ("submit_task", {"payload": "x", "priorty": 1}, "did you mean priority?"),
        ("submit_task", {}, "payload"),
        ("list_tasks", {"state": "FAILED"}, "state must be one of due, scheduled"),
        ("list_tasks", {"statuss": "FAILED"}, "did you mean status?"),
        ("list_tasks", {"limit": 101}, "limit must be a whole number from 1 to 100"),
        ("retry_tasks", {}, "this would be for all tasks"),
        ("get_schedule", {"name": "no-such"}, "No schedule has this name."),
        ("put_schedule", {"name": "x", "task": {"payload": "x"}, "cron": "x"}, "cron"),
        ("put_schedule", {"name": "x", "task": {"urgent": 1}, "cron": "0 3 * * *"}, "payload"),
        ("no_such_tool", {}, "there is no tool"),
    ],
)
def test_errors_say_what_is_wrong(agent, tool, arguments, said):
    """They are errors of the tool, in the words of the service."""
    assert said in agent.error(tool, **arguments)


def test_all_validation_errors_are_listed(agent):
    """Each with its place, so that one more call is enough."""
    lines = agent.error("submit_task", payload="x", priority=1000, max_attempts=0).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["#/priority", "#/max_attempts"]
