"""Tasks that are submitted with SQL: their nodes, counts, events, keys and transactions."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from taskflow import BlockingClient, TaskStatus
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.client.test_enqueue import SOON_SECONDS, is_known, once, path_of, told_up_to

Connection = psycopg.Connection[Any]


@pytest.fixture
def client(node) -> Iterator[BlockingClient]:
    with BlockingClient(node.server.url) as client:
        yield client


@pytest.fixture
def connection(node) -> Iterator[Connection]:
    with psycopg.connect(node.database_url) as connection:
        yield connection
        connection.rollback()


def enqueue(connection: Connection, payload: object, **options: object) -> uuid.UUID:
    given = "".join(f', "{name}" => %({name})s' for name in options)
    values = {
        name: Jsonb(value) if isinstance(value, (dict, list)) else value
        for name, value in options.items()
    }
    statement = f"SELECT taskflow_enqueue(%(payload)s{given})"
    [(task_id,)] = connection.execute(statement, {"payload": Jsonb(payload), **values})  # type: ignore[arg-type]
    return task_id


def enqueue_many(
    connection: Connection, tasks: list[Any], key: str | None = None
) -> list[uuid.UUID]:
    statement = "SELECT taskflow_enqueue_many(%s, idempotency_key => %s)"
    return [task_id for (task_id,) in connection.execute(statement, [Jsonb(tasks), key])]


class TestTransactions:
    def test_nodes_hear_of_the_commit(self, node, connection, target):
        """They would look by themselves every two hours only."""
        url = once(target)
        task_id = enqueue(connection, url)
        assert not is_known(node, task_id)
        connection.commit()
        assert target.wait_for(path_of(url, target))

    def test_a_rollback_removes_the_task(self, node, client, connection):
        before = client.stats().total.counts
        task_id = enqueue(connection, "no url")
        many = enqueue_many(connection, [{"payload": "no url"}] * 3)
        connection.rollback()
        assert not any(is_known(node, one) for one in [task_id, *many])
        assert client.stats().total.counts == before

    def test_an_error_leaves_the_rest_of_the_transaction(self, node, connection):
        """With a savepoint, as for every error of PostgreSQL."""
        kept = enqueue(connection, "no url", delay_seconds=3600)
        with pytest.raises(psycopg.Error) as caught, connection.transaction():
            enqueue(connection, "no url", priority=1000)
        connection.commit()
        assert caught.value.sqlstate == "TF422"
        assert (
            caught.value.diag.message_primary == "priority must be a whole number from -100 to 100"
        )
        assert is_known(node, kept)

    def test_counts_and_events(self, client, connection, target):
        """The task counts, and a stream has its events in order, at the commit."""
        queue = f"q{uuid.uuid4().hex}"
        with client.iter_events() as reported:
            running = client.submit(target.url + "/text", wait_seconds=60)
            assert next(reported).task_id == running.id
            task_id = enqueue(connection, target.url + "/text", queue=queue)
            connection.commit()
            seen = [
                event.status for event in told_up_to(reported, task_id) if event.task_id == task_id
            ]
        assert seen == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.COMPLETED]
        assert client.queues.get(queue).counts[TaskStatus.COMPLETED] == 1

    def test_a_trigger_submits(self, node, client, connection, target):
        """An outbox: each inserted row submits a task, by a role that may do nothing else."""
        url = once(target)
        connection.execute(
            """
            CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, url text);
            CREATE FUNCTION announce_order() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM taskflow_enqueue(
                    to_jsonb(NEW.url), tags => jsonb_build_object('order', NEW.id));
                RETURN NULL;
            END $$;
            CREATE TRIGGER announce_order AFTER INSERT ON orders
                FOR EACH ROW EXECUTE FUNCTION announce_order();
            """
        )
        connection.execute("INSERT INTO orders (url) VALUES (%s)", [url])
        connection.execute("DROP TABLE orders; DROP FUNCTION announce_order")
        connection.commit()
        assert target.wait_for(path_of(url, target))


class TestEncryption:
    def test_a_service_that_encrypts_payloads(self, postgres_server):
        """SQL stores no plain text then, and accepts tasks again once it does not encrypt."""
        with (
            open_database(postgres_server, is_migrated=True) as url,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            enqueue(connection, "no url")
            for encrypt in (("results", "payloads"), ()):
                with LiveServer(database_url=url, encrypt=encrypt) as server:
                    server.run(b"1")  # its node is registered
                if encrypt:
                    with pytest.raises(
                        psycopg.Error, match="SQL cannot encrypt payloads"
                    ) as caught:
                        enqueue(connection, "no url")
                    assert caught.value.sqlstate == "TF422"
                else:
                    enqueue(connection, "no url")


class TestTasksThatDependOnOthers:
    def test_an_order_key(self, client, connection, target):
        """The tasks of a transaction run in their order, before all later tasks."""
        key = {"order_key": str(uuid.uuid4()), "queue": "ordered"}
        first = enqueue(connection, target.url + "/text", **key)
        others = enqueue_many(connection, [{"payload": target.url + "/text", **key}] * 2)
        connection.commit()
        last = client.submit(target.url + "/text", **key)
        tasks = [client.wait(one, SOON_SECONDS) for one in (first, *others, last.id)]
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert tasks == sorted(tasks, key=lambda task: task.started_at)

    def test_parents(self, client, connection, target):
        """Names of the same array and ids of other tasks are parents."""
        before = enqueue(connection, target.url + "/text")
        first, second, third = enqueue_many(
            connection,
            [
                {"payload": target.url + "/text", "after": ["b", str(before)]},
                {"payload": target.url + "/text", "name": "b"},
                {"payload": target.url + "/text", "after": ["b"]},
            ],
        )
        connection.commit()
        tasks = [client.wait(one, SOON_SECONDS) for one in (first, second, third)]
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert set(client.get(first).after) == {before, second}
        assert tasks[1].finished_at <= min(tasks[0].started_at, tasks[2].started_at)

    def test_a_group(self, client, connection, target):
        """The task is a member, and a closed group rejects it: TF409."""
        group = client.groups.create()
        task_id = enqueue(connection, target.url + "/text", group=group.id)
        connection.commit()
        client.groups.close(group.id)
        with pytest.raises(psycopg.Error, match="takes no more tasks: it is ") as caught:
            enqueue(connection, target.url + "/text", group=group.id)
        assert caught.value.sqlstate == "TF409"
        assert client.wait(task_id, SOON_SECONDS).group == group.id


class TestKeys:
    def test_a_unique_key(self, connection):
        """It returns the other task, or rejects the submission: TF409."""
        unique = {"key": str(uuid.uuid4())}
        first = enqueue(connection, "x", unique=unique, delay_seconds=3600)
        assert enqueue(connection, "y", unique=unique) == first
        with pytest.raises(psycopg.Error, match=f"the task {first} has this unique key") as caught:
            enqueue(connection, "y", unique={**unique, "on_conflict": "reject"})
        assert caught.value.sqlstate == "TF409"

    def test_a_debounce_key(self, connection):
        debounce = {"key": str(uuid.uuid4()), "delay_seconds": 3600}
        first, second = (enqueue(connection, number, debounce=debounce) for number in (1, 2))
        assert first == second
        found = "SELECT payload::text, debounced FROM taskflow_tasks WHERE id = %s"
        assert connection.execute(found, [first]).fetchall() == [("2", 1)]

    def test_an_idempotency_key(self, connection):
        """The same call returns the same tasks; another call, and deleted tasks, are errors."""
        key = str(uuid.uuid4())
        tasks = [{"payload": "x", "delay_seconds": 3600}, {"payload": "y", "delay_seconds": 3600}]
        first = enqueue_many(connection, tasks, key)
        assert enqueue_many(connection, tasks, key) == first
        reused = pytest.raises(psycopg.Error, match="used by a different request")
        with reused as caught, connection.transaction():
            enqueue_many(connection, tasks[:1], key)
        assert caught.value.sqlstate == "TF422"
        connection.execute("DELETE FROM taskflow_tasks WHERE id = ANY (%s)", [first])
        with pytest.raises(psycopg.Error, match="was deleted") as caught:
            enqueue_many(connection, tasks, key)
        assert caught.value.sqlstate == "TF410"

    def test_an_idempotency_key_of_a_keyed_task(self, connection):
        key, unique = str(uuid.uuid4()), {"key": str(uuid.uuid4())}
        first = enqueue(connection, "x", unique=unique, idempotency_key=key)
        assert enqueue(connection, "x", unique=unique, idempotency_key=key) == first

    @pytest.mark.parametrize("is_kept", [True, False])
    def test_a_call_waits_for_a_transaction_that_has_the_key(self, node, connection, is_kept):
        """It returns the task of that one if it commits, and else stores its own."""
        key, second = str(uuid.uuid4()), []

        def work() -> None:
            with psycopg.connect(node.database_url, autocommit=True) as other:
                pids.append(other.info.backend_pid)
                second.append(enqueue(other, "x", idempotency_key=key, delay_seconds=3600))

        pids: list[int] = []
        first = enqueue(connection, "x", idempotency_key=key, delay_seconds=3600)
        thread = threading.Thread(target=work)
        thread.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        )
        with psycopg.connect(node.database_url, autocommit=True) as watching:
            while not pids or watching.execute(waiting, pids).fetchone() == (0,):
                time.sleep(0.01)
        connection.commit() if is_kept else connection.rollback()
        thread.join(SOON_SECONDS)
        assert (second == [first]) is is_kept
        assert is_known(node, second[0])
