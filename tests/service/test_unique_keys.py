"""One task for each unique key, whichever nodes the clients submit to, and whichever die."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.service.processes import running

CLIENTS = 64
ROUNDS = 3
KINDS = ("return", "replace", "reject", "debounce")


def task_of(kind: str) -> dict[str, object]:
    """A task of the only key of its kind, which waits."""
    if kind == "debounce":
        keyed: dict[str, object] = {"debounce": {"key": kind, "delay_seconds": 3600}}
    else:
        keyed = {"unique": {"key": kind, "on_conflict": kind}, "delay_seconds": 3600}
    return {"payload": "http://127.0.0.1:9/", **keyed}


@pytest.mark.long
def test_64_clients_three_nodes_and_one_key(tmp_path, tasks):
    """Each kind of key has one task while a node is killed; all answers are about that one."""
    named: defaultdict[str, set[str]] = defaultdict(set)
    created: defaultdict[str, int] = defaultdict(int)
    is_killed, answers = threading.Event(), threading.Semaphore(0)
    settings = {"DATABASE_URL": tasks.url}
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running("serve", tmp_path, **settings)) for _ in range(3)]

        def submit(number: int) -> None:
            for place in range(ROUNDS * len(KINDS)):
                kind = KINDS[(number + place) % len(KINDS)]
                try:
                    answer = nodes[number % 3].ask("POST", "/tasks", task_of(kind))
                except (OSError, http.client.HTTPException):
                    is_killed.wait(60)
                    answer = nodes[number % 2].ask("POST", "/tasks", task_of(kind))
                answers.release()
                assert answer.status in (200, 201, 409), answer
                if answer.status == 409:
                    [error] = answer.body["errors"]
                    named[kind].add(error["detail"].split()[2])
                else:
                    named[kind].add(answer.body["id"])
                    created[kind] += answer.status == 201

        with ThreadPoolExecutor(CLIENTS) as pool:
            found = [pool.submit(submit, number) for number in range(CLIENTS)]
            for _ in range(CLIENTS):
                assert answers.acquire(timeout=60)
            nodes[2].kill()
            is_killed.set()
            for one in found:
                one.result()
    rows = tasks.execute(
        "SELECT coalesce(unique_key, debounce_key), id::text, debounced FROM taskflow_tasks"
    ).fetchall()
    assert sorted(key for key, *_ in rows) == sorted(KINDS)
    assert named == {key: {task_id} for key, task_id, _ in rows}
    assert max(created.values()) == 1
    [debounced] = [count for key, _, count in rows if key == "debounce"]
    sent = CLIENTS * ROUNDS
    assert sent - 1 <= debounced <= sent - 1 + CLIENTS  # repeated after a lost answer
