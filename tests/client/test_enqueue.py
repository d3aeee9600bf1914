"""Tasks enqueued in transactions of others: there if and only if these commit."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import threading
import time
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Loader
from psycopg.rows import dict_row

from taskflow import (
    BlockingClient,
    Gone,
    StoreUnusable,
    Submission,
    TaskStatus,
    Unprocessable,
)
from taskflow import enqueue as enqueue_untyped
from taskflow import enqueue_many as enqueue_many_untyped
from taskflow.client.options import KNOWN
from taskflow.model.keyring import new_encryption_key
from taskflow.schema.tasks import TaskRequest
from tests.api.conftest import open_database
from tests.api.live import LiveServer

enqueue: Any = enqueue_untyped
enqueue_many: Any = enqueue_many_untyped
SOON_SECONDS = 90.0


@pytest.fixture
def client(node):
    with BlockingClient(node.server.url) as client:
        yield client


@pytest.fixture
def connection(node):
    with psycopg.connect(node.database_url) as connection:
        yield connection
        connection.rollback()


def is_known(node, task_id) -> bool:
    return node.server.ask("GET", f"/tasks/{task_id}").status == 200


def once(target) -> str:
    """A URL that is fetched by one task only."""
    return f"{target.url}/once/{uuid.uuid4()}"


def path_of(url: str, target) -> str:
    return url.removeprefix(target.url)


KEY = new_encryption_key()


class TestEncryption:
    """With a key of the service, the payload is encrypted; without one, it is stored as it is."""

    def test_a_task_is_encrypted(self, connection):
        task = enqueue(connection, "http://xyzzy/", encryption_key=KEY)
        many = enqueue_many(connection, ["http://xyzzy/"] * 2, encryption_key=KEY)
        assert {one.payload_bytes for one in (task, *many)} == {b'"http://xyzzy/"'}
        statement = "SELECT payload::text FROM taskflow_tasks WHERE id = ANY (%s)"
        rows = connection.execute(statement, [[task.id, *(one.id for one in many)]]).fetchall()
        assert len(rows) == 3
        assert all(text.startswith('{"$encrypted":"') for (text,) in rows)

    def test_a_service_with_the_key_runs_it(self, postgres_server, target):
        """A plain task of ``enqueue`` runs there, too."""
        with open_database(postgres_server) as url:
            settings = {"encryption_keys": KEY, "encrypt": ("payloads", "results")}
            with (
                LiveServer(database_url=url, **settings) as server,
                psycopg.connect(url, autocommit=True) as connection,
            ):
                tasks = [
                    enqueue(connection, f"{target.url}/json?{key is None}", encryption_key=key)
                    for key in (KEY, None)
                ]
                ended = [server.wait(task.id) for task in tasks]
                assert {task["status"] for task in ended} == {"COMPLETED"}
                assert [f'"{task["payload"]}"' for task in ended] == [
                    task.payload_bytes.decode() for task in tasks
                ]

    def test_known_keys_return_the_task(self, connection):
        url, keys = "http://xyzzy/", {"idempotency_key": "e", "encryption_key": KEY}
        first, again = (enqueue(connection, url, **keys) for _ in range(2))
        assert (first.id, first.payload) == (again.id, again.payload)

    def test_an_invalid_key(self, connection):
        with pytest.raises(Unprocessable, match="encryption_key must be 32 bytes") as caught:
            enqueue(connection, "http://xyzzy/", encryption_key=KEY[:-2])
        assert KEY[:-2] not in str(caught.value)


class TestTransactions:
    def test_it_runs_at_the_commit_and_not_before(self, node, client, connection, target):
        url = once(target)
        task = enqueue(connection, url)
        assert task.status is TaskStatus.PENDING
        assert not is_known(node, task.id)
        assert not target.wait_for(path_of(url, target), 0.2)
        connection.commit()
        assert client.wait(task.id, SOON_SECONDS).raise_for_failure().text == "h\xe9llo"

    def test_a_rollback_removes_the_task(self, node, client, connection):
        before = client.stats().total.counts
        task = enqueue(connection, "no url")
        many = enqueue_many(connection, ["no url"] * 3)
        connection.rollback()
        assert not any(is_known(node, one.id) for one in [task, *many])
        assert client.stats().total.counts == before

    def test_in_a_block_that_fails_half_way(self, node, client, connection):
        """What a savepoint takes back was never there; what is around it is."""
        with connection.transaction():
            kept = enqueue(connection, "no url")
            with pytest.raises(ZeroDivisionError), connection.transaction():
                undone = enqueue(connection, "no url")
                raise ZeroDivisionError
            later = enqueue(connection, "no url")
        assert [is_known(node, task.id) for task in (kept, undone, later)] == [True, False, True]
        assert client.wait(later.id, SOON_SECONDS).status is TaskStatus.FAILED

    def test_it_is_there_at_once_where_each_statement_commits(self, node, client):
        """Also many of them: more than a statement of the service's has, all or none."""
        with psycopg.connect(node.database_url, autocommit=True) as connection:
            assert is_known(node, enqueue(connection, "no url").id)
            many = enqueue_many(connection, [Submission("no url", delay_seconds=3600)] * 1100)
            made = connection.execute(
                "SELECT count(DISTINCT xmin::text) FROM taskflow_tasks WHERE id = ANY (%s)",
                [[task.id for task in many]],
            ).fetchone()
            assert made == (1,)
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def test_a_large_number_in_one_transaction(self, node, connection):
        many = enqueue_many(connection, [Submission("no url", delay_seconds=3600)] * 1100)
        assert len({task.id for task in many}) == 1100
        assert not is_known(node, many[0].id)
        connection.commit()
        assert is_known(node, many[0].id)
        assert is_known(node, many[-1].id)
        assert enqueue_many(connection, []) == []

    def test_nodes_hear_of_the_commit(self, node, client, connection, target):
        """They would look by themselves every two hours only."""
        for _ in range(5):
            url = once(target)
            enqueue(connection, url)
            time.sleep(0.02)  # so that it is due for longer than what was claimed before
            connection.commit()
            assert target.wait_for(path_of(url, target))

    def test_an_order_key(self, node, client, connection, target):
        """The tasks of a transaction run in their order, before all later tasks."""
        key = {"order_key": str(uuid.uuid4()), "queue": "ordered"}
        first = enqueue(connection, target.url + "/text", **key)
        others = enqueue_many(connection, [Submission(target.url + "/text", **key)] * 2)
        assert first.run_at is None
        connection.commit()
        last = client.submit(target.url + "/text", **key)
        tasks = [client.wait(one.id, SOON_SECONDS) for one in (first, *others, last)]
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        for task, following in itertools.pairwise(tasks):
            assert task.finished_at <= following.started_at

    def test_an_open_transaction_blocks_no_stream(self, node, client, connection, target):
        """An open transaction blocks no streams, which get its events at the commit."""
        with client.iter_events() as reported:
            running = client.submit(target.url + "/text", wait_seconds=60)
            assert next(reported).task_id == running.id
            late = enqueue(connection, target.url + "/text")
            other = client.submit(target.url + "/text")
            assert client.wait(other.id, SOON_SECONDS).status is TaskStatus.COMPLETED
            connection.commit()
            client.wait(late.id, SOON_SECONDS)
            seen = [(event.task_id, event.status) for event in told_up_to(reported, late.id)]
        assert [status for task_id, status in seen if task_id == late.id] == [
            TaskStatus.PENDING,
            TaskStatus.RUNNING,
            TaskStatus.COMPLETED,
        ]
        assert seen.index((other.id, TaskStatus.COMPLETED)) < seen.index(
            (late.id, TaskStatus.PENDING)
        )

    def test_transactions_with_an_old_snapshot_are_reported(self, postgres_server):
        """A transaction with an old snapshot, which does not see that a stream has started."""
        with (
            open_database(postgres_server) as url,
            LiveServer(database_url=url) as server,
            BlockingClient(server.url) as client,
            psycopg.connect(url) as connection,
        ):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SELECT FROM taskflow_event_log")
            with client.iter_events() as reported:
                task = enqueue(connection, "no url")
                connection.commit()
                statuses = [event.status for event in told_up_to(reported, task.id)]
        assert statuses == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.FAILED]


def told_up_to(events, task_id):
    for event in events:
        yield event
        if event.task_id == task_id and event.status.is_final:
            return


class TestAwaited:
    def test_on_a_connection_that_is_awaited(self, node, client, target):
        async def work():
            async with await psycopg.AsyncConnection.connect(node.database_url) as connection:
                async with connection.transaction():
                    task = await enqueue(connection, target.url + "/text")
                    more = await enqueue_many(connection, ["no url", Submission("x", queue="q")])
                    assert not is_known(node, task.id)
                undone = await enqueue(connection, "no url")
                await connection.rollback()
                with pytest.raises(Unprocessable):
                    await enqueue(connection, "no url", priority=1000)
                return task, more, undone

        task, more, undone = asyncio.run(work())
        assert client.wait(task.id, SOON_SECONDS).status is TaskStatus.COMPLETED
        assert [client.wait(one.id, SOON_SECONDS).queue for one in more] == ["default", "q"]
        assert not is_known(node, undone.id)


class TestTheConnection:
    def test_it_stays_as_it_is(self, node, client):
        """Its own rows, cursors, types and time zone change nothing, and are not changed."""

        class Text(Loader):
            def load(self, data):
                return bytes(data).decode()

        with psycopg.connect(
            node.database_url, row_factory=dict_row, cursor_factory=psycopg.RawCursor
        ) as connection:
            connection.adapters.register_loader("uuid", Text)
            connection.adapters.register_loader("timestamptz", Text)
            connection.execute("SET TimeZone = 'America/New_York'")
            task = enqueue(connection, "no url", delay_seconds=3600)
            found = connection.execute("SELECT $1::uuid AS id", [task.id]).fetchone()
            assert found == {"id": str(task.id)}
            assert connection.autocommit is False
            assert connection.row_factory is dict_row
        seen = client.get(task.id)
        assert (seen.created_at, seen.run_at) == (task.created_at, task.run_at)
        assert seen == task

    def test_in_a_pipeline(self, node, connection):
        with connection.pipeline():
            connection.execute("SELECT 1")
            task = enqueue(connection, "no url")
            connection.execute("SELECT 1")
        connection.commit()
        assert is_known(node, task.id)

    def test_invalid_tasks_are_rejected(self):
        with pytest.raises(TypeError, match="a connection of psycopg 3"):
            enqueue(object(), "no url")

    def test_a_read_only_transaction_is_named(self, node):
        with psycopg.connect(node.database_url) as connection:
            connection.execute("SET TRANSACTION READ ONLY")
            with pytest.raises(StoreUnusable):
                enqueue(connection, "no url")


class TestWhatIsSaid:
    def test_the_options_are_those_of_the_api(self, client, connection):
        assert set(TaskRequest.__struct_fields__) - {"payload"} == KNOWN
        options = {
            "queue": "mail",
            "priority": 7,
            "run_at": dt.datetime(2100, 1, 1, tzinfo=dt.UTC),
            "expires_at": dt.datetime(2100, 1, 2, tzinfo=dt.UTC),
            "max_attempts": 3,
            "backoff": [1.0, 2.5],
            "retry_on": ["5xx", 404],
            "success_on": [200],
            "sign": True,
            "credential": "billing",
            "tags": {"customer": 42, "paid": True},
            "callback_url": "https://example.com/",
            "retention_seconds": 60.0,
        }
        # A year ahead is as far as it goes, whichever the year is.
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        options["run_at"], options["expires_at"] = soon, soon + dt.timedelta(days=1)
        payload = {"url": "https://example.com/", "method": "PUT", "body": {"a": [1, None]}}
        connection.execute(
            "INSERT INTO taskflow_credentials (name, kind, hosts, sealed)"
            " VALUES ('billing', 'bearer', '{example.com}', '')"
        )
        task = enqueue(connection, payload, **options)
        connection.commit()
        assert client.get(task.id) == task
        assert task.payload == payload
        posted = client.submit(payload, **options)
        for name in task.__struct_fields__:
            if name not in ("id", "created_at"):
                assert getattr(posted, name) == getattr(task, name), name

    def test_all_errors_are_reported_and_nothing_is_stored(self, connection):
        with pytest.raises(Unprocessable) as refused:
            enqueue(
                connection, {"url": "x", "headers": {"Host": "a"}}, priority=1000, delay_seconds=-1
            )
        pointers = {error.pointer for error in refused.value.errors}
        assert pointers == {"#/payload/headers/Host", "#/priority", "#/delay_seconds"}
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with pytest.raises(Unprocessable) as refused:
            enqueue_many(connection, ["x", None, Submission("x", queue="?")])
        assert {error.pointer for error in refused.value.errors} == {"#/1", "#/2/queue"}
        with pytest.raises(Unprocessable, match="payload is null"):
            enqueue(connection, None)
        with pytest.raises(TypeError, match="no option 'prio'"):
            enqueue(connection, "x", prio=1)

    def test_where_the_tables_are_missing_or_too_old(self, postgres_server, node):
        with (
            open_database(postgres_server) as empty,
            psycopg.connect(empty) as connection,
            pytest.raises(StoreUnusable, match="taskflow migrate"),
        ):
            enqueue(connection, "no url")
        with psycopg.connect(node.database_url) as connection:
            connection.execute("ALTER TABLE taskflow_tasks RENAME COLUMN host TO server")
            with pytest.raises(StoreUnusable, match="of another version"):
                enqueue(connection, "no url")
            connection.rollback()


class TestKeys:
    def test_it_is_known_again(self, node, client, connection):
        """In this transaction and a later one; the API's keys are others, and do not wait."""
        key = str(uuid.uuid4())
        task = enqueue(connection, "no url", delay_seconds=3600, idempotency_key=key)
        assert enqueue(connection, "no url", delay_seconds=3600, idempotency_key=key).id == task.id
        connection.commit()
        assert enqueue(connection, "no url", delay_seconds=3600, idempotency_key=key).id == task.id
        assert client.submit("no url", delay_seconds=3600, idempotency_key=key).id != task.id
        with pytest.raises(Unprocessable, match="Idempotency-Key"):
            enqueue(connection, "no url", idempotency_key=key)
        client.cancel(task.id)
        client.delete(task.id)
        with pytest.raises(Gone):
            enqueue(connection, "no url", delay_seconds=3600, idempotency_key=key)

    def test_enqueue_many_with_a_key(self, node, connection):
        key = f'"{uuid.uuid4()}"'
        first = enqueue_many(connection, ["a", "b"], idempotency_key=key)
        again = enqueue_many(connection, ["a", "b"], idempotency_key=key)
        assert [task.id for task in again] == [task.id for task in first]
        with pytest.raises(Unprocessable, match="printable"):
            enqueue(connection, "a", idempotency_key="\n")

    def test_of_two_at_once_one_makes_it(self, node, connection):
        """The other waits for the first one's commit, or makes it after a rollback."""
        for is_kept in (True, False):
            key, made = str(uuid.uuid4()), []
            with psycopg.connect(node.database_url) as other:
                first = enqueue(connection, "no url", idempotency_key=key)

                def work(other=other, key=key, made=made):
                    made.append(enqueue(other, "no url", idempotency_key=key))
                    other.commit()

                thread = threading.Thread(target=work)
                thread.start()
                thread.join(0.2)
                assert thread.is_alive()
                if is_kept:
                    connection.commit()
                else:
                    connection.rollback()
                thread.join(SOON_SECONDS)
                assert (made[0].id == first.id) is is_kept
                assert is_known(node, made[0].id)


# What callers may have set, and what a statement or its result depends on.
HOSTILE = {
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "timezone": "Asia/Kolkata",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "extra_float_digits": "-15",
    "xmloption": "document",
    "row_security": "off",
    "client_min_messages": "error",
    "lock_timeout": "20s",
    "statement_timeout": "60s",
    "default_transaction_isolation": "serializable",
    "enable_indexscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
REFUSED = {
    "client_encoding": "LATIN1",
    "session_replication_role": "replica",
    "search_path": "",
    "default_transaction_read_only": "on",
}


SET = "SELECT set_config(%s, %s, false)"


def enqueued(url, settings, *, tags, isolation_level=None, **options):
    """The task that is enqueued on a connection with these settings, and committed."""
    with psycopg.connect(url, **options) as connection:
        connection.cursor().executemany(SET, list(settings.items()))
        if not connection.autocommit:
            connection.commit()
        connection.isolation_level = isolation_level
        return enqueue(connection, "no url", tags=tags, delay_seconds=3600)


def enqueued_awaited(url, settings, *, tags, isolation_level=None, **options):
    """The same on a connection that is awaited."""

    async def work():
        async with await psycopg.AsyncConnection.connect(url, **options) as connection:
            await connection.cursor().executemany(SET, list(settings.items()))
            if not connection.autocommit:
                await connection.commit()
            await connection.set_isolation_level(isolation_level)
            return await enqueue(connection, "no url", tags=tags, delay_seconds=3600)

    return asyncio.run(work())


class TestHostileConnections:
    """Settings of the caller change no value, or are named; on both kinds of connections."""

    @pytest.fixture(params=[False, True], ids=["transaction", "autocommit"])
    def is_autocommit(self, request):
        return request.param

    @pytest.fixture(params=[enqueued, enqueued_awaited], ids=["Connection", "AsyncConnection"])
    def submitted(self, request):
        return request.param

    def submit(self, submitted, node, settings, **options):
        return submitted(node.database_url, settings, tags={"a": "żółw \\ '"}, **options)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_one(self, node, client, submitted, is_autocommit, name):
        task = self.submit(submitted, node, {name: HOSTILE[name]}, autocommit=is_autocommit)
        assert client.get(task.id) == task

    def test_all(self, node, client, submitted, is_autocommit):
        """Beside rows of dictionaries, cursors that bind in the client, and other loaders."""
        task = self.submit(
            submitted,
            node,
            HOSTILE,
            autocommit=is_autocommit,
            row_factory=dict_row,
            prepare_threshold=0,
        )
        assert client.get(task.id) == task
        assert task.created_at.utcoffset() == dt.timedelta(0)

    @pytest.mark.parametrize("level", list(psycopg.IsolationLevel))
    def test_isolation(self, node, client, submitted, level):
        task = self.submit(submitted, node, {}, isolation_level=level)
        assert client.get(task.id) == task

    @pytest.mark.parametrize("name", REFUSED)
    def test_what_is_refused(self, node, submitted, is_autocommit, name):
        with pytest.raises(StoreUnusable, match=name):
            self.submit(submitted, node, {name: REFUSED[name]}, autocommit=is_autocommit)

    def test_beside_rows_that_no_version_wrote(self, node, client, submitted, is_autocommit):
        """Also one that has the same key, whose task cannot be read."""
        with psycopg.connect(node.database_url) as connection:
            task = enqueue(connection, "no url", delay_seconds=3600, idempotency_key="hostile")
            connection.execute(
                "UPDATE taskflow_tasks SET options = '[1]', tags = '\"x\"' WHERE id = %s", [task.id]
            )
        assert self.submit(submitted, node, HOSTILE, autocommit=is_autocommit)
        with psycopg.connect(node.database_url) as connection:
            again = enqueue(connection, "no url", delay_seconds=3600, idempotency_key="hostile")
            assert again.id == task.id
            connection.execute("DELETE FROM taskflow_tasks WHERE id = %s", [task.id])
            connection.execute(
                "DELETE FROM taskflow_idempotency_keys WHERE task_ids = %s", [[task.id]]
            )
