"""Tasks with unique and debounce keys that are enqueued in transactions of others."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import psycopg
import pytest

from taskflow import Conflict, Submission
from taskflow import enqueue as enqueue_untyped
from taskflow import enqueue_many as enqueue_many_untyped
from taskflow.model.uniqueness import Existing, OnConflict, Unique
from tests.api.conftest import open_database

enqueue: Any = enqueue_untyped
enqueue_many: Any = enqueue_many_untyped
SOON_SECONDS = 90.0
LATER_SECONDS = 3600.0


@pytest.fixture(scope="module")
def url(postgres_server):
    """A database without a service."""
    with open_database(postgres_server, is_migrated=True) as url:
        yield url


@pytest.fixture
def connections(url):
    """Two connections to it, which has no tasks."""
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        one.execute("DELETE FROM taskflow_tasks")
        one.execute("DELETE FROM taskflow_idempotency_keys")
        one.commit()
        yield one, other
        one.rollback()
        other.rollback()


def submit(connection, payload: str, on_conflict: OnConflict = OnConflict.RETURN):
    unique = Unique("one", on_conflict=on_conflict)
    return enqueue(connection, payload, unique=unique, delay_seconds=LATER_SECONDS)


def test_an_existing_task_is_returned_or_replaced(connections):
    """The change is part of the transaction."""
    one, other = connections
    first = submit(one, "a")
    one.commit()
    second = submit(other, "b")
    assert (second.id, second.existing) == (first.id, Existing.RETURNED)
    replaced = submit(other, "c", OnConflict.REPLACE)
    assert (replaced.id, replaced.existing) == (first.id, Existing.REPLACED)
    assert replaced.payload == "c"
    other.rollback()
    assert submit(other, "d").payload == "a"


def test_a_rejection_leaves_the_transaction_as_it_is(connections):
    """Nothing of the call is stored, and what was stored before it is."""
    one, _ = connections
    first = submit(one, "a")
    rejected = Submission("b", unique={"key": "one", "on_conflict": "reject"})
    with pytest.raises(Conflict, match=str(first.id)) as caught:
        enqueue_many(one, [Submission("c", unique={"key": "two"}), rejected])
    assert caught.value.type == "/problems/not-unique"
    assert [error.pointer for error in caught.value.errors] == ["#/1/unique"]
    one.commit()
    assert one.execute("SELECT id FROM taskflow_tasks").fetchall() == [(first.id,)]


def test_where_each_statement_commits(connections):
    """All tasks of a call are stored by one statement; a repetition returns them in order."""
    one, other = connections
    one.commit()
    one.autocommit = True
    many = [Submission(number, unique={"key": str(number % 3)}) for number in range(1100)]
    added = enqueue_many(one, many, idempotency_key="k")
    assert [task.existing for task in added[:4]] == [msgspec.UNSET] * 3 + [Existing.RETURNED]
    assert len({task.id for task in added}) == 3
    again = enqueue_many(other, many, idempotency_key="k")
    assert [task.id for task in again] == [task.id for task in added]


def test_debounce(connections):
    one, _ = connections
    debounce = {"key": "one", "delay_seconds": LATER_SECONDS}
    first, second = (enqueue(one, number, debounce=debounce) for number in (1, 2))
    assert (first.debounced, second.debounced, second.id) == (0, 1, first.id)


def test_a_call_waits_for_a_transaction_that_has_the_key(connections, url):
    """It stores the task if that transaction is rolled back."""
    one, other = connections
    submit(one, "a")
    second: list[Any] = []
    thread = threading.Thread(target=lambda: second.append(submit(other, "b")))
    thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as watching:
        while watching.execute(waiting, [other.info.backend_pid]).fetchone() == (0,):
            time.sleep(0.01)
    one.rollback()
    thread.join(SOON_SECONDS)
    assert [task.existing for task in second] == [msgspec.UNSET]
