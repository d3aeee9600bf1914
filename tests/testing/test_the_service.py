"""``taskflow.testing``: the service in this process, with the time and the targets of a test."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import subprocess
import sys
import threading
import time
import uuid

import httpx
import pytest
import trio
from standardwebhooks import Webhook

from taskflow import InvalidArgument, NotFinished, NotFound, Submission, TaskStatus, Unprocessable
from taskflow.model.errors import TaskFlowError
from taskflow.testing import TestService
from taskflow.testing.stopped_clock import NEAR_SECONDS, StoppedClock
from taskflow.version import install_command

SHOP = "https://shop.example"


class Shop:
    """A target, and the requests that it got."""

    def __init__(self) -> None:
        self.answers: dict[str, httpx.Response | Exception | None] = {}
        self.requests: list[httpx.Request] = []
        self.threads: set[int] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        answer = self.answers.get(request.url.path, httpx.Response(200, json={"ok": True}))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def service(shop):
    with TestService(shop) as service:
        yield service


@pytest.fixture
def client(service):
    with service.client() as client:
        yield client


def test_a_task_runs_at_once(client, service, shop):
    """Its request is the one that is sent otherwise, and its result is what the handler returns."""
    shop.answers["/orders"] = httpx.Response(201, json={"id": 7}, headers={"x-one": "a"})
    payload = {"url": f"{SHOP}/orders?a=1", "headers": {"x-two": "b"}, "body": {"n": 1}}
    task = client.submit(payload, sign=True)
    service.run_due()
    result = client.get(task.id).raise_for_failure()
    assert (result.status, result.json(), result.headers["x-one"]) == (
        "201 Created",
        {"id": 7},
        "a",
    )
    [request] = shop.requests
    assert (request.method, str(request.url)) == ("POST", f"{SHOP}/orders?a=1")
    assert (request.headers["x-two"], json.loads(request.content)) == ("b", {"n": 1})
    assert request.headers["x-taskflow-id"] == str(task.id)
    assert Webhook(service.webhook_secret).verify(request.content, dict(request.headers))
    assert service.requests == shop.requests
    assert threading.get_ident() not in shop.threads


def test_time_stands_still(client, service):
    """A delay passes in ``advance`` alone, and by no moment more."""
    before = service.now
    task = client.submit(f"{SHOP}/a", delay_seconds=3600)
    with pytest.raises(NotFinished):
        client.wait(task.id, 0.3)
    service.run_due()
    service.advance(3599)
    assert client.get(task.id).status is TaskStatus.PENDING
    assert service.now - before == dt.timedelta(seconds=3599)
    service.advance(1)
    assert client.get(task.id).status is TaskStatus.COMPLETED
    moved = client.get(task.id).finished_at - task.created_at
    assert moved == dt.timedelta(seconds=3600)


def test_retries_pass_one_after_the_other(client, service, shop):
    """In one advance each attempt starts at its time: the next delay counts from there."""
    shop.answers["/down"] = httpx.Response(503)
    task = client.submit(f"{SHOP}/down", max_attempts=4, backoff=[60, 600, 6000])
    service.advance(659)
    assert client.get(task.id).attempt == 2
    service.advance(1)
    assert client.get(task.id).attempt == 3
    shop.answers["/down"] = httpx.Response(200, text="up")
    service.advance(6000)
    assert client.get(task.id).raise_for_failure().text == "up"
    started = [one.started_at - task.created_at for one in client.attempts(task.id)]
    assert [round(one.total_seconds()) for one in started] == [0, 60, 660, 6660]


def test_schedules(client, service, shop):
    client.schedules.put("hourly", f"{SHOP}/hourly", every_seconds=3600)
    service.advance(3 * 3600)
    assert [one.url.path for one in shop.requests] == ["/hourly"] * 3


def test_bodies_that_are_not_small(client, service, shop):
    """They are sent and received in several parts."""
    shop.answers["/big"] = httpx.Response(200, content=iter([b"y" * 100_000] * 3))
    task = client.submit({"url": f"{SHOP}/big", "body": "x" * 200_000})
    service.run_due()
    assert client.get(task.id).raise_for_failure().content == b"y" * 300_000
    assert shop.requests[0].content == b"x" * 200_000


@pytest.mark.parametrize(
    ("answer", "error_type"),
    [
        (httpx.ConnectError("refused"), "connect"),
        (httpx.RemoteProtocolError("nonsense"), "protocol"),
        (httpx.Response(404), "http_status"),
    ],
)
def test_failures(client, service, shop, answer, error_type):
    """As of a real target."""
    shop.answers["/x"] = answer
    task = client.submit(f"{SHOP}/x")
    service.run_due()
    assert client.get(task.id).error_type == error_type


def test_a_timeout_takes_its_time(client, service, shop):
    shop.answers["/slow"] = httpx.ReadTimeout("slow")
    task = client.submit({"url": f"{SHOP}/slow", "timeout_seconds": 20})
    service.advance(19)
    assert client.get(task.id).status is TaskStatus.RUNNING
    service.advance(1)
    assert client.get(task.id).error_type == "timeout"


def test_redirects_and_empty_responses(client, service, shop):
    """A response without a body is one, and a redirect is followed."""
    shop.answers["/a"] = httpx.Response(307, headers={"location": "https://other.example/b"})
    shop.answers["/b"] = httpx.Response(204)
    task = client.submit(f"{SHOP}/a")
    head = client.submit({"url": f"{SHOP}/c", "method": "HEAD"})
    service.run_due()
    assert client.get(task.id).raise_for_failure().url == "https://other.example/b"
    assert client.get(head.id).raise_for_failure().content == b""


def test_by_hand():
    """Without a handler each request waits for the response of the test."""
    with TestService() as service, service.client() as client:
        tasks = client.submit_all([f"{SHOP}/{n}" for n in range(30)])
        service.run_due()
        assert {client.get(task.id).status for task in tasks} == {TaskStatus.RUNNING}
        service.respond(tasks[7].id, httpx.Response(200, text="seven"))
        assert client.get(tasks[7].id).raise_for_failure().text == "seven"
        service.respond(str(tasks[8].id), httpx.ConnectError("refused"))
        assert client.get(tasks[8].id).error_type == "connect"
        with pytest.raises(LookupError, match="is the task due"):
            service.respond(tasks[7].id, httpx.Response(200))
        with pytest.raises(LookupError):
            service.respond(uuid.uuid4(), httpx.Response(200))
        with pytest.raises(TypeError, match=r"an httpx\.Response"):
            service.respond(tasks[9].id, "nothing")
        assert client.cancel(tasks[9].id).status is TaskStatus.CANCELED


def test_some_by_hand(client, service, shop):
    shop.answers["/later"] = None
    task = client.submit(f"{SHOP}/later")
    service.respond(task.id, httpx.Response(200))
    assert client.get(task.id).status is TaskStatus.COMPLETED


def test_a_callback_is_a_task(client, service, shop):
    """It is signed by the secret of the service, and retried."""
    shop.answers["/callback"] = httpx.Response(500)
    task = client.submit(f"{SHOP}/a", callback_url=f"{SHOP}/callback")
    service.run_due()
    shop.answers["/callback"] = httpx.Response(200)
    service.advance(3600)
    sent = [one for one in shop.requests if one.url.path == "/callback"]
    assert len(sent) == 2
    body = Webhook(service.webhook_secret).verify(sent[-1].content, dict(sent[-1].headers))
    assert (body["id"], body["status"]) == (str(task.id), "COMPLETED")


def test_many_tasks_finish_while_time_stands_still(client):
    """The pauses of the service itself, of a hundredth of a second, pass by themselves."""
    many = [one.task for one in client.submit_many(Submission(f"{SHOP}/a") for _ in range(100))]
    assert all(client.wait(task.id, 60).status is TaskStatus.COMPLETED for task in many)


def test_events_of_a_task(client, service):
    with client.iter_events(queue="q") as events:
        client.submit(f"{SHOP}/a", queue="q")
        reported = [next(events).status for _ in range(3)]
    assert reported == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.COMPLETED]


@pytest.mark.parametrize("run", [trio.run, lambda function: asyncio.run(function())])
def test_on_an_event_loop(run, service):
    async def work():
        async with service.async_client() as client:
            task = await client.submit(f"{SHOP}/a")
            return await client.wait(task.id, 60)

    assert run(work).status is TaskStatus.COMPLETED


def test_a_handler_may_use_the_client():
    """It runs in a thread of its own, so the service answers."""
    with TestService(lambda _: respond()) as service, service.client() as client:

        def respond():
            return httpx.Response(200, json=len(client.list_tasks()))

        task = client.submit(f"{SHOP}/a")
        assert client.wait(task.id, 60).raise_for_failure().json() == 1


def test_one_request_after_the_other():
    """A handler need not care for other threads, and ``run_due`` waits for the last request."""
    seen, in_hand = [], []

    def handler(request):
        in_hand.append(request)
        time.sleep(0.01)
        seen.append((request.url.path, len(in_hand)))
        in_hand.remove(request)
        return httpx.Response(200)

    with TestService(handler) as service, service.client() as client:
        client.submit_all([f"{SHOP}/{n}" for n in range(20)])
        service.run_due()
        assert sorted(seen) == sorted((f"/{n}", 1) for n in range(20))
        assert client.stats().total.counts[TaskStatus.COMPLETED] == 20


def test_what_a_handler_raises_is_raised_by_the_test():
    """An assertion in a handler is not lost, whether the test calls the service again or not."""

    def handler(request):
        raise AssertionError("not this one")

    with (
        pytest.raises(AssertionError, match="not this one"),
        TestService(handler) as service,
        service.client() as client,
    ):
        client.wait(client.submit(f"{SHOP}/a").id, 60)
    with TestService(handler) as service, service.client() as client:
        client.submit(f"{SHOP}/a")
        with pytest.raises(AssertionError, match="not this one"):
            service.run_due()
    with TestService(lambda _: "text") as service, service.client() as client:
        client.submit(f"{SHOP}/a")
        with pytest.raises(TypeError, match=r"an httpx\.Response"):
            service.run_due()


def test_a_handler_cannot_let_time_pass():
    """It would wait for itself; the error says so."""

    def handler(request):
        service.advance(1)

    with TestService(handler) as service, service.client() as client:
        client.submit(f"{SHOP}/a")
        with pytest.raises(RuntimeError, match="the handler cannot let time pass"):
            service.run_due()


def test_wrong_use(service):
    """Each is one clear error."""
    for seconds in (-1, math.inf, math.nan, dt.timedelta(seconds=-1)):
        with pytest.raises(ValueError, match="seconds must be a finite number from 0 on, not"):
            service.advance(seconds)
    service.advance(dt.timedelta(seconds=1))
    with pytest.raises(RuntimeError, match="with TestService"):
        TestService().run_due()

    async def handler(request):
        return httpx.Response(200)

    with pytest.raises(TypeError, match="without `async`"):
        TestService(handler)
    with pytest.raises(TypeError, match="nonsense"):
        TestService(nonsense=1)
    with pytest.raises(ValueError, match="in memory"):
        TestService(database_url="postgresql://x/")


def test_after_its_end():
    """Nothing answers any more, and the error says why; it cannot start again."""
    with TestService() as service:
        pass
    with pytest.raises(RuntimeError, match="the service has ended"):
        service.run_due()
    with pytest.raises(RuntimeError), service:
        pass


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a crash closes nothing
def test_a_crash_of_the_service_is_raised():
    """By the next call, which does not wait for ever."""

    def crash():
        raise ArithmeticError("of the service")

    with TestService() as service:
        service._token.run_sync_soon(crash)
        with pytest.raises(trio.TrioInternalError):
            service.run_due()


def test_settings_are_those_of_the_service(shop):
    """And the service validates, as it does otherwise."""
    key = "key45678901234567890"
    with (
        TestService(shop, max_attempts=3, api_keys=f"me:admin:{key}") as service,
        service.client(api_key=key) as client,
    ):
        assert client.submit(f"{SHOP}/a").max_attempts == 3
        with pytest.raises(Unprocessable):
            client.submit(f"{SHOP}/a", priority=10**6)
        with pytest.raises(InvalidArgument):
            client.submit(f"{SHOP}/a", prio=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 0}, "max_attempts=0 cannot be used: it must be a whole number from 1"),
        ({"workers": "many"}, "workers='many' cannot be used: it must be"),
        ({"retention_seconds": -1.0}, "retention_seconds=-1.0 cannot be used"),
        ({"allow_networks": ["nowhere"]}, "ALLOW_NETWORKS"),
        ({"mask_headers": 3}, "there is no setting mask_headers; masked_headers"),
    ],
)
def test_settings_are_validated(settings, message):
    """As the service validates them; nothing is started."""
    with pytest.raises((ValueError, TypeError), match=message):
        TestService(**settings)


def test_settings_as_text():
    """Like variables of the environment, and lists in place of tuples."""
    with (
        TestService(max_attempts="3", masked_headers=["X-Own"], sign_requests=True) as service,
        service.client() as client,
    ):
        assert client.submit("x").max_attempts == 3


def test_a_week_passes_in_few_steps(client, service, shop, monkeypatch):
    """The clock moves for tasks, and about once an hour for each job of the service itself."""
    moves = []
    move = service._clock.move
    monkeypatch.setattr(
        service._clock, "move", lambda seconds: (moves.append(seconds), move(seconds))
    )
    week = 7 * 24 * 3600
    client.submit_all([Submission(f"{SHOP}/{n}", delay_seconds=n * week / 50) for n in range(50)])
    service.advance(week)
    assert len(shop.requests) == 50
    assert len(moves) < 10 * 24 * 7


def test_retention_on_the_clock_of_a_test(shop):
    """Finished tasks are deleted within an hour after their retention."""
    with TestService(shop, retention_seconds=86_400) as service, service.client() as client:
        task = client.submit(f"{SHOP}/a")
        service.advance(86_000)
        assert client.get(task.id).status is TaskStatus.COMPLETED
        service.advance(4_100)
        with pytest.raises(NotFound):
            client.get(task.id)


def test_an_error_at_the_start_is_raised():
    """In the thread of the test, and nothing is left running."""
    service = TestService(webhook_secrets="nonsense")
    before = threading.active_count()
    with pytest.raises(TaskFlowError, match="WEBHOOK_SECRETS"):
        service.__enter__()
    assert threading.active_count() == before


def test_two_at_once_have_nothing_in_common():
    with TestService() as one, TestService() as other:
        one.advance(1000)
        assert one.now - other.now > dt.timedelta(seconds=900)
        with one.client() as client, other.client() as empty:
            client.submit("x")
            assert empty.list_tasks() == []


def test_the_clock():
    """It passes only up to a deadline that is near."""
    clock = StoppedClock()
    assert clock.deadline_to_sleep_time(NEAR_SECONDS * 2) > 1000
    assert clock.current_time() == 0
    clock.move(NEAR_SECONDS * 1.5)
    near = NEAR_SECONDS * 2
    assert 0 < clock.deadline_to_sleep_time(near) <= NEAR_SECONDS
    while clock.current_time() < near:
        pass
    assert clock.current_time() == near
    assert clock.deadline_to_sleep_time(near) == 0


def test_without_the_service_it_says_so():
    """One line names what is missing and how to install it."""
    program = "import sys; sys.modules['quart_trio'] = None\nimport taskflow.testing"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    last = ended.stderr.splitlines()[-1]
    assert last.endswith(f"run {install_command('server')}")
    assert "quart_trio" in last
