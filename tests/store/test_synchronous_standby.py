"""A commit whose wait for the standby was canceled is unknown, like one whose response was lost.

A standby that does not exist makes all commits wait. ``pg_cancel_backend`` ends a wait: the server
warns that the transaction might not have been replicated, and reports success.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import threading
from collections.abc import Iterator

import psycopg
import pytest
import trio

from taskflow import enqueue
from taskflow.api import problems
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Release, Retry
from taskflow.store.postgres.session import is_unreplicated
from taskflow.store.postgres.store import open_postgres
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.conftest import EmbeddedInThread
from tests.folders import open_folder
from tests.receiver import Receiver
from tests.service.processes import PATIENCE_SECONDS, wait_until
from tests.service.targets import Target
from tests.store.contract import completed, failed, new_task
from tests.store.schedules_contract import definition

# All statements of a test use the one connection: an error must not be reported to the next one.
SETTINGS = Settings(database_timeout_seconds=5.0, database_connections=1)
COMMIT = "SELECT pg_logical_emit_message(true, 'test', '')"


class Standby:
    """Whether commits on a server wait for a standby that does not exist."""

    def __init__(self, server: str) -> None:
        self._server = server

    @contextlib.contextmanager
    def missing(self) -> Iterator[None]:
        """Let commits wait until the block ends."""
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute("SET synchronous_commit = local")
            try:
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
                admin.execute("SELECT pg_reload_conf()")
                with self.waits_canceled():
                    wait_until(self._is_missed)
                yield
            finally:
                admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
                admin.execute("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def waits_canceled(self, function: str = "pg_cancel_backend") -> Iterator[None]:
        """Cancel every wait of a commit until the block ends."""
        is_over = threading.Event()
        thread = threading.Thread(target=self._cancel_waits, args=[function, is_over])
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _cancel_waits(self, function: str, is_over: threading.Event) -> None:
        query = f"SELECT {function}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        with psycopg.connect(self._server, autocommit=True) as connection:
            while not is_over.wait(0.01):
                connection.execute(query)

    def _is_missed(self) -> bool:
        heard: list[bool] = []
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.add_notice_handler(lambda one: heard.append(is_unreplicated(one)))
            connection.execute(COMMIT)
        return any(heard)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own: nothing else waits for the standby."""
    with open_folder() as folder, EmbeddedInThread(folder / "data") as conninfo:
        yield conninfo


@pytest.fixture
def standby(server) -> Standby:
    return Standby(server)


@pytest.fixture
def url(server) -> Iterator[str]:
    with open_database(server) as url:
        yield url


@pytest.fixture
async def store(url):
    async with open_postgres(url, SETTINGS) as store:
        yield store


class TestTheStore:
    @pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
    async def test_a_new_task(self, store, standby, function):
        with (
            standby.missing(),
            standby.waits_canceled(function),
            pytest.raises(StoreUnavailable),
        ):
            await store.add([new_task()])

    async def test_an_outcome(self, store, standby):
        """The settler writes it again, and finds it written; so it counts once."""
        node = await store.register("there", lease_seconds=3600)
        await store.add([new_task() for _ in range(4)])
        one, two, three, four = await store.claim(node, limit=4)
        writes = [
            lambda: store.settle([completed(one)]),
            lambda: store.settle([failed(two)]),
            lambda: store.schedule_retries([retry_of(three)]),
            lambda: store.release([Release(four.task_id, four.token, elapsed_seconds=0.001)]),
        ]
        with standby.missing(), standby.waits_canceled():
            for write in writes:
                with pytest.raises(StoreUnavailable, match="replicated"):
                    await write()
        for write in writes:
            assert await write() == set()
        tasks = [await store.get(claim.task_id) for claim in (one, two, three, four)]
        assert [task.status for task in tasks] == [
            *(TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.PENDING, TaskStatus.PENDING)
        ]
        assert [task.attempt for task in tasks] == [1, 1, 1, 0]
        assert [len(await store.attempts(task.id)) for task in tasks] == [1, 1, 1, 1]

    async def test_a_claim_is_released(self, store, standby):
        """The node does not know its token, so it gives the tasks back."""
        node = await store.register("there", lease_seconds=3600)
        [task] = await store.add([new_task()])
        with (
            standby.missing(),
            standby.waits_canceled(),
            pytest.raises(StoreUnavailable, match="replicated"),
        ):
            await store.claim(node, limit=1)
        assert (await store.get(task.id)).status is TaskStatus.RUNNING
        assert await store.reconcile(node, [], before=await store.renew(node)) == 1
        assert (await store.get(task.id)).status is TaskStatus.PENDING

    async def test_explicit_transactions(self, store, standby):
        """Statements of several steps, whose COMMIT is a statement of its own."""
        await store.queues.put("slow", QueueSettings(max_concurrency=1))
        node = await store.register("there", lease_seconds=3600)
        await store.add([new_task(queue="slow") for _ in range(2)])
        [claim] = await store.claim(node, limit=1)
        tasks = await store.add([new_task() for _ in range(3)])
        ids = [task.id for task in tasks]
        await store.schedules.put(definition("due"))
        await set_due(store, "due")
        calls = [
            lambda: store.settle([completed(claim)]),
            lambda: store.cancel(ids[0]),
            lambda: store.cancel_many(ids[1:]),
            lambda: store.retry(ids[0]),
            lambda: store.queues.put("slow", QueueSettings(max_concurrency=2)),
            lambda: store.queues.set_paused("other", is_paused=True),
            lambda: store.schedules.put(definition("new")),
            lambda: store.schedules.fire_due(limit=10),
            lambda: store.schedules.run_now("new"),
            lambda: store.fold_counts(limit=1000),
        ]
        with standby.missing(), standby.waits_canceled():
            for call in calls:
                with pytest.raises(StoreUnavailable, match="replicated"):
                    await call()
        await store.schedules.fire_due(limit=10)
        statuses = [(await store.get(task_id)).status.value for task_id in ids]
        assert statuses == ["PENDING", "CANCELED", "CANCELED"]
        assert (await store.get(claim.task_id)).status is TaskStatus.COMPLETED
        assert (await store.queues.get("slow")).max_concurrency == 2
        assert (await store.queues.get("other")).paused
        made = [one for one in (await store.page(limit=100)).tasks if one.queue == "mail"]
        assert len(made) == 2  # one of each schedule

    async def test_another_call_is_not_blamed(self, store, standby):
        """The call that failed after its commit raises its own error, and the next one none."""

        def work(connection):
            connection.execute(COMMIT)
            raise ZeroDivisionError

        with standby.missing(), standby.waits_canceled(), pytest.raises(ZeroDivisionError):
            await store._statements.database.run(work)
        assert (await store.page(limit=1)).tasks == []


def retry_of(claim) -> Retry:
    return Retry(
        claim.task_id, claim.token, delay_seconds=3600.0, error="late", error_type=ErrorType.TIMEOUT
    )


async def set_due(store, name):
    [task] = await store.add([new_task(queue="clock", delay_seconds=3600.0)])
    at = task.created_at - dt.timedelta(seconds=5)
    await store._statements.database.run(
        lambda connection: connection.execute(
            "UPDATE taskflow_schedules SET next_at = %s WHERE name = %s", [at, name]
        )
    )


class TestOverHttp:
    BODY = json.dumps({"payload": "no url", "delay_seconds": 3600}).encode()

    def post(self, live, key: str):
        headers = {"content-type": "application/json", "idempotency-key": f'"{key}"'}
        return live.ask("POST", "/tasks", self.BODY, headers)

    def test_a_new_task(self, url, standby, monkeypatch):
        """503, and the repetition is accepted once the task is certain, which exists once."""
        monkeypatch.setattr(problems, "STORE_ANSWER_SECONDS", 2.0)  # two calls take that long
        with LiveServer(database_url=url, database_timeout_seconds=5.0) as live:
            with standby.missing():
                with standby.waits_canceled():
                    answer = self.post(live, "one")
                check_problem(answer, 503, "try again")
                assert int(answer.header("retry-after")) > 0
                # It is known, and as uncertain as before.
                check_problem(self.post(live, "one"), 503)
                assert live.ask("GET", "/readyz").status == 503
            answer = wait_until(
                lambda: found if (found := self.post(live, "one")).status < 300 else None
            )
            assert len(live.ask("GET", "/tasks").json) == 1
            assert live.show(answer.json["id"])["status"] == "PENDING"
            wait_until(lambda: live.ask("GET", "/readyz").status == 200)

    def test_a_running_task(self, url, standby):
        """Its outcome is written, and its callback sent, once."""
        with LiveServer(database_url=url) as live, Target() as target, Receiver() as receiver:
            body = {"payload": f"{target.url}/held", "callback_url": f"{receiver.url}/back"}
            task_id = live.post(json.dumps(body).encode()).json["id"]
            target.wait_for("/held")
            with standby.missing(), standby.waits_canceled():
                target.release()
                wait_until(lambda: live.show(task_id)["status"] == "COMPLETED")
            [callback] = receiver.wait_for("/back", seconds=PATIENCE_SECONDS)
            wait_until(lambda: live.ask("GET", "/stats").json["total"]["counts"]["COMPLETED"] == 2)
            assert (len(target.seen), len(receiver.received)) == (1, 1)
            assert callback.verified()["result"]
            [attempt] = live.ask("GET", f"/tasks/{task_id}/attempts").json
            assert attempt["status"] == "COMPLETED"


class TestEnqueue:
    async def test_where_each_statement_commits(self, url, standby, store):
        with (
            psycopg.connect(url, autocommit=True) as connection,
            standby.missing(),
            standby.waits_canceled(),
            pytest.raises(StoreUnavailable, match="replicated"),
        ):
            enqueue(connection, "http://127.0.0.1/")

    async def test_awaited(self, url, standby, store):
        async def work():
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                with pytest.raises(StoreUnavailable, match="replicated"):
                    await enqueue(connection, "http://127.0.0.1/")

        with standby.missing(), standby.waits_canceled():
            await trio.to_thread.run_sync(asyncio.run, work())
