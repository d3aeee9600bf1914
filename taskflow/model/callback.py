"""Callbacks: how the end of a task is told, by a task of its own.

The database makes them by itself, in the transaction of the end (migration 0008); this is the same
for tasks in memory, and what both have to be like.
"""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.options import TaskOptions
from taskflow.model.task import NewTask, Task

CALLBACK_QUEUE: Final = "callbacks"
# As the Standard Webhooks advise ("Retry schedule"): in all about three days and a half.
PAUSES_SECONDS: Final = (
    *(5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0),
    *(50_400.0, 72_000.0, 86_400.0),
)
MAX_ATTEMPTS: Final = len(PAUSES_SECONDS) + 1
RETRY_ON: Final = ("3xx", "4xx", "5xx")


class _Request(msgspec.Struct, frozen=True):
    """The payload of a callback."""

    url: str
    method: str
    headers: dict[str, str]
    follow_redirects: bool
    body: Task


def callback_of(ended: Task, url: str, options: TaskOptions) -> NewTask:
    """The task by which the end of a task is told.

    Where it is sent to is where the signature is meant for, so redirects are not followed. It
    holds what the task does, so it is kept no longer.

    Args:
        ended: The task at its end, which names its callback already.
        url: Who is to be told.
        options: How it was to be run.
    """
    request = _Request(
        url,
        method="POST",
        headers={"Content-Type": "application/json"},
        follow_redirects=False,
        body=ended,
    )
    return NewTask(
        msgspec.Raw(msgspec.json.encode(request)),
        queue=CALLBACK_QUEUE,
        max_attempts=MAX_ATTEMPTS,
        retention_seconds=ended.retention,
        host=options.callback_host,
        authority=options.callback_authority or "",
        options=TaskOptions(
            backoff=PAUSES_SECONDS,
            retry_on=RETRY_ON,
            traceparent=options.traceparent,
            tracestate=options.tracestate,
            callback_of=ended.id,
        ),
    )
