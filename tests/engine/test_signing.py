"""Signed requests as the engine runs them, on the virtual clock."""

from __future__ import annotations

import time

import pytest
from standardwebhooks import Webhook

from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.signature import Signer, new_secret, secret_of
from taskflow.model.task import TaskStatus
from taskflow.telemetry import Event
from tests.engine.conftest import Bench
from tests.engine.test_retries import BUSY, Script, run_one
from tests.logs import capture_logs
from tests.loopback import SECRET

SIGNED = TaskOptions(sign=True)
OTHER = new_secret()


class Target(Script):
    """Keeps the headers that sign each request: none of one that is not signed."""

    def __init__(self, *failures) -> None:
        super().__init__(*failures)
        self.signatures: list[dict[str, str]] = []

    async def fetch(self, request):
        self.signatures.append(dict(request.sign(request.body)) if request.sign else {})
        assert not any(name.startswith("webhook-") for name, _ in request.headers)
        return await super().fetch(request)


def bench_with(*secrets: str, **settings: object) -> Bench:
    """An engine with these secrets."""
    bench = Bench(webhook_secrets=",".join(secrets), **settings)
    bench.signer = Signer([secret_of(secret) for secret in secrets])
    return bench


async def test_each_attempt_is_signed_anew(autojump_clock, nursery, monkeypatch):
    """With the id of the task and the time of the attempt; either of two secrets verifies."""
    now = int(time.time())
    clock = iter([now - 5.0, now + 0.9])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    target = Target(BUSY)
    bench = bench_with(SECRET, OTHER)
    task, _ = await run_one(bench, nursery, target, max_attempts=2, options=SIGNED)
    assert task.status is TaskStatus.COMPLETED
    first, second = target.signatures
    assert first["webhook-id"] == second["webhook-id"] == str(task.id)
    assert [first["webhook-timestamp"], second["webhook-timestamp"]] == [str(now - 5), str(now)]
    for headers in (first, second):
        for secret in (SECRET, OTHER):
            Webhook(secret).verify(b"", headers, json_parse=False)
        with pytest.raises(Exception, match="No matching signature"):
            Webhook(new_secret()).verify(b"", headers, json_parse=False)


@pytest.mark.parametrize(
    ("task", "queue", "setting", "is_signed"),
    [
        (None, None, False, False),
        (None, None, True, True),
        (None, True, False, True),
        (None, False, True, False),
        (True, False, False, True),
        (False, True, True, False),
    ],
)
async def test_what_decides(autojump_clock, nursery, task, queue, setting, is_signed):
    """The task, then its queue, then the setting."""
    bench = bench_with(SECRET, sign_requests=setting)
    await bench.store.queues.put("mail", QueueSettings(sign=queue))
    target = Target()
    await run_one(bench, nursery, target, queue="mail", options=TaskOptions(sign=task))
    assert [bool(headers) for headers in target.signatures] == [is_signed]


async def test_without_a_secret_nothing_is_sent(autojump_clock, nursery):
    """A node that cannot sign logs it, and the attempt fails: another node may have a secret."""
    target = Target()
    with capture_logs() as logs:
        task, attempts = await run_one(
            bench_with(), nursery, target, max_attempts=2, options=SIGNED
        )
    assert target.signatures == []
    assert (task.status, task.error_type) == (TaskStatus.FAILED, ErrorType.INTERNAL)
    assert (len(attempts), "TASKFLOW_WEBHOOK_SECRETS" in task.error) == (2, True)
    assert Event.REQUEST_UNSIGNED.value[1] in [entry["event"] for entry in logs]
