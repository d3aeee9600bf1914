"""Keys that transactions of other programs have: no other client waits for them."""

from __future__ import annotations

import uuid

import psycopg
import pytest
import trio
from msgspec import UNSET

from taskflow.model.errors import KeyIsBusy, NotUnique
from taskflow.model.task import TaskStatus
from taskflow.model.uniqueness import Existing
from taskflow.settings import Settings
from taskflow.store.postgres import caller_transaction, submission
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import new_task
from tests.store.uniqueness_contract import FOR_EVER, debounced, rejecting, unique

SETTINGS = Settings(database_timeout_seconds=5.0)
KINDS = pytest.mark.parametrize("kind", [unique, debounced, rejecting])


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
def caller(database_url):
    """A transaction of another program, open until the test ends it."""
    with psycopg.connect(database_url) as connection:
        yield connection
        connection.rollback()


async def hold(caller, *tasks) -> None:
    """Store tasks in the transaction of the caller."""
    await trio.to_thread.run_sync(lambda: caller_transaction.add(caller, tasks, None))


@KINDS
@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_key_of_an_open_transaction(store, caller, kind, is_committed):
    """Requests of other keys are stored meanwhile, and its own when the transaction ends."""
    await hold(caller, kind(1))
    results = []

    async def submit(number: int) -> None:
        try:
            results.extend(await store.add([kind(number)]))
        except Exception as error:  # noqa: BLE001 - compared below
            results.append(error)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(2, 5):
                nursery.start_soon(submit, number)
            for name in ("two", "three"):
                [other] = await store.add([kind(1, name=name)])
                assert other.existing is UNSET
            [plain] = await store.add([new_task("7")])
            assert plain.existing is UNSET
            assert not results
            await trio.to_thread.run_sync(caller.commit if is_committed else caller.rollback)
    new = [one for one in results if getattr(one, "existing", None) is UNSET]
    assert (len(results), len(new)) == (3, 0 if is_committed else 1)


@KINDS
async def test_a_key_that_stays_busy(store, caller, kind, monkeypatch):
    """The request fails after some time, as if the store were unavailable; nothing is stored."""
    monkeypatch.setattr(submission, "MAX_KEY_WAIT_SECONDS", 0.1)
    await hold(caller, kind(1))
    with trio.fail_after(60):
        for tasks in ([kind(2)], [new_task("7"), kind(2)], [kind(2), *[new_task("7")] * 200]):
            with pytest.raises(KeyIsBusy):
                await store.add(tasks)
        plain, busy = await store.add_each([new_task("7"), kind(2)])
    assert isinstance(busy, KeyIsBusy)
    assert [task.id for task in (await store.page(limit=10)).tasks] == [plain.id]


async def test_many_busy_keys(store, caller, monkeypatch):
    """They take no more time than one of them, whatever their number."""
    monkeypatch.setattr(submission, "MAX_KEY_WAIT_SECONDS", 0.0)
    names = [str(number) for number in range(100)]
    await hold(caller, *(unique(1, name) for name in names))
    added = await store.add_each([unique(1, "free"), *(unique(2, name) for name in names)])
    assert added[0].existing is UNSET
    assert all(isinstance(one, KeyIsBusy) for one in added[1:])


async def test_a_retry_of_a_task_whose_key_is_busy(store, caller):
    """A bulk retry skips it, and retries the others."""
    tasks = await store.add([unique(1), unique(1, "two"), new_task("7", delay_seconds=FOR_EVER)])
    ids = [task.id for task in tasks]
    await store.cancel_many(ids)
    await hold(caller, unique(2))
    with trio.fail_after(60):
        with pytest.raises(KeyIsBusy):
            await store.retry(ids[0])
        assert await store.retry_many(ids) == set(ids[1:])
        await trio.to_thread.run_sync(caller.rollback)
        assert (await store.retry(ids[0])).status is TaskStatus.PENDING


async def test_rows_that_no_version_wrote(store, database_url):
    """A task with a key in its columns that its options do not have is met all the same."""
    [first] = await store.add([new_task("1", delay_seconds=FOR_EVER)])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE taskflow_tasks SET unique_key = 'one', unique_while = '{PENDING,NULL,x}', "
            "debounce_key = 'one', debounced = 2147483647, debounce_until = 'infinity'"
        )
        connection.commit()
        [met] = await store.add([unique(2)])
        assert (met.id, met.existing, met.unique) == (first.id, Existing.RETURNED, None)
        [folded] = await store.add([debounced(3)])
        assert (folded.id, folded.debounced) == (first.id, 2**31 - 1)
        connection.execute("UPDATE taskflow_tasks SET unique_while = NULL, debounced = -7")
        connection.commit()
    [new] = await store.add([unique(4)])
    assert new.existing is UNSET
    assert (await store.get(first.id)).debounced == -7


async def test_two_retries_at_the_same_moment(store, database_url):
    """One is retried; the response to the other names the task that has the key."""
    async with open_postgres(database_url, SETTINGS) as other:
        for number in range(10):
            tasks = []
            for one in (store, other):
                tasks += await one.add([unique(name=f"{number}")])
                await one.cancel(tasks[-1].id)
            ended: list[object] = []

            async def retry(one, task_id: uuid.UUID, ended: list[object] = ended) -> None:
                try:
                    ended.append((await one.retry(task_id)).status)
                except NotUnique as error:
                    ended.append(type(error))

            async with trio.open_nursery() as nursery:
                for one, task in zip((store, other), tasks, strict=True):
                    nursery.start_soon(retry, one, task.id)
            assert sorted(map(str, ended)) == sorted(map(str, [TaskStatus.PENDING, NotUnique]))
