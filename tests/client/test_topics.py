"""Topics, by the clients against both stores."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from taskflow import BlockingClient, InvalidArgument, NotFound, TaskStatus, Unprocessable
from taskflow.model.signature import new_secret

NOWHERE = "http://127.0.0.1:9/"


async def test_a_topic(client):
    """Its endpoints, an event, its deliveries, and what failed is sent again."""
    name = uuid.uuid4().hex
    topic = await client.topics.put(name, queue="hooks")
    assert (topic.queue, topic.endpoints) == ("hooks", 0)
    assert (await client.topics.put(name)).queue == "hooks"
    assert name in [one.name async for one in client.topics.iter(page=1)]
    endpoint = await client.topics.put_endpoint(
        name, "a", NOWHERE, event_types=["invoice.*"], max_attempts=1
    )
    assert (endpoint.event_types, endpoint.enabled) == (("invoice.*",), True)
    await client.topics.put_endpoint(name, "b", NOWHERE, backoff="webhook", enabled=False)
    assert [one.name async for one in client.topics.endpoints(name, page=1)] == ["a", "b"]
    key, began = uuid.uuid4().hex, dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    event = await client.topics.publish(name, "invoice.paid", {"n": 1}, idempotency_key=key)
    again = await client.topics.publish(name, "invoice.paid", {"n": 1}, idempotency_key=key)
    assert again == event
    [task_id] = event.tasks
    task = await client.wait(task_id, 60)
    assert (task.status, task.delivery.event_id) == (TaskStatus.FAILED, event.id)
    found = [one.id async for one in client.topics.deliveries(name, "a", status="FAILED")]
    assert found == [task_id]
    assert (await client.topics.recover(name, "a", began)).count == 1
    assert len((await client.topics.test_endpoint(name, "a")).tasks) == 1
    secret = new_secret()
    assert (await client.topics.rotate_secret(name, "a")).signing_secret.startswith("whsec_")
    rotated = await client.topics.rotate_secret(
        name, "a", signing_secret=secret, overlap_seconds=60
    )
    assert (rotated.signing_secret, rotated.former_secret_until is None) == (secret, False)
    assert (await client.topics.endpoint(name, "a")).signing == "own"
    await client.topics.delete_endpoint(name, "a")
    with pytest.raises(NotFound):
        await client.topics.endpoint(name, "a")
    assert (await client.topics.get(name)).endpoints == 1
    await client.topics.delete(name)
    with pytest.raises(NotFound):
        await client.topics.get(name)


async def test_what_is_wrong(client):
    with pytest.raises(Unprocessable) as invalid:
        await client.topics.put("wrong", queue="/")
    assert [error.pointer for error in invalid.value.errors] == ["#/queue"]
    with pytest.raises(InvalidArgument):
        await client.topics.get("..")
    with pytest.raises(NotFound):
        await client.topics.publish("none", "x", 1)


def test_blocking(memory_server):
    with BlockingClient(memory_server.url) as client:
        client.topics.put("blocking")
        assert client.topics.publish("blocking", "x", 1).tasks == ()
        assert "blocking" in [one.name for one in client.topics.iter()]
        client.topics.delete("blocking")
