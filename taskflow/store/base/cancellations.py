"""Cancellations of tasks that run, on their way to the nodes that run them.

Whoever cancels a task takes the claim away in the same statement, and tells which one it was: to
a node of this process by a call, to the others by a notification. A claim is known by its token
too, for the task may be claimed again, by the same node, before the word of the first claim comes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

from taskflow.model.task import ClaimKey
from taskflow.wakeup import WakeUp

CHANNEL: Final = "taskflow_canceled"
# Of one node, until it has heard of them: far more than it may hold, and an end all the same.
MAX_UNDELIVERED: Final = 10_000


class _Mailbox:
    """What a node has not heard of yet."""

    def __init__(self) -> None:
        self.wake_up: Final = WakeUp()
        self.keys: set[ClaimKey] = set()


class Cancellations:
    """What the nodes of this process are to hear of. Belongs to the Trio thread."""

    def __init__(self) -> None:
        self._mailboxes: dict[uuid.UUID, _Mailbox] = {}

    def open_for(self, node_id: uuid.UUID) -> None:
        """Keep what is told to this node from now on."""
        self._mailboxes[node_id] = _Mailbox()

    def close_for(self, node_id: uuid.UUID) -> None:
        """The node is gone."""
        self._mailboxes.pop(node_id, None)

    def tell(self, node_id: uuid.UUID, key: ClaimKey) -> None:
        """The task of this claim was canceled. Other processes' nodes are passed over."""
        mailbox = self._mailboxes.get(node_id)
        if mailbox is not None and len(mailbox.keys) < MAX_UNDELIVERED:
            mailbox.keys.add(key)
            mailbox.wake_up.notify()

    def hear(self, words: str) -> None:
        """The same in the words of a notification."""
        for node_id, key in parse(words):
            self.tell(node_id, key)

    async def wait(self, node_id: uuid.UUID) -> set[ClaimKey]:
        """What was told to the node since the last wait, once that is something."""
        mailbox = self._mailboxes[node_id]
        await mailbox.wake_up.wait()
        keys, mailbox.keys = mailbox.keys, set()
        return keys


def parse(words: str) -> Iterator[tuple[uuid.UUID, ClaimKey]]:
    """Read nodes and claims (see ``cancel_if_open``); whatever else is said is passed over."""
    for word in words.split():
        try:
            node_id, token, task_id = map(uuid.UUID, word.split(":"))
        except ValueError:  # somebody else's words
            continue
        yield node_id, ClaimKey(task_id, token)
