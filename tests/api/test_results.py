"""The body that a target sent is returned unchanged, and safe to open in a browser."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import uuid

import msgspec
import pytest

from taskflow.api.app import create_app
from taskflow.model.outcome import ErrorType, Response
from taskflow.model.task import NewTask, TaskStatus
from taskflow.service import MEMORY_URL, open_store
from taskflow.store.base.claims import Settlement
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.api.target import ANSWERS, BIG

LARGE = b"x" * (32 * 2**20)  # more than the buffers on the way take
RESPONSE_SECONDS = 1.0


def result_of(server, target, path, method="GET"):
    task = server.run(json.dumps(target.url + path).encode())
    return task["id"], server.ask(method, f"/tasks/{task['id']}/result")


def sent(path):
    return ANSWERS[path][2]


class TestBodies:
    @pytest.mark.parametrize(
        ("path", "body", "media_type", "extension"),
        [
            ("/json", sent("/json"), "application/json", ".json"),
            # White space around JSON is no part of it, and is not kept.
            ("/spaced", sent("/spaced").strip(), "application/json", ".json"),
            ("/latin", "<b>h\xe9llo</b>".encode(), "text/html; x=1; charset=utf-8", ".html"),
            ("/text", sent("/text"), "text/plain; charset=utf-8", ".txt"),
            ("/binary", sent("/binary"), "application/octet-stream", ".bin"),
            ("/nul", sent("/nul"), "text/plain", ".txt"),
            ("/untyped", sent("/untyped"), "application/octet-stream", ".bin"),
            ("/empty", b"", "text/plain; charset=utf-8", ".txt"),
            ("/204", b"", "text/plain; charset=utf-8", ".txt"),
            ("/svg", sent("/svg"), "image/svg+xml; charset=utf-8", ".svg"),
            ("/big", BIG, "application/json", ".json"),
            # Still compressed: no browser can show it.
            ("/br", sent("/br"), "application/octet-stream", ".bin"),
            ("/utf-8", sent("/utf-8"), "text/html; charset=utf-8", ".html"),
        ],
    )
    def test_bodies_are_unchanged(self, server, target, path, body, media_type, extension):
        """To the byte, but for text in another charset, which comes in UTF-8 and says so."""
        task_id, answer = result_of(server, target, path)
        assert (answer.status, answer.body) == (200, body)
        assert answer.header("content-type") == media_type
        assert answer.header("content-length") == str(len(body))
        assert (
            answer.header("content-disposition") == f'attachment; filename="{task_id}{extension}"'
        )

    @pytest.mark.parametrize(
        "path", ["/quoted", "/open", "/cut", "/overlong", "/foreign", "/parts"]
    )
    def test_invalid_media_types_are_not_passed_on(self, server, target, path):
        """What is no media type by the letter, or is read part by part, becomes plain text."""
        task_id, answer = result_of(server, target, path)
        assert (answer.status, answer.body) == (200, sent(path))
        assert answer.header("content-type") == "text/plain; charset=utf-8"
        assert answer.header("content-disposition") == f'attachment; filename="{task_id}.txt"'

    @pytest.mark.parametrize("path", ["/latin", "/svg", "/binary", "/parts"])
    def test_nothing_in_it_runs(self, server, target, path):
        """Each response is an attachment; if it is opened anyway, its policy lets nothing run."""
        _, answer = result_of(server, target, path)
        assert answer.header("content-disposition").startswith("attachment;")
        assert answer.header("x-content-type-options") == "nosniff"
        policy = answer.header("content-security-policy").split("; ")
        assert {"sandbox", "default-src 'none'", "frame-ancestors 'none'"} == set(policy)
        assert answer.header("cache-control") == "no-store"

    def test_head(self, server, target):
        """HEAD tells the same without the body, and the connection goes on."""
        task_id, whole = result_of(server, target, "/big")
        with server.connect() as connection:
            answer = connection.ask("HEAD", f"/tasks/{task_id}/result")
            assert (answer.status, answer.body) == (200, b"")
            assert answer.header("content-length") == str(len(whole.body))
            assert answer.header("content-type") == whole.header("content-type")
            assert connection.ask("GET", "/livez").status == 200


@contextlib.asynccontextmanager
async def open_app_without_workers(settings, shutdown):
    """An app whose store has a task in each status, in the order of the statuses."""
    async with open_store(settings) as store:
        tasks = await store.add([NewTask(msgspec.Raw(b"1")) for _ in TaskStatus])
        node = await store.register("here", lease_seconds=600)
        large = Response(
            message="fetched",
            result=LARGE.decode(),
            status="200 OK",
            status_code=200,
            headers={},
            content_type=None,
            encoding="text",
            url="http://127.0.0.1/",
            elapsed_seconds=1.0,
            size=len(LARGE),
        )
        [well, badly, *_] = await store.claim(node, limit=len(tasks) - 1)
        await store.settle(
            [
                Settlement(
                    well.task_id, well.token, TaskStatus.COMPLETED, msgspec.json.encode(large)
                ),
                Settlement(
                    badly.task_id,
                    badly.token,
                    TaskStatus.FAILED,
                    error="no luck",
                    error_type=ErrorType.DNS,
                ),
            ]
        )
        await store.cancel(tasks[2].id)
        yield create_app(store, settings, lambda: False)


def hurry(app):
    app.config["RESPONSE_TIMEOUT"] = RESPONSE_SECONDS


@pytest.fixture
def still_server(empty_url):
    with LiveServer(
        database_url=empty_url, open_app=open_app_without_workers, configure=hurry
    ) as server:
        yield server


class TestWithout:
    def test_a_task_without_a_result(self, still_server):
        """404 says how the task stands, and what to do."""
        tasks = still_server.ask("GET", "/tasks?limit=4").json
        words = {
            "PENDING": "try again when it is finished",
            "RUNNING": "try again when it is finished",
            "FAILED": "GET /tasks/{id} has the error",
            "CANCELED": "it was canceled",
        }
        assert {task["status"] for task in tasks} == set(words)
        for task in tasks:
            answer = still_server.ask("GET", f"/tasks/{task['id']}/result")
            check_problem(answer, 404, task["status"], words[task["status"]])

    def test_a_task_that_was_run_and_failed(self, server, target):
        """So does the one whose target answered, but with an error: its body is not kept."""
        _, answer = result_of(server, target, "/404")
        check_problem(answer, 404, "FAILED", "GET /tasks/{id}")

    def test_no_task(self, server):
        """Unknown and invalid ids get a 404."""
        for unknown in (uuid.uuid4(), "nonsense"):
            check_problem(server.ask("GET", f"/tasks/{unknown}/result"), 404, "task has this id")


class TestSlowReaders:
    def test_a_long_response_is_complete(self):
        """Who reads slowly gets all of it, also if that takes longer than Quart would wait."""
        with (
            LiveServer(
                database_url=MEMORY_URL, open_app=open_app_without_workers, configure=hurry
            ) as server,
            server.connect() as connection,
        ):
            [task] = server.ask("GET", "/tasks?status=COMPLETED&limit=1&fields=id").json
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            target = f"/tasks/{task['id']}/result"
            connection.send(f"GET {target} HTTP/1.1\r\nHost: {connection.host}\r\n\r\n".encode())
            status, _ = connection.read_raw_head()
            assert status == 200
            time.sleep(2 * RESPONSE_SECONDS)  # this is the slow reader
            assert connection._read_exactly(len(LARGE)) == LARGE
