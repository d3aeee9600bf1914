"""Alerts by the client; the blocking one is made from it."""

from __future__ import annotations

import pytest

from taskflow import NotFound, Unprocessable

ALERT = {
    "on": "task_failed",
    "queue": "of-client",
    "to": [{"kind": "webhook", "url": "http://127.0.0.1:9/"}],
}


async def test_from_its_making_to_its_end(client):
    """Each request of the API has its method."""
    made = await client.alerts.put("of-client", ALERT)
    assert (made.on, made.queue, made.minimum) == ("task_failed", "of-client", 1)
    assert (await client.alerts.get("of-client")).to == made.to
    assert "of-client" in [one.name for one in await client.alerts.all()]
    changed = await client.alerts.update("of-client", {"minimum": 3, "queue": None})
    assert (changed.minimum, changed.queue) == (3, None)
    sent = await client.alerts.test("of-client")
    assert [one.id for one in await client.alerts.notifications("of-client")] == [sent.id]
    assert (await client.get(sent.tasks[0])).queue == "alerts"
    assert (await client.alerts.silence("of-client", 60)).silenced_until is not None
    assert (await client.alerts.silence("of-client", None)).silenced_until is None
    with pytest.raises(Unprocessable, match="rate does not belong to task_failed"):
        await client.alerts.put("of-client", {**ALERT, "rate": 0.5})
    await client.alerts.delete("of-client")
    with pytest.raises(NotFound):
        await client.alerts.get("of-client")
