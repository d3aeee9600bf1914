"""Announcement of commits that wait for a synchronous standby, after these commits.

A transaction that notifies holds a lock of the whole server from before its commit record until its
end. While it waits for the standby, no other such transaction can commit. So the functions of the
database do not notify in a session with ``taskflow.announces_later`` whose commits wait: the
session gets the messages as notices (migration 0031). It sends them in a transaction of its own,
which writes no data, and so waits for neither the disk nor the standby.

Functions in a schema that Citus distributes never notify: they run on a worker, and nodes listen on
the coordinator.

It does so on the same connection, in the same thread: a task of its own, on another connection,
would wake other nodes a millisecond later, and use more CPU.
"""

from __future__ import annotations

import contextlib
from typing import Final

import psycopg
from psycopg.pq import TransactionStatus

from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.session import OwnConnection

_NOTIFY: Final = load_queries()["notify_work"]


def announce(connection: OwnConnection) -> None:
    """Send the notifications that earlier transactions of this connection did not send.

    If that fails, or the process dies before, other nodes find the tasks when they poll.
    """
    notifications = list(dict.fromkeys(connection.unsent.take()))
    if notifications and connection.info.transaction_status is TransactionStatus.IDLE:
        channels, messages = zip(*notifications, strict=True)
        with contextlib.suppress(psycopg.Error):
            connection.execute(_NOTIFY, {"channels": list(channels), "messages": list(messages)})
