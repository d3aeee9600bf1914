"""How many tasks may wait."""

from __future__ import annotations

import socket

import msgspec
import pytest
import trio

from taskflow.api.backlog import COUNT_SECONDS, RECOUNT_SECONDS, Backlog
from taskflow.model.errors import TooManyRequests
from taskflow.model.task import NewTask
from taskflow.store.memory.store import MemoryStore
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.service.processes import wait_until


class CountingStore(MemoryStore):
    """A store that counts how often its tasks were counted."""

    counts = 0

    async def count_pending(self, *, limit: int) -> int:
        self.counts += 1
        return await super().count_pending(limit=limit)


async def hand_in(store, backlog) -> bool:
    try:
        await backlog.admit()
    except TooManyRequests:
        return False
    await store.add([NewTask(msgspec.Raw(b"1"))])
    return True


async def start_all(store) -> None:
    node = await store.register("here", 3600.0)
    assert await store.claim(node, limit=1000)


async def test_the_limit_is_exact(autojump_clock):
    """Tasks that were submitted since the last count are included."""
    store = CountingStore()
    backlog = Backlog(store, 5)
    assert [await hand_in(store, backlog) for _ in range(7)] == [True] * 5 + [False] * 2
    assert store.counts == 1


async def test_concurrent_requests(autojump_clock):
    """Concurrent requests share a count, and no more tasks are accepted than the limit allows."""
    store = CountingStore()
    backlog = Backlog(store, 5)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(hand_in, store, backlog)
    assert await store.count_pending(limit=100) == 5
    assert store.counts == 2


async def test_room_is_found_soon(autojump_clock):
    """When tasks have been started there is room again, a moment later."""
    store = CountingStore()
    backlog = Backlog(store, 5)
    while await hand_in(store, backlog):
        pass
    await start_all(store)
    await trio.sleep(RECOUNT_SECONDS)
    assert await hand_in(store, backlog)


async def test_counts_are_few(autojump_clock):
    """One a second while there is room, ten at most while there is none."""
    store = CountingStore()
    roomy, full = Backlog(store, 100_000), Backlog(store, 1)
    for _ in range(1000):
        await hand_in(store, roomy)
        await trio.sleep(0.01)
    assert store.counts <= 10 / COUNT_SECONDS + 1
    store.counts = 0
    for _ in range(1000):
        assert not await hand_in(store, full)
        await trio.sleep(0.01)
    assert store.counts <= 10 / RECOUNT_SECONDS + 1


async def test_off_by_default():
    """Without a bound nothing is counted."""
    store = CountingStore()
    assert await hand_in(store, Backlog(store, None))
    assert store.counts == 0


@pytest.fixture
def silent_url():
    """A target that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_over_http(empty_url, silent_url):
    """429 on both stores while too many wait, and when to come again; the rest goes on."""
    held = b'{"payload": "%b"}' % silent_url.encode()
    with LiveServer(database_url=empty_url, max_pending=3, workers=1, queue_size=1) as server:
        first = server.post(held).json["id"]
        wait_until(lambda: server.show(first)["status"] == "RUNNING")
        assert server.post(held).status == server.post(held).status == 201

        def is_full() -> bool:
            server.post(held)
            return len(server.ask("GET", "/tasks?status=PENDING").json) == 3

        wait_until(is_full)  # a count of a moment ago still includes the first task
        refused = server.post(held)
        check_problem(refused, 429, "TASKFLOW_MAX_PENDING=3")
        assert int(refused.header("retry-after")) > 0
        assert refused.header("ratelimit") == '"pending";r=0;t=2'
        assert refused.header("ratelimit-policy") == '"pending";q=3'
        assert server.ask("GET", "/tasks?limit=1").status == 200
        assert server.ask("GET", "/readyz").status == 200
        check_problem(server.post(b"{"), 400)
