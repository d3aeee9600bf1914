"""Credentials by the client; the blocking one is made from it."""

from __future__ import annotations

import pytest

from taskflow import Conflict, NotFound, Unprocessable

BEARER = {"kind": "bearer", "token": "t0ken", "hosts": ["a.example"]}


async def test_from_its_making_to_its_end(client):
    """What the service refuses is an error of its own kind."""
    made = await client.credentials.put("of-client", BEARER)
    assert (made.kind, made.hosts, made.used_by.queues) == ("bearer", ("a.example",), ())
    assert await client.credentials.get("of-client") == made
    assert made in await client.credentials.all()
    queue = await client.queues.put("with", credential="of-client")
    assert queue.credential == "of-client"
    with pytest.raises(Conflict, match="used by queue with"):
        await client.credentials.delete("of-client")
    task = await client.submit("x:", credential="of-client")
    assert task.credential == "of-client"
    with pytest.raises(Unprocessable, match="did you mean of-client"):
        await client.submit("x:", credential="off-client")
    assert (await client.queues.update("with", credential=None)).credential is None
    await client.credentials.delete("of-client")
    with pytest.raises(NotFound):
        await client.credentials.get("of-client")


async def test_force(client):
    await client.credentials.put("forced", BEARER)
    await client.queues.put("with", credential="forced")
    await client.credentials.delete("forced", force=True)
    assert (await client.queues.get("with")).credential == "forced"
    await client.queues.put("with")


async def test_errors_name_the_fields(client):
    with pytest.raises(Unprocessable, match="token is missing") as caught:
        await client.credentials.put("wrong", {"kind": "bearer", "hosts": ["a.example"]})
    assert "t0ken" not in str(caught.value)
