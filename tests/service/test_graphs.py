"""Each parent before its child, whichever nodes run them, and whichever die."""

from __future__ import annotations

import contextlib

import pytest

from tests.service.processes import running, wait_until

LAYERS, WIDTH = 8, 30
SHORT = {"TASKFLOW_LEASE_SECONDS": "2", "TASKFLOW_HEARTBEAT_SECONDS": "0.4"}
TOO_EARLY = """
    SELECT count(*) FROM taskflow_edges AS e
    JOIN taskflow_tasks AS parent ON parent.id = e.parent_id
    JOIN taskflow_tasks AS child ON child.id = e.child_id
    WHERE child.started_at < parent.finished_at OR child.started_at IS NULL
"""
FINISHED = "SELECT count(*) FROM taskflow_tasks WHERE finished_at IS NOT NULL"


@pytest.mark.long
def test_two_nodes_of_which_one_is_killed(tmp_path, tasks):
    """All tasks of graphs run, each after its parents; none waits for ever, none is too early."""
    settings = {"DATABASE_URL": tasks.url, **SHORT}
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running("serve", tmp_path, **settings)) for _ in range(2)]
        answers = [node.ask("POST", "/tasks", layered()) for node in nodes]
        assert [answer.status for answer in answers] == [201, 201]
        last = [{**member(), "after": [answer.body[-1]["id"] for answer in answers]}]
        answers.append(nodes[1].ask("POST", "/tasks", last))
        total = 2 * LAYERS * WIDTH + 1
        wait_until(lambda: tasks.execute(FINISHED).fetchone()[0] > total // 4)
        nodes[0].kill()
        wait_until(lambda: tasks.execute(FINISHED).fetchone()[0] == total)
        nodes[1].end()
    assert tasks.execute(TOO_EARLY).fetchone() == (0,)
    edges = 2 * (LAYERS - 1) * WIDTH * 2 + 2
    counted = "SELECT count(*), count(*) FILTER (WHERE is_done) FROM taskflow_edges"
    assert tasks.execute(counted).fetchone() == (edges, edges)


def member() -> dict[str, object]:
    """A task that fails at once, without a request; a child of one runs nevertheless."""
    return {"payload": "x:", "on_parent_failure": "run"}


def layered() -> list[dict[str, object]]:
    """Layers of tasks, each of which has two parents in the layer before."""
    graph: list[dict[str, object]] = [{"payload": "x:", "name": f"0-{n}"} for n in range(WIDTH)]
    for layer in range(1, LAYERS):
        for place in range(WIDTH):
            parents = [f"{layer - 1}-{place}", f"{layer - 1}-{(place + 1) % WIDTH}"]
            graph.append({**member(), "name": f"{layer}-{place}", "after": parents})
    return graph
