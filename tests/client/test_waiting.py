"""Waiting on the virtual clock: the service's own bound on a wait is passed again and again."""

from __future__ import annotations

import contextlib

import httpx
import pytest
import trio

from taskflow import Client, NotFinished, TaskStatus
from taskflow.service import open_service
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings


class Recorded(httpx.ASGITransport):
    """A way to an app in this process, and what was asked on it."""

    def __init__(self, app) -> None:
        super().__init__(app=app)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request):
        self.asked.append(request)
        return await super().handle_async_request(request)


@contextlib.asynccontextmanager
async def connected():
    """A client of a service in this process, and what it asks."""
    settings = Settings(database_url="memory://", allowed_hosts=("*",))
    async with open_service(settings, Shutdown()) as app, app.test_app():
        transport = Recorded(app)
        async with Client("http://localhost", transport=transport) as client:
            yield client, transport.asked


async def test_longer_than_an_answer_may_wait(autojump_clock):
    async with connected() as (client, requested):
        task = await client.submit("no url", delay_seconds=150)
        began = trio.current_time()
        ended = await client.wait(task.id)
        assert ended.status is TaskStatus.FAILED
        assert 149 < trio.current_time() - began < 152
        assert [request.url.params["wait"] for request in requested[1:]] == ["60", "60", "60"]


async def test_up_to_a_time(autojump_clock):
    async with connected() as (client, _):
        task = await client.submit("no url", delay_seconds=1000)
        began = trio.current_time()
        with pytest.raises(NotFinished) as raised:
            await client.wait(task.id, 130.5)
        assert raised.value.task.status is TaskStatus.PENDING
        assert 130 < trio.current_time() - began < 132
