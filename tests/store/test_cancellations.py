"""Cancellations on their way to the nodes of a process."""

from __future__ import annotations

import uuid

import pytest
import trio

from taskflow.model.task import ClaimKey
from taskflow.store.base import claims
from taskflow.store.base.claims import Cancellations, parse_cancellations

NODE, TASK, TOKEN = (uuid.UUID(int=n) for n in (1, 2, 3))
SENSE = f"{NODE}:{TOKEN}:{TASK}"


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("", []),
        (SENSE, [(NODE, ClaimKey(TASK, TOKEN))]),
        (f"{SENSE} {SENSE}", [(NODE, ClaimKey(TASK, TOKEN))] * 2),
        (f"x {SENSE} {SENSE}:{TASK} {NODE}:{TASK} ::", [(NODE, ClaimKey(TASK, TOKEN))]),
    ],
)
def test_words_are_read(words, read):
    """What makes sense is, whatever else is said beside it."""
    assert list(parse_cancellations(words)) == read


async def test_only_nodes_of_this_process_are_notified(autojump_clock):
    """From the moment in which they are known until they are gone; nothing is kept for others."""
    reported = Cancellations()
    reported.receive(SENSE)
    reported.register(NODE)
    with trio.move_on_after(1) as timeout:
        await reported.wait(NODE)
    assert timeout.cancelled_caught
    reported.receive(SENSE)
    assert await reported.wait(NODE) == {ClaimKey(TASK, TOKEN)}
    reported.unregister(NODE)
    reported.unregister(NODE)
    reported.receive(SENSE)
    assert reported._mailboxes == {}


async def test_unread_cancellations_are_bounded(monkeypatch):
    """A flood of words for a node that does not listen ends somewhere."""
    monkeypatch.setattr(claims, "MAX_UNDELIVERED", 10)
    reported = Cancellations()
    reported.register(NODE)
    for number in range(100):
        reported.notify(NODE, ClaimKey(uuid.UUID(int=number), TOKEN))
    assert len(await reported.wait(NODE)) == 10
    reported.notify(NODE, ClaimKey(TASK, TOKEN))
    assert await reported.wait(NODE) == {ClaimKey(TASK, TOKEN)}
