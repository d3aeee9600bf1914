"""One completion of each group, whichever nodes finish its members, and whichever die."""

from __future__ import annotations

import contextlib

from tests.service.processes import running, wait_until

MEMBERS, GROUPS = 400, 3
SHORT = {"TASKFLOW_LEASE_SECONDS": "2", "TASKFLOW_HEARTBEAT_SECONDS": "0.4"}


def test_three_nodes_of_which_one_is_killed(tmp_path, tasks):
    """Each closed group has one completion task, made when the last of its members had finished."""
    settings = {"DATABASE_URL": tasks.url, **SHORT}
    member = {"payload": "x:"}  # it fails at once, without a request
    completion = {"payload": "x:", "tags": {"completion": True}}
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running("serve", tmp_path, **settings)) for _ in range(3)]
        document = {"tasks": [member] * MEMBERS, "on_complete": completion}
        answers = [nodes[index % 3].ask("POST", "/groups", document) for index in range(GROUPS)]
        assert [answer.status for answer in answers] == [201] * GROUPS
        ids = [answer.body["id"] for answer in answers]
        wait_until(lambda: _finished(nodes[0], ids) > MEMBERS // 4)
        nodes[2].kill()
        wait_until(lambda: _finished(nodes[0], ids) == MEMBERS * GROUPS)
        groups = [nodes[1].ask("GET", f"/groups/{group_id}").body for group_id in ids]
    for group in groups:
        assert (group["status"], group["completions"]) == ("COMPLETED", 1)
        assert group["counts"]["FAILED"] == MEMBERS
    rows = tasks.execute("""
        SELECT t.options ->> 'completion_of', t.id::text, t.created_at >= max(m.finished_at)
        FROM taskflow_tasks AS t
        JOIN taskflow_tasks AS m ON m.group_id::text = t.options ->> 'completion_of'
        GROUP BY t.id
    """).fetchall()
    assert sorted(rows) == sorted(
        (group["id"], group["completion_task_id"], True) for group in groups
    )


def _finished(node, ids: list[str]) -> int:
    counts = [node.ask("GET", f"/groups/{group_id}").body["counts"] for group_id in ids]
    return sum(sum(one.values()) - one["PENDING"] - one["RUNNING"] for one in counts)
