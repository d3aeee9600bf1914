"""Groups, by the clients against both stores."""

from __future__ import annotations

import uuid

import pytest

from taskflow import (
    BlockingClient,
    Conflict,
    GroupStatus,
    InvalidArgument,
    NotFound,
    Submission,
    Unprocessable,
)

LATER = {"delay_seconds": 3600}


async def test_tasks_join_a_group(client):
    """One by one, or many; and none once it is closed."""
    name = uuid.uuid4().hex
    group = await client.groups.create(
        name=name, on_complete=Submission("x:", max_attempts=2), tags={"a": 1}
    )
    assert group.status is GroupStatus.OPEN
    task = await client.submit("x", group=group.id, **LATER)
    assert task.group == group.id
    many = [Submission("x", group=str(group.id), **LATER) for _ in range(3)]
    assert all([one.task async for one in client.submit_many(many)])
    listed = await client.list_tasks(group=group.id)
    assert len(listed) == 4
    closed = await client.groups.close(group.id)
    assert (closed.status, closed.counts.PENDING) == (GroupStatus.CLOSED, 4)
    with pytest.raises(Conflict, match="CLOSED"):
        await client.submit("x", group=group.id)
    assert [one.id async for one in client.groups.iter(name=name, status="CLOSED")] == [group.id]
    assert await client.cancel_many(group=group.id) is not None
    completed = await client.groups.get(group.id)
    assert (completed.status, completed.counts.CANCELED) == (GroupStatus.COMPLETED, 4)
    task = await client.wait(completed.completion_task_id, 60)
    assert (task.completion_of, task.max_attempts) == (group.id, 2)
    with pytest.raises(Conflict):
        await client.groups.cancel(group.id)
    assert (await client.groups.retry(group.id)).completions == 1


async def test_an_array_as_a_group(client):
    key = uuid.uuid4().hex
    tasks = [Submission("x", **LATER), Submission("y", **LATER)]
    group = await client.groups.create(tasks, on_failure="cancel_rest", idempotency_key=key)
    again = await client.groups.create(tasks, on_failure="cancel_rest", idempotency_key=key)
    assert again.id == group.id
    canceled = await client.groups.cancel(group.id)
    assert (canceled.status, canceled.counts.CANCELED) == (GroupStatus.CANCELED, 2)


async def test_events(client):
    """Of its tasks, until it has finished; also for those who come later."""
    group = await client.groups.create()
    async with client.groups.iter_events(group.id) as events:
        new = Submission("x:", group=group.id, delay_seconds=0.5)
        tasks = [one.task async for one in client.submit_many([new, new])]
        await client.groups.close(group.id)
        ends = [event.task_id async for event in events if event.status.is_final]
    assert set(ends) == {task.id for task in tasks}
    assert [event async for event in client.groups.iter_events(group.id)] == []


async def test_what_is_wrong(client):
    with pytest.raises(Unprocessable) as invalid:
        await client.groups.create(["x"], on_failure="stop")
    assert [error.pointer for error in invalid.value.errors] == ["#/on_failure"]
    with pytest.raises(InvalidArgument):
        await client.groups.get("x")
    for act in (client.groups.get, client.groups.close, client.groups.cancel, client.groups.retry):
        with pytest.raises(NotFound):
            await act(uuid.uuid4())


def test_blocking(memory_server):
    with BlockingClient(memory_server.url) as client:
        group = client.groups.create(queue="blocking")
        assert [one.id for one in client.groups.iter(queue="blocking")] == [group.id]
        assert client.groups.close(group.id).status is GroupStatus.COMPLETED
