"""Retries and attempts over HTTP."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import datetime

import pytest

from tests.api.client import check_problem
from tests.service.processes import wait_until

ATTEMPT_FIELDS = [
    "number",
    "status",
    "node",
    "started_at",
    "finished_at",
    "elapsed_seconds",
    "status_code",
    "error",
    "error_type",
]


def post(server, **fields):
    return server.post(json.dumps(fields).encode())


def attempts(server, task_id):
    answer = server.ask("GET", f"/tasks/{task_id}/attempts")
    assert answer.status == 200
    return answer.json


class TestFields:
    @pytest.mark.parametrize("number", [1, 2, 3.0, 100])
    def test_max_attempts_is_accepted(self, server, number):
        """A task can set its number of attempts; 3.0 is a whole number, as in JSON Schema."""
        answer = post(server, payload=1, max_attempts=number)
        assert (answer.status, answer.json["max_attempts"]) == (201, number)

    @pytest.mark.parametrize("number", [-100, -2.0, 0, 7, 100])
    def test_priority_is_accepted(self, server, number):
        """A task can set its priority."""
        answer = post(server, payload=1, priority=number)
        assert (answer.status, answer.json["priority"]) == (201, number)

    @pytest.mark.parametrize("value", [0, -1, 101, 1.5, "2", None, True, [], {}, 10**30, 1e30])
    def test_invalid_max_attempts_are_rejected(self, server, value):
        """The error names the field and the allowed values."""
        answer = post(server, payload=1, max_attempts=value)
        problem = check_problem(answer, 422)
        assert problem["detail"] == "max_attempts must be a whole number from 1 to 100"

    @pytest.mark.parametrize("value", [-101, 101, 0.5, "high", None, False])
    def test_invalid_priorities_are_rejected(self, server, value):
        """The error names the field and the allowed values."""
        answer = post(server, payload=1, priority=value)
        problem = check_problem(answer, 422)
        assert problem["detail"] == "priority must be a whole number from -100 to 100"


class TestAttempts:
    def test_one_that_succeeds(self, server, target):
        """A task that went well at once has one attempt, with the answer's status."""
        task = server.run(f'"{target.url}/json"'.encode())
        [attempt] = attempts(server, task["id"])
        assert list(attempt) == ATTEMPT_FIELDS
        assert (attempt["number"], attempt["status"]) == (1, "COMPLETED")
        assert (attempt["status_code"], attempt["error"], attempt["error_type"]) == (
            200,
            "",
            None,
        )
        assert attempt["elapsed_seconds"] > 0
        assert (attempt["started_at"], attempt["finished_at"]) == (
            task["started_at"],
            task["finished_at"],
        )
        assert attempt["node"]

    def test_one_that_is_tried_again(self, server, target):
        """A 500 is tried again after a backoff; until then the task shows why it waits."""
        path = f"{target.url}/500?{uuid.uuid4()}"
        later = post(server, payload=path, max_attempts=2, backoff=[3600]).json["id"]
        waiting = wait_until(lambda: (task := server.show(later))["error"] and task)
        assert (waiting["status"], waiting["attempt"]) == ("PENDING", 1)
        assert waiting["error"] == "http error: status: 500 Internal Server Error"
        assert waiting["run_at"] > waiting["started_at"]
        task_id = post(server, payload=path, max_attempts=2).json["id"]
        done = server.wait(task_id)
        assert (done["status"], done["attempt"], done["max_attempts"]) == ("FAILED", 2, 2)
        first, second = attempts(server, task_id)
        assert (first["number"], first["status"], first["status_code"]) == (1, "FAILED", 500)
        assert (second["number"], second["status"], second["status_code"]) == (2, "FAILED", 500)
        pause = datetime.fromisoformat(second["started_at"]) - datetime.fromisoformat(
            first["finished_at"]
        )
        assert pause.total_seconds() >= 0.49

    def test_failures_that_are_not_retried(self, server, target):
        """A 404 and a payload that is no URL end at once, whatever attempts are left."""
        for payload in (f"{target.url}/404", 12345):
            task_id = post(server, payload=payload, max_attempts=9).json["id"]
            assert server.wait(task_id)["attempt"] == 1
            [attempt] = attempts(server, task_id)
            assert attempt["status"] == "FAILED"

    def test_the_response_is_kept(self, server, target):
        """Each failed attempt shows what was answered; the task, as before, has no result."""
        path = f"{target.url}/404"
        task_id = post(server, payload=path, max_attempts=2, retry_on=[404], backoff=[0.01]).json[
            "id"
        ]
        done = server.wait(task_id)
        assert (done["status"], done["result"], done["error_type"]) == (
            "FAILED",
            None,
            "http_status",
        )
        made = attempts(server, task_id)
        assert [list(one) for one in made] == [[*ATTEMPT_FIELDS, "response"]] * 2
        for attempt in made:
            response = attempt["response"]
            assert (response["status"], response["status_code"]) == ("404 Not Found", 404)
            assert (response["body"], response["encoding"]) == ("no such thing", "text")
            assert (response["size"], response["truncated"]) == (13, False)
            assert (response["url"], response["content_type"]) == (path, "text/plain")
            assert response["headers"]["content-type"] == "text/plain"

    def test_a_binary_response(self, server, target):
        """What is no text is kept as results are, in base64."""
        task_id = post(server, payload=f"{target.url}/500").json["id"]
        server.wait(task_id)
        [attempt] = attempts(server, task_id)
        assert attempt["response"]["encoding"] == "base64"
        assert base64.b64decode(attempt["response"]["body"]) == b"a\x00fault"

    def test_no_response(self, server):
        """An attempt without a response has none."""
        task_id = post(server, payload="http://127.0.0.1:1/").json["id"]
        server.wait(task_id)
        [attempt] = attempts(server, task_id)
        assert list(attempt) == ATTEMPT_FIELDS

    def test_a_task_without_attempts(self, server):
        """A pending task has no attempts; an unknown one is a 404."""
        for unknown in (uuid.uuid4(), "nonsense"):
            answer = server.ask("GET", f"/tasks/{unknown}/attempts")
            check_problem(answer, 404)
