"""Parked attempts: how they begin, what ends them, and polls; on the virtual clock."""

from __future__ import annotations

import contextlib
import uuid

import msgspec
import pytest
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.node import Engine
from taskflow.engine.parking import (
    MAX_SLEEP_SECONDS,
    TAKE_MARGIN_SECONDS,
    UNRECORDED_BATCH,
    UNRECORDED_INTERVAL_SECONDS,
    report,
)
from taskflow.engine.polling import poll
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.recording import Recorder
from taskflow.metrics.exposition import expose
from taskflow.model.completion import (
    COMPLETION_URL_HEADER,
    Completion,
    CompletionMode,
    completion_url,
)
from taskflow.model.credential import Bearer
from taskflow.model.errors import StoreUnavailable
from taskflow.model.keyring import Keyring, key_of, new_encryption_key
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import WaitReason
from taskflow.model.outcome import (
    ErrorType,
    Failed,
    Fetched,
    Interrupted,
    Parked,
    Postponed,
    failed,
)
from taskflow.model.sealed_credential import seal
from taskflow.model.signature import Signer, secret_of
from taskflow.model.task import Claim, NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.parking import DueAttempt
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.engine.conftest import Bench, response
from tests.logs import capture_logs
from tests.loopback import SECRET
from tests.metrics.scrape import Scrape

PUBLIC_URL = "https://tasks.example"
WITHIN = 60.0
CALLBACK = Completion(CompletionMode.CALLBACK, WITHIN)
POLL = Completion(CompletionMode.POLL, WITHIN)
TO_CALLBACK = Parked(WITHIN)
POLL_URL = "http://target/jobs/7"
DONE = Fetched(response())
REPORTED = failed(ErrorType.REPORTED, "reported: no rows")
BUSY = Failed(ErrorType.HTTP_STATUS, "busy", 503)
MISSING = Failed(ErrorType.HTTP_STATUS, "http error: status: 404 Not Found", 404)


def to_poll(seconds: float = 5.0, url: str = POLL_URL) -> Parked:
    return Parked(WITHIN, url, seconds)


class Target:
    """Returns these outcomes, one for each request, and keeps the requests.

    An outcome may be a pair: the time that it takes, and the outcome.
    """

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.requests = []
        self.times: list[float] = []
        self.running = self.most_running = 0

    async def fetch(self, request):
        self.requests.append(request)
        self.times.append(trio.current_time())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await trio.lowlevel.checkpoint()
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, tuple):
                seconds, outcome = outcome
                await trio.sleep(seconds)
        finally:
            self.running -= 1
        return outcome

    def headers(self, number: int) -> dict[str, str]:
        return dict(self.requests[number].headers)


class Play(Bench):
    """A bench whose target plays a script."""

    def __init__(self, *outcomes: object, **settings: object) -> None:
        super().__init__(**({"public_url": PUBLIC_URL} | settings))
        self.fetcher = self.target = Target(*outcomes)
        self.engine = self.new_engine()

    async def submit(self, completion: Completion = CALLBACK, payload=None, **fields):
        raw = msgspec.Raw(msgspec.json.encode(payload or "http://target/start"))
        options = {"max_attempts": 1, **fields}
        options["options"] = msgspec.structs.replace(
            options.get("options", TaskOptions()), completion=completion
        )
        [task] = await self.store.add([NewTask(raw, **options)])
        return task

    async def report(self, task, outcome, **options):
        found = await self.store.parking.find(task.id)
        assert found is not None
        return await report(
            found,
            outcome,
            store=self.store,
            settings=self.settings,
            metrics=self.metrics,
            **options,
        )

    def scrape(self) -> Scrape:
        return Scrape(expose(self.metrics.registry, (), "").body.decode())

    def ends(self) -> dict[str, float]:
        return self.scrape().nonzero("taskflow_attempts_total", "outcome")

    async def wait_for(self, task, status):
        while (found := await self.now(task)).status is not status:
            assert not found.status.is_final
            await trio.sleep(0.01)
        return found


@contextlib.asynccontextmanager
async def playing(play: Play):
    """Run the engine during the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(play.engine.run)
        yield play
        play.engine.shut_down(drain_seconds=0)


async def parked(play: Play, task):
    """Wait until a task is parked, and return it."""
    while (found := await play.now(task)).waiting_for is None:
        assert not found.status.is_final
        await trio.sleep(0.01)
    assert (found.status, found.waiting_for.reason) == (TaskStatus.RUNNING, WaitReason.COMPLETION)
    return found


async def test_a_202_parks_the_attempt(autojump_clock):
    """It holds no worker and no claim of the node; the reported outcome completes the task."""
    async with playing(Play(TO_CALLBACK, DONE, workers=1)) as play:
        task = await play.submit()
        await parked(play, task)
        await trio.sleep(30)
        load = play.engine.statistics().load
        assert (load.held, load.running, load.waiting) == (0, 0, 0)
        [other] = await play.add("x")
        await play.wait_for(other, TaskStatus.COMPLETED)
        assert await play.report(task, DONE) is TaskStatus.COMPLETED
        shown = await play.now(task)
        assert (shown.status, shown.attempt, shown.waiting_for) == (TaskStatus.COMPLETED, 1, None)
        [attempt] = await play.store.attempts(task.id)
        assert (attempt.number, attempt.status, attempt.status_code) == (1, "COMPLETED", 200)
        assert attempt.elapsed_seconds == pytest.approx(30.0, abs=0.5)
        assert play.ends() == {"parked": 1, "completed": 2}
        reported = play.scrape()
        assert reported.value("taskflow_fetch_seconds_count") == 2
        assert reported.value("taskflow_fetch_seconds_sum") < 1


async def test_the_completion_url(autojump_clock):
    """Each attempt has its own, and a task cannot set it; in the mode poll there is none."""
    header = {COMPLETION_URL_HEADER.lower(): "http://evil/"}
    payload = {"url": "http://target/x", "headers": header | {"X-Mine": "1"}}
    async with playing(Play(TO_CALLBACK, TO_CALLBACK, to_poll())) as play:
        task = await play.submit(payload=payload, max_attempts=2)
        await parked(play, task)
        first = await play.store.parking.find(task.id)
        assert await play.report(task, REPORTED) is TaskStatus.PENDING
        await parked(play, task)
        second = await play.store.parking.find(task.id)
        for number, found in enumerate((first, second)):
            headers = play.target.headers(number)
            url = completion_url(PUBLIC_URL, task.id, found.claim.token)
            assert (headers[COMPLETION_URL_HEADER], headers["X-Mine"]) == (url, "1")
            assert COMPLETION_URL_HEADER.lower() not in headers
            assert headers["X-TaskFlow-Attempt"] == str(number + 1)
        assert first.claim.token != second.claim.token
        assert await play.report(task, DONE) is TaskStatus.COMPLETED
        await parked(play, await play.submit(POLL))
        assert COMPLETION_URL_HEADER not in play.target.headers(2)
        assert [request.completion for request in play.target.requests] == [CALLBACK] * 2 + [POLL]


async def test_without_a_public_url_nothing_is_sent(autojump_clock):
    """The attempt fails, and is repeated: another node may have the setting."""
    with capture_logs() as logs:
        async with playing(Play(public_url="")) as play:
            task = await play.submit(max_attempts=2)
            shown = await play.wait_for(task, TaskStatus.FAILED)
    assert (shown.error_type, shown.attempt) == (ErrorType.INTERNAL, 2)
    assert "TASKFLOW_PUBLIC_URL" in shown.error
    assert play.target.requests == []
    assert Event.COMPLETION_URL_MISSING.wording in [entry["event"] for entry in logs]


@pytest.mark.parametrize("late", [TO_CALLBACK, DONE, BUSY])
async def test_an_outcome_before_the_response(autojump_clock, late):
    """The reported outcome counts; what the node fetched later changes nothing, silently."""
    with capture_logs() as logs:
        async with playing(Play((3.0, late))) as play:
            task = await play.submit(max_attempts=3)
            await trio.sleep(1)
            assert await play.report(task, DONE) is TaskStatus.COMPLETED
            await trio.sleep(60)
    shown = await play.now(task)
    assert (shown.status, shown.attempt, shown.waiting_for) == (TaskStatus.COMPLETED, 1, None)
    assert len(await play.store.attempts(task.id)) == 1
    assert await play.store.parking.seconds_to_next() is None
    assert Event.OUTCOME_TOO_LATE.wording not in [entry["event"] for entry in logs]
    assert play.scrape().nonzero("taskflow_outcomes_dropped_total", "reason") == {}


async def test_a_reported_failure(autojump_clock):
    """It is retried while attempts are left, unless the target says that it is final."""
    async with playing(Play(*[TO_CALLBACK] * 5)) as play:
        task = await play.submit(max_attempts=2)
        await parked(play, task)
        assert await play.report(task, REPORTED) is TaskStatus.PENDING
        shown = await play.now(task)
        assert (shown.error, shown.waiting_for) == ("reported: no rows", None)
        await parked(play, task)
        assert await play.report(task, REPORTED) is TaskStatus.FAILED
        shown = await play.now(task)
        assert (shown.error_type, shown.attempt) == (ErrorType.REPORTED, 2)
        final = await play.submit(max_attempts=2)
        await parked(play, final)
        assert await play.report(final, REPORTED, may_retry=False) is TaskStatus.FAILED
        shown = await play.now(final)
        assert (shown.attempt, shown.max_attempts) == (1, 2)
        assert play.ends() == {"parked": 3, "retried": 1, "failed": 2}


async def test_one_outcome(autojump_clock):
    """Of two outcomes at once, one is written; one of an older attempt changes nothing."""
    async with playing(Play(*[TO_CALLBACK] * 5)) as play:
        task = await play.submit(max_attempts=2)
        await parked(play, task)
        old = await play.store.parking.find(task.id)
        about = {"store": play.store, "settings": play.settings, "metrics": play.metrics}
        assert await report(old, REPORTED, **about) is TaskStatus.PENDING
        for outcome in (DONE, REPORTED):
            assert await report(old, outcome, **about) is None
        await parked(play, task)
        assert await report(old, DONE, **about) is None
        await parked(play, task)
        found = []

        async def end() -> None:
            found.append(await report(new, DONE, **about))

        new = await play.store.parking.find(task.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            nursery.start_soon(end)
        assert sorted(map(str, found)) == ["COMPLETED", "None"]
        assert play.ends() == {"parked": 2, "retried": 1, "completed": 1}


async def test_silence(autojump_clock):
    """It is a timeout, which is retried; then the task has failed."""
    async with playing(Play(TO_CALLBACK, TO_CALLBACK, heartbeat_seconds=9.0)) as play:
        task = await play.submit(max_attempts=2)
        shown = await play.wait_for(task, TaskStatus.FAILED)
    first, second = play.target.times
    assert second - first == pytest.approx(WITHIN + 0.75, abs=0.5)
    assert (shown.error_type, shown.attempt) == (ErrorType.TIMEOUT, 2)
    assert shown.error == "timeout: the outcome of the attempt was not known within 60 s"
    attempts = await play.store.attempts(task.id)
    assert [(one.status, one.error_type) for one in attempts] == [("FAILED", "timeout")] * 2
    assert attempts[0].elapsed_seconds == pytest.approx(WITHIN, abs=0.1)


async def test_heartbeats(autojump_clock):
    """Each one gives the attempt its time anew."""
    async with playing(Play(TO_CALLBACK)) as play:
        task = await play.submit()
        await parked(play, task)
        found = await play.store.parking.find(task.id)
        for _ in range(5):
            await trio.sleep(WITHIN - 1)
            assert await play.store.parking.extend(found.claim.key, WITHIN) is not None
        await trio.sleep(WITHIN - 1)
        assert (await play.now(task)).status is TaskStatus.RUNNING
        await trio.sleep(2)
        assert (await play.now(task)).error_type is ErrorType.TIMEOUT
        assert await play.store.parking.extend(found.claim.key, WITHIN) is None


async def test_polls(autojump_clock):
    """The URL is polled after its delay until the response is not a 202; the latest URL counts."""
    other = "http://target/jobs/7/v2"
    play = Play(to_poll(2.0), to_poll(7.0), to_poll(20.0, other), DONE)
    async with playing(play):
        task = await play.submit(POLL)
        shown = await play.wait_for(task, TaskStatus.COMPLETED)
    pauses = [b - a for a, b in zip(play.target.times, play.target.times[1:], strict=False)]
    assert pauses == [pytest.approx(seconds, abs=0.2) for seconds in (2, 7, 20)]
    requests = play.target.requests
    assert [one.url for one in requests] == ["http://target/start", POLL_URL, POLL_URL, other]
    assert [one.poll_url for one in requests] == [None, POLL_URL, POLL_URL, other]
    assert msgspec.json.decode(shown.result)["result"] == "hello"
    [attempt] = await play.store.attempts(task.id)
    assert attempt.elapsed_seconds == pytest.approx(29.0, abs=0.5)
    assert play.ends() == {"parked": 1, "completed": 1}


SECRET_HEADERS = {"Authorization": "Bearer x", "X-Mine": "1", "Content-Type": "a/b"}


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("http://target/jobs/7", True),
        ("http://target:80/jobs/7", True),
        ("https://target/jobs/7", False),
        ("http://target:81/jobs/7", False),
        ("http://other/jobs/7", False),
    ],
)
async def test_the_request_of_a_poll(autojump_clock, url, is_same):
    """It is a GET without a body; headers and signature of the task are for its origin only."""
    play = Play(to_poll(2.0, url), DONE, webhook_secrets=SECRET, sign_requests=True)
    play.signer = Signer([secret_of(SECRET)])
    play.engine = play.new_engine()
    payload = {"url": "http://target/start", "headers": SECRET_HEADERS, "body": {"a": 1}}
    async with playing(play):
        task = await play.submit(POLL, payload)
        await play.wait_for(task, TaskStatus.COMPLETED)
    first, second = play.target.requests
    assert (first.method, first.body, first.url) == ("POST", b'{"a":1}', "http://target/start")
    assert (second.method, second.body, second.url) == ("GET", b"", url)
    headers = dict(second.headers)
    identity = {"X-TaskFlow-Id": str(task.id), "X-TaskFlow-Attempt": "1"}
    mine = {"Authorization": "Bearer x", "X-Mine": "1"} if is_same else {}
    assert headers == identity | mine
    assert (second.sign is not None) == is_same
    assert isinstance(second.recorder, Recorder)


async def test_the_credential_of_a_poll(autojump_clock):
    """The authenticator decides for each URL, as for redirects."""
    play = Play(to_poll(2.0, "http://other/"), DONE)
    play.keyring = Keyring([key_of(new_encryption_key())])
    play.engine = play.new_engine()
    bearer = Bearer(token="t", hosts=("target",))
    await play.store.credentials.put(seal("billing", bearer, play.keyring))
    async with playing(play):
        task = await play.submit(POLL, options=TaskOptions(credential="billing"))
        await play.wait_for(task, TaskStatus.COMPLETED)
    first, second = play.target.requests
    assert first.authenticator is second.authenticator is not None


@pytest.mark.parametrize(
    ("outcome", "delay"),
    [
        (BUSY, 5.0),
        (Failed(ErrorType.HTTP_STATUS, "busy", 503, retry_after_seconds=9.0), 9.0),
        (Failed(ErrorType.CONNECT, "refused"), 5.0),
        (Failed(ErrorType.TIMEOUT, "slow"), 5.0),
        (Failed(ErrorType.INTERNAL, "internal: this node", is_of_node=True), 5.0),
        (Interrupted(), 5.0),
        (Postponed(ErrorType.PROXY, "proxy error", 12.0), 12.0),
    ],
)
async def test_a_poll_that_fails_for_now(autojump_clock, outcome, delay):
    """It is repeated later, also if this was the last attempt; the task is not sent again."""
    async with playing(Play(to_poll(2.0), outcome, outcome, DONE)) as play:
        task = await play.submit(POLL)
        shown = await play.wait_for(task, TaskStatus.COMPLETED)
    assert shown.attempt == 1
    assert [one.url for one in play.target.requests][1:] == [POLL_URL] * 3
    pauses = [b - a for a, b in zip(play.target.times, play.target.times[1:], strict=False)]
    assert pauses == [pytest.approx(seconds, abs=0.2) for seconds in (2, delay, delay)]


async def test_a_poll_that_fails(autojump_clock):
    """A failure that another request would not change is the outcome."""
    async with playing(Play(to_poll(2.0), MISSING)) as play:
        task = await play.submit(POLL, max_attempts=3)
        shown = await play.wait_for(task, TaskStatus.FAILED)
    assert (shown.error, shown.attempt) == (MISSING.error, 1)
    assert play.ends() == {"parked": 1, "failed": 1}


async def test_polls_end(autojump_clock):
    """An attempt that is polled in vain is overdue, too, and the next one starts at the target."""
    answers = [to_poll(), *[to_poll()] * 11, to_poll(), DONE]
    async with playing(Play(*answers)) as play:
        task = await play.submit(POLL, max_attempts=2)
        shown = await play.wait_for(task, TaskStatus.COMPLETED)
    urls = [one.url for one in play.target.requests]
    assert (shown.attempt, urls.count("http://target/start")) == (2, 2)
    first, *_ = await play.store.attempts(task.id)
    assert (first.error_type, round(first.elapsed_seconds)) == ("timeout", WITHIN)


async def test_a_slow_poll(autojump_clock):
    """A poll takes at most the timeout of a fetch; the outcome of others does not wait for it."""
    play = Play(to_poll(1.0), to_poll(1.0), (1000.0, DONE), DONE, DONE, fetch_timeout_seconds=20.0)
    async with playing(play):
        slow = await play.submit(POLL)
        await parked(play, slow)
        await trio.sleep(0.3)
        quick = await play.submit(POLL)
        await play.wait_for(quick, TaskStatus.COMPLETED)
        assert trio.current_time() - play.target.times[0] < 3
        await play.wait_for(slow, TaskStatus.COMPLETED)
    assert play.target.times[-1] - play.target.times[2] == pytest.approx(25.0, abs=0.5)


async def test_many_polls(autojump_clock):
    """At most as many as there are workers run at once, and all of them in turn."""
    play = Play(*[to_poll(1.0)] * 40, *[(2.0, DONE)] * 40, workers=4)
    async with playing(play):
        tasks = [await play.submit(POLL) for _ in range(40)]
        play.target.most_running = 0
        for task in tasks:
            await play.wait_for(task, TaskStatus.COMPLETED)
    assert play.target.most_running == 4
    assert trio.current_time() - play.target.times[0] < 30


async def test_another_node_takes_over(autojump_clock):
    """Parked attempts survive their node; another one polls, and ends those that are overdue."""
    play = Play(TO_CALLBACK, to_poll(5.0), DONE)
    silent = await play.submit(CALLBACK)
    async with playing(play):
        await parked(play, silent)
        polled = await play.submit(POLL)
        await parked(play, polled)
    await trio.sleep(1000)
    assert (await play.now(silent)).status is TaskStatus.RUNNING
    play.engine = Engine(play.new_context())
    async with playing(play):
        assert (await play.wait_for(silent, TaskStatus.FAILED)).error_type is ErrorType.TIMEOUT
        assert (await play.wait_for(polled, TaskStatus.FAILED)).error_type is ErrorType.TIMEOUT
    assert len(play.target.requests) == 2


async def test_a_node_that_dies_in_a_poll(autojump_clock):
    """The poll is repeated by another node a moment after it would have timed out."""
    play = Play(to_poll(5.0), (1000.0, DONE), DONE, fetch_timeout_seconds=10.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(play.engine.run)
        task = await play.submit(POLL)
        while len(play.target.requests) < 2:
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    play.target.outcomes = [DONE]
    play.engine = Engine(play.new_context())
    async with playing(play):
        await play.wait_for(task, TaskStatus.COMPLETED)
    pause = play.target.times[2] - play.target.times[1]
    assert pause == pytest.approx(10.0 + TAKE_MARGIN_SECONDS, abs=0.5)


@pytest.mark.parametrize("verb", ["settle", "park", "take_due"])
async def test_an_outage(autojump_clock, verb, monkeypatch):
    """An outcome that cannot be written is found again by another poll."""
    outcome = DONE if verb == "settle" else to_poll(3.0)
    play = Play(to_poll(3.0), outcome, DONE, DONE, fetch_timeout_seconds=2.0)
    async with playing(play):
        task = await play.submit(POLL)
        await parked(play, task)
        with monkeypatch.context() as patch:

            async def fail(*_: object, **__: object) -> None:
                await trio.lowlevel.checkpoint()
                raise StoreUnavailable

            part = play.store if verb == "settle" else play.store.parking
            patch.setattr(part, verb, fail)
            await trio.sleep(6)
        assert (await play.now(task)).status is TaskStatus.RUNNING
        await play.wait_for(task, TaskStatus.COMPLETED)
    assert len(await play.store.attempts(task.id)) == 1


async def test_a_row_that_cannot_be_decoded(autojump_clock, monkeypatch):
    """Its task fails, and the others are polled."""
    play = Play(to_poll(2.0), DONE)
    async with playing(play):
        task = await play.submit(POLL)
        await parked(play, task)
        take, broken = play.store.parking.take_due, uuid.uuid4()

        async def take_with_broken(*, limit: int, take_seconds: float) -> list[DueAttempt]:
            found = await take(limit=limit, take_seconds=take_seconds)
            claim = Claim(broken, broken, msgspec.Raw(b"1"), 1, 1, fault="bad row")
            polled = DueAttempt(claim, 1.0, is_overdue=False, poll_url=POLL_URL)
            overdue = DueAttempt(claim, 1.0, is_overdue=True, poll_url=None)
            return [polled, overdue, *found]

        settled, settle = [], play.store.settle

        async def note(settlements):
            settled.extend(settlements)
            return await settle(settlements)

        monkeypatch.setattr(play.store.parking, "take_due", take_with_broken)
        monkeypatch.setattr(play.store, "settle", note)
        await play.wait_for(task, TaskStatus.COMPLETED)
    errors = {(one.error, one.error_type) for one in settled if one.task_id == broken}
    assert errors == {("internal: bad row", ErrorType.INTERNAL)}


async def test_an_outcome_that_cannot_be_stored(autojump_clock, monkeypatch):
    """If the store refuses a result, the task fails, whoever reported it."""
    play = Play(TO_CALLBACK, to_poll(2.0), DONE)
    async with playing(play):
        task, polled = await play.submit(CALLBACK), None
        await parked(play, task)
        polled = await play.submit(POLL)
        await parked(play, polled)
        settle = play.store.settle

        async def refuse(settlements):
            if any(one.result is not None for one in settlements):
                raise ValueError
            return await settle(settlements)

        monkeypatch.setattr(play.store, "settle", refuse)
        with capture_logs() as logs:
            assert await play.report(task, DONE) is TaskStatus.FAILED
            shown = await play.wait_for(polled, TaskStatus.FAILED)
    assert shown.error_type is ErrorType.INTERNAL
    events = [entry["event"] for entry in logs]
    assert events.count(Event.OUTCOME_NOT_STORED.wording) == 2


async def test_a_canceled_attempt(autojump_clock):
    """A cancel ends it; a poll in flight, and what the target reports later, change nothing."""
    async with playing(Play(TO_CALLBACK, to_poll(2.0), (3.0, DONE))) as play:
        task, polled = await play.submit(), None
        await parked(play, task)
        polled = await play.submit(POLL)
        found = await play.store.parking.find(task.id)
        await parked(play, polled)
        while len(play.target.requests) < 3:
            await trio.sleep(0.1)
        await play.store.cancel(task.id)
        await play.store.cancel(polled.id)
        about = {"store": play.store, "settings": play.settings, "metrics": play.metrics}
        assert await report(found, DONE, **about) is None
        assert await play.store.parking.find(task.id) is None
        await trio.sleep(100)
        for one in (task, polled):
            assert (await play.now(one)).status is TaskStatus.CANCELED
        assert len(play.target.requests) == 3


async def test_parked_attempts_cost_nothing(autojump_clock, monkeypatch):
    """However many there are, a node asks twice in half a minute, and not for each of them."""
    play = Play(*[TO_CALLBACK] * 500, workers=50)
    long = Completion(CompletionMode.CALLBACK, 86_400.0)
    async with playing(play):
        play.target.outcomes = [Parked(86_400.0)] * 500
        tasks = [await play.submit(long) for _ in range(500)]
        for task in tasks:
            await parked(play, task)
        await trio.sleep(60)
        calls, parking = [], play.store.parking

        def counted(name, verb):
            async def call(**kwargs):
                calls.append(name)
                return await verb(**kwargs)

            return call

        for name in ("take_due", "seconds_to_next"):
            monkeypatch.setattr(parking, name, counted(name, getattr(parking, name)))
        await trio.sleep(10 * MAX_SLEEP_SECONDS)
        assert 18 <= len(calls) <= 22


async def test_parking_many_is_cheap(autojump_clock, monkeypatch):
    """While attempts are parked all the time, a node looks at them twice a second."""
    play = Play(*[TO_CALLBACK] * 2000, workers=50)
    taken = []
    take = play.store.parking.take_due

    async def note(**kwargs):
        taken.append(trio.current_time())
        return await take(**kwargs)

    monkeypatch.setattr(play.store.parking, "take_due", note)
    async with playing(play):
        for _ in range(1000):
            await play.submit()
            await trio.sleep(0.01)
        assert len(play.target.requests) >= 990
        assert len(taken) <= 25


async def test_the_job_ends_with_its_node(autojump_clock, nursery):
    """A shutdown does not wait for a poll."""
    play = Play(to_poll(1.0), (1000.0, DONE))
    async with trio.open_nursery() as running:
        await running.start(play.engine.run)
        await play.submit(POLL)
        while len(play.target.requests) < 2:
            await trio.sleep(0.1)
        started_at = trio.current_time()
        play.engine.shut_down(drain_seconds=100)
    assert trio.current_time() - started_at < 1


class Hosts(Target):
    """Parks each task to be polled at its host. Polls of the host ``hangs`` take for ever."""

    async def fetch(self, request):
        self.requests.append(request)
        self.times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if request.poll_url is None:
            return to_poll(2.0, request.url + "/job")
        if "hangs" in request.url:
            await trio.sleep(1000)
        return DONE


async def test_a_host_whose_polls_hang(autojump_clock):
    """It does not keep others from being polled, nor silent attempts from being overdue."""
    play = Play(fetch_timeout_seconds=10.0)
    play.fetcher = play.target = Hosts()
    play.engine = play.new_engine()
    async with playing(play):
        hanging = [await play.submit(POLL, "http://hangs/") for _ in range(100)]
        await trio.sleep(5)
        others = [await play.submit(POLL, f"http://host{number}/") for number in range(20)]
        began = trio.current_time()
        for task in others:
            await play.wait_for(task, TaskStatus.COMPLETED)
        assert trio.current_time() - began < 20
        await trio.sleep_until(WITHIN + 10)
        assert {(await play.now(one)).error_type for one in hanging} == {ErrorType.TIMEOUT}


async def test_a_busy_host(autojump_clock):
    """If all polls are for one host, all workers are used all the time."""
    play = Play(*[to_poll(1.0)] * 200, *[(1.0, DONE)] * 200, workers=10)
    async with playing(play):
        tasks = [await play.submit(POLL) for _ in range(200)]
        for task in tasks:
            await play.wait_for(task, TaskStatus.COMPLETED)
    assert trio.current_time() - play.target.times[0] < 23


async def test_attempts_of_which_nothing_is_known(autojump_clock, monkeypatch):
    """The node searches for them when it starts, until there are no more, and every ten minutes."""
    play = Play()
    found, times = [UNRECORDED_BATCH, 3, 0], []

    async def end_unrecorded(*, limit):
        times.append(trio.current_time())
        return min(limit, found.pop(0))

    monkeypatch.setattr(play.store.parking, "end_unrecorded", end_unrecorded)
    began = trio.current_time()
    async with playing(play):
        await trio.sleep(UNRECORDED_INTERVAL_SECONDS + 60)
    waits = [round(later - earlier) for earlier, later in zip([began, *times], times, strict=False)]
    assert waits == [0, 0, UNRECORDED_INTERVAL_SECONDS]


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://[::1]/", "::1"),
        ("http://example.com:5432/", "port 5432"),
    ],
)
async def test_the_guard_checks_polls(url, refusal):
    """A target cannot name an internal place as that of the outcome."""
    async with open_fetcher(Settings()) as fetcher:
        context = EngineContext(store=MemoryStore(), fetcher=fetcher, settings=Settings())
        payload, token = msgspec.Raw(b'"http://example.com/"'), uuid.uuid4()
        claim = Claim(token, token, payload, 1, 3, TaskOptions(completion=POLL))
        outcome = await poll(claim, url, context)
    assert (outcome.error_type, refusal in outcome.error) == (ErrorType.BLOCKED, True)
