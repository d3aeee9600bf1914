"""The order of polls, and how many places hosts have."""

from __future__ import annotations

import uuid

import msgspec

from taskflow.engine.poll_queue import HOSTS, MAX_WAIT_SECONDS, MIN_PLACES_OF_HOST, PollQueue
from taskflow.model.task import Claim
from taskflow.store.base.parking import DueAttempt

CLAIM = Claim(uuid.uuid4(), uuid.uuid4(), msgspec.Raw(b"1"), 1, 1)
DUE = DueAttempt(CLAIM, 1.0, is_overdue=False, poll_url="http://a/")


def started(queue: PollQueue, now: float = 0.0) -> list[str]:
    """Start all polls that can be started, and return their URLs."""
    urls = []
    while (one := queue.start(now)) is not None:
        urls.append(one.url)
    return urls


def test_the_host_with_the_fewest_running_polls_comes_first():
    """Then the poll that was taken first; each of a host in turn."""
    queue = PollQueue(4)
    for number, url in enumerate(["http://a/1", "http://a/2", "http://a/3", "http://b/1"]):
        assert queue.add(DUE, url, float(number))
    assert started(queue, 3.0) == ["http://a/1", "http://b/1", "http://a/2", "http://a/3"]
    assert queue.add(DUE, "http://a/4", 3.0)
    assert queue.add(DUE, "http://c/1", 3.0)
    assert started(queue, 3.0) == []
    queue.finish("a")
    assert started(queue, 3.0) == ["http://c/1"]
    queue.finish("b")
    assert started(queue, 3.0) == ["http://a/4"]


def test_a_host_has_places():
    """It has no more than that, also while another host has room; the port is a part of it."""
    queue = PollQueue(1)
    assert (queue.room, queue.is_crowded) == (MIN_PLACES_OF_HOST, False)
    for _ in range(MIN_PLACES_OF_HOST):
        assert queue.add(DUE, "http://a/", 0.0)
    assert (queue.room, queue.is_crowded) == (0, True)
    assert not queue.add(DUE, "http://a:80/x", 0.0)
    assert queue.add(DUE, "http://a:81/x", 0.0)
    assert started(queue) == ["http://a/"]
    assert queue.room == 0
    queue.finish("a")
    assert queue.room == 1


def test_all_hosts_together_have_places():
    """So a node takes a limited number of polls."""
    queue = PollQueue(1)
    added = [queue.add(DUE, f"http://host{number}/", 0.0) for number in range(1000)]
    assert sum(added) == HOSTS * MIN_PLACES_OF_HOST
    assert queue.room == 0


def test_a_poll_that_waits_too_long_is_dropped():
    """Its attempt is due again soon, so another node may poll it."""
    queue = PollQueue(1)
    for _ in range(3):
        assert queue.add(DUE, "http://a/1", 0.0)
    assert started(queue) == ["http://a/1"]
    queue.add(DUE, "http://a/2", MAX_WAIT_SECONDS)
    queue.finish("a")
    assert started(queue, MAX_WAIT_SECONDS + 0.1) == ["http://a/2"]
    queue.finish("a")
    assert queue.room == MIN_PLACES_OF_HOST


def test_an_invalid_url():
    """It has a place; the fetch says what is wrong with it."""
    queue = PollQueue(1)
    assert queue.add(DUE, "nowhere", 0.0)
    assert started(queue) == ["nowhere"]
