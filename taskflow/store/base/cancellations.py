"""Cancellations of running tasks, on their way to the nodes that run them.

A cancel ends the claim in the same statement, and reports which claim it was: to a node of this
process by a call, to other nodes by a notification. A claim is identified by its token too, because
the same node may have claimed the task again before the notification arrives.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

from taskflow.model.task import ClaimKey
from taskflow.wakeup import WakeUp

CHANNEL: Final = "taskflow_canceled"
# Claims that are kept for a node until it reads them: far more than a node may hold.
MAX_UNDELIVERED: Final = 10_000


class _Mailbox:
    """Canceled claims that a node has not read yet."""

    def __init__(self) -> None:
        self.filled: Final = WakeUp()
        self.keys: set[ClaimKey] = set()


class Cancellations:
    """Canceled claims of the nodes of this process. Belongs to the Trio thread."""

    def __init__(self) -> None:
        self._mailboxes: dict[uuid.UUID, _Mailbox] = {}

    def register(self, node_id: uuid.UUID) -> None:
        """Keep cancellations for this node from now on."""
        self._mailboxes[node_id] = _Mailbox()

    def unregister(self, node_id: uuid.UUID) -> None:
        """Stop keeping cancellations for this node."""
        self._mailboxes.pop(node_id, None)

    def notify(self, node_id: uuid.UUID, key: ClaimKey) -> None:
        """Report that the task of this claim was canceled; nodes of other processes are ignored."""
        mailbox = self._mailboxes.get(node_id)
        if mailbox is not None and len(mailbox.keys) < MAX_UNDELIVERED:
            mailbox.keys.add(key)
            mailbox.filled.notify()

    def receive(self, payload: str) -> None:
        """Process a notification of another node."""
        for node_id, key in parse(payload):
            self.notify(node_id, key)

    async def wait(self, node_id: uuid.UUID) -> set[ClaimKey]:
        """Wait until claims of the node were canceled since the last wait, and return them."""
        mailbox = self._mailboxes[node_id]
        await mailbox.filled.wait()
        keys, mailbox.keys = mailbox.keys, set()
        return keys


def parse(payload: str) -> Iterator[tuple[uuid.UUID, ClaimKey]]:
    """Yield the nodes and claims of a notification (see ``cancel_if_open``); ignore the rest."""
    for word in payload.split():
        try:
            node_id, token, task_id = map(uuid.UUID, word.split(":"))
        except ValueError:  # from another program
            continue
        yield node_id, ClaimKey(task_id, token)
