"""Templates of schedules and groups, as the clients return them."""

from __future__ import annotations

import pytest

from taskflow import BlockingClient, Submission, UnexpectedResponse
from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer

URL = "https://example.com/"


def test_templates_are_plain_values():
    """As they were submitted: dictionaries, and the same in bytes; a group without one has none."""
    with LiveServer(database_url=MEMORY_URL) as server, BlockingClient(server.url) as client:
        made = client.schedules.put("s", Submission(URL, queue="mail"), every_seconds=900)
        for schedule in (made, client.schedules.get("s"), *client.schedules.iter()):
            assert schedule.task == {"payload": URL, "queue": "mail"}
            assert schedule.task_bytes == b'{"payload":"https://example.com/","queue":"mail"}'
        group = client.groups.create(on_complete=Submission(URL, priority=3))
        for found in (group, client.groups.get(group.id), next(client.groups.iter())):
            assert (found.on_complete, found.has_completion_task) == (
                {"payload": URL, "priority": 3},
                True,
            )
        bare = client.groups.create(name="bare")
        assert (bare.on_complete, bare.on_complete_bytes) == (None, b"null")
        assert not bare.has_completion_task


def test_what_python_cannot_read():
    """It is one clear error, and the bytes are there nevertheless."""
    number = "1" * 5000
    with LiveServer(database_url=MEMORY_URL) as server, BlockingClient(server.url) as client:
        body = f'{{"every_seconds": 900, "task": {{"payload": {number}}}}}'.encode()
        assert server.ask("PUT", "/schedules/s", body).status == 201
        schedule = client.schedules.get("s")
        with pytest.raises(UnexpectedResponse, match="the task cannot be read"):
            _ = schedule.task
        assert number.encode() in schedule.task_bytes
