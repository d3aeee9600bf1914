"""Callbacks as the engine runs them, on the virtual clock."""

from __future__ import annotations

import itertools
import time

import msgspec
import pytest
import trio
from standardwebhooks import Webhook

from taskflow.engine import housekeeping, parking
from taskflow.engine.context import EngineContext
from taskflow.engine.node import Engine
from taskflow.fetch.interface import Fetcher
from taskflow.model.options import WEBHOOK_SECONDS, TaskOptions
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.model.signature import Signer, new_secret, secret_of
from taskflow.model.task import AttemptStatus, NewTask, TaskStatus
from taskflow.telemetry import Event
from tests.engine.conftest import response
from tests.logs import capture_logs
from tests.loopback import SECRET

DAY = 86_400.0
DAYS = {"heartbeat_seconds": 40_000.0, "lease_seconds": DAY, "poll_seconds": DAY}
OTHER = new_secret()


@pytest.fixture(autouse=True)
def slow_housekeeping(monkeypatch):
    """Housekeeping sleeps for days, too; otherwise it takes most of the time of these tests."""
    monkeypatch.setattr(housekeeping, "MAX_SLEEP_SECONDS", DAY)
    monkeypatch.setattr(housekeeping, "MAX_DELETE_PAUSE_SECONDS", DAY)
    monkeypatch.setattr(parking, "MAX_SLEEP_SECONDS", DAY)


class Receiver(Fetcher):
    """Answers each callback with the next of these statuses, and any other request with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = iter(statuses)
        self.requests = []
        self.at = []

    async def fetch(self, request):
        await trio.lowlevel.checkpoint()
        if request.url == "http://target/":
            return Fetched(response())
        signature = request.sign(request.body) if request.sign else ()
        self.requests.append(msgspec.structs.replace(request, headers=request.headers + signature))
        self.at.append(trio.current_time())
        status = next(self.statuses)
        if request.is_success(status):
            return Fetched(response())
        return Failed(ErrorType.HTTP_STATUS, f"http error: status: {status}", status)

    def verified(self, secret=SECRET):
        return [
            Webhook(secret).verify(request.body, dict(request.headers)) for request in self.requests
        ]

    def fields(self, name):
        return [dict(request.headers)[name] for request in self.requests]


async def run_one(bench, nursery, receiver, *secrets):
    """Run a task and its callback until both are final, and return them."""
    engine = Engine(
        EngineContext(
            store=bench.store,
            fetcher=receiver,
            settings=bench.settings,
            signer=Signer([secret_of(secret) for secret in secrets]),
        )
    )
    options = TaskOptions(callback_url="https://shop.example/done")
    [task] = await bench.store.add([NewTask(msgspec.Raw(b'"http://target/"'), options=options)])
    await nursery.start(engine.run)
    while set(await bench.statuses()) & {"PENDING", "RUNNING"}:
        await trio.sleep(1000)
    engine.shut_down(drain_seconds=0)
    ended = await bench.now(task)
    return ended, await bench.store.get(ended.callback_id)


async def test_a_callback_is_retried_for_days(autojump_clock, new_bench, nursery):
    """With the delays of the standard, after any error; signed for each attempt, with one id."""
    receiver = Receiver(500, 404, 302, 400, 401, 503, 429, 409, 502, 204)
    task, callback = await run_one(new_bench(**DAYS), nursery, receiver, SECRET)
    assert (callback.status, callback.attempt) == (TaskStatus.COMPLETED, 10)
    assert set(receiver.fields("webhook-id")) == {str(callback.id)}
    assert receiver.fields("X-TaskFlow-Attempt") == [str(n) for n in range(1, 11)]
    assert receiver.verified() == [msgspec.to_builtins(msgspec.json.decode(shown(task)))] * 10
    assert {request.body for request in receiver.requests} == {shown(task)}
    waits = [later - before for before, later in itertools.pairwise(receiver.at)]
    assert waits == pytest.approx(WEBHOOK_SECONDS, abs=0.05)


def shown(task) -> bytes:
    return msgspec.json.encode(task)


async def test_a_callback_fails_after_its_last_attempt(autojump_clock, new_bench, nursery):
    """Its parent task is unchanged, and a failed callback has no callback itself."""
    bench = new_bench(**DAYS)
    task, callback = await run_one(bench, nursery, Receiver(*[500] * 10), SECRET)
    assert (callback.status, callback.attempt) == (TaskStatus.FAILED, 10)
    assert task.status is TaskStatus.COMPLETED
    assert len((await bench.store.page(limit=9)).tasks) == 2


async def test_a_gone_receiver(autojump_clock, new_bench, nursery):
    """410 ends the retries."""
    _, callback = await run_one(new_bench(**DAYS), nursery, Receiver(500, 410), SECRET)
    assert (callback.status, callback.attempt) == (TaskStatus.FAILED, 2)
    assert callback.error == "http error: status: 410"


async def test_either_of_two_secrets_verifies(autojump_clock, new_bench, nursery):
    """During a rotation both secrets verify, and no other one does."""
    receiver = Receiver(200)
    await run_one(new_bench(**DAYS), nursery, receiver, SECRET, OTHER)
    assert receiver.verified(SECRET) == receiver.verified(OTHER)
    with pytest.raises(Exception, match="No matching signature"):
        receiver.verified(new_secret())


async def test_each_attempt_has_its_own_signature(autojump_clock, new_bench, nursery, monkeypatch):
    """Receivers reject old timestamps."""
    clock = iter([1_700_000_000.9, 1_700_000_005.1])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    receiver = Receiver(500, 200)
    await run_one(new_bench(**DAYS), nursery, receiver, SECRET)
    assert receiver.fields("webhook-timestamp") == ["1700000000", "1700000005"]
    assert len(set(receiver.fields("webhook-signature"))) == 2


async def test_without_a_secret_nothing_is_sent(autojump_clock, new_bench, nursery):
    """A node that cannot sign logs it, and the callback is retried later or by another node."""
    receiver = Receiver()
    bench = new_bench(**DAYS)
    with capture_logs() as logs:
        _, callback = await run_one(bench, nursery, receiver)
    assert receiver.requests == []
    assert (callback.status, callback.error_type) == (TaskStatus.FAILED, ErrorType.INTERNAL)
    assert "TASKFLOW_WEBHOOK_SECRETS" in callback.error
    attempts = await bench.store.attempts(callback.id)
    assert [one.status for one in attempts] == [AttemptStatus.FAILED] * 10
    assert Event.REQUEST_UNSIGNED.value[1] in [entry["event"] for entry in logs]


async def test_only_callbacks_are_signed(autojump_clock, new_bench, nursery):
    """The queue and the options of a submitted task do not make it a callback."""
    receiver = Receiver(200, 200)
    bench = new_bench(**DAYS)
    payload = b'{"url": "http://else/", "method": "POST", "body": {"id": 1}}'
    await bench.store.add([NewTask(msgspec.Raw(payload), queue="callbacks")])
    await run_one(bench, nursery, receiver, SECRET)
    signed = {
        request.url: any(name.startswith("webhook-") for name, _ in request.headers)
        for request in receiver.requests
    }
    assert signed == {"http://else/": False, "https://shop.example/done": True}
