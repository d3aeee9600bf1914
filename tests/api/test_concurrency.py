"""Many clients at once, and clients that do not wait for their answer."""

from __future__ import annotations

import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer

CONNECTIONS = 50
POSTS_EACH = 4
PLACES = 20
LINGER_NOT = struct.pack("ii", 1, 0)


def test_two_hundred_posts_at_once(server):
    """Each gets a task of its own with its own payload, and all of them are found."""

    def post(number: int) -> dict[int, str]:
        with server.connect() as connection:
            payloads = [number * POSTS_EACH + n for n in range(POSTS_EACH)]
            answers = [
                connection.ask("POST", "/tasks", b'{"payload": [%d, "many"]}' % payload)
                for payload in payloads
            ]
        assert {answer.status for answer in answers} == {201}
        assert [answer.json["payload"][0] for answer in answers] == payloads
        return {answer.json["payload"][0]: answer.json["id"] for answer in answers}

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        parts = list(threads.map(post, range(CONNECTIONS)))
    ids = {payload: task_id for part in parts for payload, task_id in part.items()}
    assert len(set(ids.values())) == len(ids) == CONNECTIONS * POSTS_EACH
    listed = {task["id"]: task["payload"] for task in server.ask("GET", "/tasks?limit=1000").json}
    for payload, task_id in ids.items():
        assert listed[task_id] == [payload, "many"]


def test_a_client_that_leaves_after_sending(server, target):
    """A POST whose client is gone left no task, or one that runs to its end, once."""
    kind = server.url.rsplit(":", 1)[1]
    paths = [f"/once/{kind}/{n}" for n in range(40)]
    for n, path in enumerate(paths):
        body = json.dumps({"payload": target.url + path}).encode()
        with server.connect() as connection:
            connection.send(
                b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            if n % 2:  # a reset rather than an orderly end
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    server.run(json.dumps(target.url + "/text").encode())
    seen = {path for path in paths if target.hits[path]}
    tasks = {
        task["payload"].removeprefix(target.url): task["id"]
        for task in server.ask("GET", "/tasks?limit=1000").json
        if str(task["payload"]).startswith(f"{target.url}/once/{kind}/")
    }
    assert seen <= tasks.keys()
    for path, task_id in tasks.items():
        assert server.wait(task_id)["status"] == "COMPLETED"
        assert target.hits[path] == 1


def test_a_client_that_leaves_frees_its_slot():
    """At once, also if the server is not done yet with the request that it just answered."""
    with LiveServer(database_url=MEMORY_URL, max_connections=PLACES) as server:
        server.add(b"1")
        for _ in range(20 * PLACES):
            assert server.ask("GET", "/tasks?limit=1").status == 200
