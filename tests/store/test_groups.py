"""Groups in PostgreSQL: transactions that finish members, add some and close a group at once."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import trio

from taskflow.enqueuing import enqueue
from taskflow.model.errors import GroupClosed, KeyIsBusy
from taskflow.model.groups import GroupCounts, GroupStatus, NewGroup, OnMemberFailure
from taskflow.model.options import TaskOptions
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.postgres import groups
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import completed, failed, new_task
from tests.store.groups_contract import completing

SETTINGS = Settings(database_timeout_seconds=10.0, database_connections=6)
FINISH = """
    UPDATE taskflow_tasks
    SET status = 'COMPLETED', finished_at = now(), result = '{}', claim_token = NULL, node_id = NULL
    WHERE id = %s
"""


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
async def other(database_url, store):
    """The store of another node."""
    async with open_postgres(database_url, SETTINGS) as other:
        yield other


@pytest.fixture
def connection(database_url) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


async def claims_of(store, members: int, **fields):
    """A closed group, and the claims of its members."""
    added = await store.groups.add(
        completing(is_open=False, **fields), [new_task() for _ in range(members)]
    )
    node = await store.register("here", lease_seconds=300)
    claims = await store.claim(node, limit=members + 10)
    return added.group, [claim for claim in claims if claim.queue != "done"]


async def is_waiting_for_lock(store) -> None:
    """Wait until a statement waits for a lock."""
    while True:
        rows = await store._statements.database.run(
            lambda connection: connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            ).fetchall()
        )
        if rows:
            return
        await trio.sleep(0.01)


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "rolled back"])
async def test_the_last_two_members_finish_at_once(store, connection, is_committed):
    """The second transaction waits for the first, and completes the group only if that did not."""
    group, (first, second) = await claims_of(store, 2)
    connection.execute(FINISH, [first.task_id])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.settle, [completed(second)])
            await is_waiting_for_lock(store)
            (connection.commit if is_committed else connection.rollback)()
    shown = await store.groups.get(group.id)
    assert (shown.status, shown.completions) == (
        (GroupStatus.COMPLETED, 1) if is_committed else (GroupStatus.CLOSED, 0)
    )
    if not is_committed:
        await store.settle([completed(first)])
    assert (await store.groups.get(group.id)).completions == 1


async def test_a_member_finishes_while_its_group_is_closed(store, connection):
    """Whichever commits last completes the group."""
    added = await store.groups.add(completing(), [new_task()])
    node = await store.register("here", lease_seconds=300)
    [claim] = await store.claim(node, limit=1)
    connection.execute(FINISH, [claim.task_id])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.groups.close, added.group.id)
            await is_waiting_for_lock(store)
            connection.commit()
    assert (await store.groups.get(added.group.id)).completions == 1


async def test_a_member_is_retried_while_its_group_completes(store, connection):
    """The group completes, and is CLOSED again until that member has finished again."""
    group, (first, second) = await claims_of(store, 2)
    await store.settle([failed(first)])
    connection.execute(FINISH, [second.task_id])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.retry, first.task_id)
            await is_waiting_for_lock(store)
            connection.commit()
    shown = await store.groups.get(group.id)
    assert (shown.status, shown.completions) == (GroupStatus.CLOSED, 1)
    assert shown.counts == GroupCounts(PENDING=1, COMPLETED=1)


async def test_transactions_of_callers(store, connection, monkeypatch):
    """One that adds a task keeps the group from being closed, and delays no end of a member."""
    monkeypatch.setattr(groups, "LOCK_WAIT_MILLISECONDS", 50)
    added = await store.groups.add(NewGroup(), [new_task()])
    group_id = added.group.id
    node = await store.register("here", lease_seconds=300)
    [claim] = await store.claim(node, limit=1)
    task = enqueue(connection, "http://example.com/", group=group_id)
    assert task.group == group_id
    with trio.fail_after(5):
        await store.settle([completed(claim)])
        await store.add([new_task(group=group_id)])
        for act in (store.groups.close, store.groups.cancel):
            with pytest.raises(KeyIsBusy, match="transaction"):
                await act(group_id)
    connection.commit()
    closed = await store.groups.close(group_id)
    assert closed.counts == GroupCounts(PENDING=2, COMPLETED=1)
    with pytest.raises(GroupClosed):
        await store.add([new_task(group=group_id)])


async def test_a_group_that_tasks_join_all_the_time(store, connection, monkeypatch):
    """While closing waits for those that came before, no others join; if it fails they do."""
    monkeypatch.setattr(groups, "LOCK_WAIT_MILLISECONDS", 60_000)
    monkeypatch.setattr(groups, "CLOSING_SECONDS", 60.0)
    added = await store.groups.add(NewGroup())
    group_id, joining = added.group.id, [new_task(group=added.group.id)]
    enqueue(connection, "http://example.com/", group=group_id)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.groups.close, group_id)
            await is_waiting_for_lock(store)
            with pytest.raises(GroupClosed, match="being closed"):
                await store.add(joining)
            connection.commit()
    assert (await store.groups.get(group_id)).counts == GroupCounts(PENDING=1)
    monkeypatch.setattr(groups, "LOCK_WAIT_MILLISECONDS", 1)
    monkeypatch.setattr(groups, "CLOSING_SECONDS", 0.0)
    added = await store.groups.add(NewGroup())
    enqueue(connection, "http://example.com/", group=added.group.id)
    with pytest.raises(KeyIsBusy):
        await store.groups.cancel(added.group.id)
    await store.add([new_task(group=added.group.id)])


async def test_a_task_that_joins_while_the_group_is_closed(store, connection):
    """It waits, and is refused."""
    added = await store.groups.add(NewGroup())
    connection.execute("SELECT FROM taskflow_groups FOR UPDATE")
    connection.execute("UPDATE taskflow_groups SET status = 'CLOSED'")
    refused = []

    async def join() -> None:
        try:
            await store.add([new_task(group=added.group.id)])
        except GroupClosed:
            refused.append(True)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            await is_waiting_for_lock(store)
            connection.commit()
    assert refused


@pytest.mark.parametrize("are_watched", [False, True], ids=["", "watched"])
async def test_many_ends_at_once(store, other, are_watched):
    """Two nodes finish, cancel and fail members with callbacks of several groups: no deadlock."""
    if are_watched:
        await store.record_events()
    options = TaskOptions(callback_url="http://example.com/", callback_host="example.com")
    added = [
        await store.groups.add(
            completing(is_open=False), [new_task(options=options) for _ in range(40)]
        )
        for _ in range(4)
    ]
    node = await store.register("here", lease_seconds=300)
    claims = await store.claim(node, limit=200)
    # Each batch has members of all groups, in another order.
    batches = [claims[start::10] for start in range(10)]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number, batch in enumerate(batches):
                chosen = (store, other)[number % 2]
                if number % 5 == 4:
                    ids = [claim.task_id for claim in reversed(batch)]
                    nursery.start_soon(chosen.cancel_many, ids)
                else:
                    end = (completed, failed)[number % 3 == 0]
                    ends = [end(claim) for claim in batch[:: (1, -1)[number % 2]]]
                    nursery.start_soon(chosen.settle, ends)
    for one in added:
        shown = await store.groups.get(one.group.id)
        assert (shown.status, shown.completions) == (GroupStatus.COMPLETED, 1)
        assert shown.counts.total == 40
    assert len((await store.page(limit=10)).tasks) == 10


async def test_another_process_died_while_it_canceled_the_rest(store, connection, monkeypatch):
    """Every node goes on where it ended."""
    monkeypatch.setattr(groups, "SWEEP_SECONDS", 0.01)
    rest = OnMemberFailure.CANCEL_REST
    group, claims = await claims_of(store, 3, on_failure=rest)
    connection.execute(
        "UPDATE taskflow_tasks SET status = 'FAILED', finished_at = now(), error = 'x', "
        "error_type = 'timeout', claim_token = NULL, node_id = NULL WHERE id = %s",
        [claims[0].task_id],
    )
    connection.commit()
    with trio.fail_after(30):
        while (await store.groups.get(group.id)).status is not GroupStatus.COMPLETED:
            await trio.sleep(0.02)
    assert (await store.groups.get(group.id)).counts == GroupCounts(FAILED=1, CANCELED=2)


async def test_a_task_that_cannot_be_canceled(store, connection, monkeypatch):
    """It keeps neither the other tasks of its group nor other groups from being canceled."""
    monkeypatch.setattr(groups, "SWEEP_SECONDS", 0.01)
    rest = OnMemberFailure.CANCEL_REST
    all_claims = [(await claims_of(store, 3, on_failure=rest))[1] for _ in range(2)]
    connection.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'no'; END $$
    """)
    connection.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON taskflow_tasks FOR EACH ROW "
        f"WHEN (NEW.id = '{all_claims[0][1].task_id}' AND NEW.status = 'CANCELED') "
        "EXECUTE FUNCTION refuse()"
    )
    connection.commit()
    for claims in all_claims:
        await store.settle([failed(claims[0])])
    with trio.fail_after(30):
        while (await store.count(limit=100)).total.counts[TaskStatus.CANCELED] < 3:
            await trio.sleep(0.01)
    found = (await store.groups.page(limit=2)).groups
    assert [group.status for group in found] == [GroupStatus.COMPLETED, GroupStatus.CLOSED]


async def test_rows_of_other_programs(store, connection):
    """Members that are deleted before they finish do not keep a group from completing."""
    group, claims = await claims_of(store, 2)
    await store.settle([completed(claims[0])])
    connection.execute("DELETE FROM taskflow_tasks WHERE id = %s", [claims[1].task_id])
    connection.commit()
    shown = await store.groups.get(group.id)
    assert shown.status is GroupStatus.COMPLETED
    assert shown.counts == GroupCounts(COMPLETED=1)
    # A template that cannot be stored leaves the group without a task, and the end is not lost.
    group, claims = await claims_of(store, 1)
    connection.execute("""UPDATE taskflow_groups SET completion = '{"payload": "x"}'""")
    connection.commit()
    assert await store.settle([completed(claims[0])]) == {claims[0].task_id}
    shown = await store.groups.get(group.id)
    assert (shown.status, shown.completion_task_id) == (GroupStatus.COMPLETED, None)
    connection.execute("TRUNCATE taskflow_tasks CASCADE")
    connection.commit()
    assert await store.groups.get(group.id) is None


async def test_plain_tasks_touch_no_group(store, connection):
    """Their ends append nothing to the tables of groups."""
    node = await store.register("here", lease_seconds=300)
    await store.add([new_task()])
    [claim] = await store.claim(node, limit=1)
    await store.settle([completed(claim)])
    for table in ("changes", "counts", "members"):
        [(rows,)] = connection.execute(f"SELECT count(*) FROM taskflow_group_{table}")
        assert rows == 0
