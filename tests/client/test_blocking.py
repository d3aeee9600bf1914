"""The blocking client is the one on Trio, word by word."""

from __future__ import annotations

import inspect
import threading
import time

import pytest

from taskflow import BlockingClient, Client, NotFinished, Submission, TaskStatus, Unprocessable
from taskflow.client.asynchronous import streams
from taskflow.client.blocking import streams as blocking_streams
from tests.client.proxy import Proxy
from tests.service.targets import Target as HeldTarget
from tools.blocking import MODULES, WRITTEN, written


@pytest.mark.parametrize("name", MODULES)
def test_it_is_up_to_date(name):
    """If not: ``python -m tools.blocking``."""
    assert (WRITTEN / name).read_text("utf-8") == written(name)


PAIRS = [
    (Client, BlockingClient),
    (streams.TaskStream, blocking_streams.TaskStream),
    (streams.SubmittedStream, blocking_streams.SubmittedStream),
    (streams.EventStream, blocking_streams.EventStream),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_both_have_the_same_methods(one, other):
    """With the same parameters; none of the other waits on an event loop."""
    names = {name.replace("aclose", "close") for name in public(one)}
    assert names == set(public(other))
    for name, method in public(other).items():
        twin = public(one).get(name) or public(one)["aclose"]
        assert not inspect.iscoroutinefunction(method)
        if callable(method):
            assert parameters(method) == parameters(twin), name


def public(kind) -> dict[str, object]:
    members = inspect.getmembers(kind)
    return {name: member for name, member in members if not name.startswith("_")}


def parameters(method) -> list[tuple[str, object, object]]:
    return [
        (one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()
    ]


def test_a_task_and_its_result(memory_server, target):
    with BlockingClient(memory_server.url) as client:
        task = client.submit(target.url + "/text", tags={"a": 1})
        assert client.wait(task.id, 90).raise_for_failure().text == "h\xe9llo"
        assert [attempt.number for attempt in client.attempts(task.id)] == [1]
        later = client.submit("x", delay_seconds=3600)
        began = time.monotonic()
        with pytest.raises(NotFinished):
            client.wait(later.id, 0.2)
        assert time.monotonic() - began > 0.1
        assert client.cancel(later.id).status is TaskStatus.CANCELED
        with pytest.raises(Unprocessable):
            client.submit("x", priority=1000)
        many = client.submit_many((Submission("x", queue="b") for _ in range(7)), at_once=3)
        ids = {one.task.id for one in many}
        assert ids == {task.id for task in client.iter_tasks(queue="b", page=2)}


def test_events_over_a_cut_and_left_early(memory_server):
    with (
        HeldTarget() as held,
        Proxy(memory_server.url) as proxy,
        BlockingClient(proxy.url) as client,
    ):
        task = client.submit(held.url + "/held")
        with client.iter_events(task.id) as events:
            reported = [next(events).status]
            held.wait_for("/held")
            proxy.cut()
            held.release()
            reported += [event.status for event in events]
        assert reported[-1] is TaskStatus.COMPLETED
        assert len(reported) == len(set(reported))
        with client.iter_events() as events:
            client.submit("x")
            next(events)
        assert client.get(task.id).status is TaskStatus.COMPLETED


def test_by_several_threads_at_once(memory_server):
    with BlockingClient(memory_server.url) as client:
        ended = []

        def work() -> None:
            ended.extend(client.wait(client.submit("x").id, 90).status for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ended == [TaskStatus.FAILED] * 40
