"""Callbacks: tasks that send the outcome of another task to its ``callback_url``.

In PostgreSQL, a trigger creates them in the transaction in which the task finishes (migration
0008). This module is the equivalent for tasks in memory, and the reference for both.
"""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.options import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS, TaskOptions
from taskflow.model.task import NewTask, Task

CALLBACK_QUEUE: Final = "callbacks"
RETRY_ON: Final = ("3xx", "4xx", "5xx")


class _Request(msgspec.Struct, frozen=True):
    """The payload of a callback."""

    url: str
    method: str
    headers: dict[str, str]
    follow_redirects: bool
    body: Task


def callback_of(finished: Task, url: str, options: TaskOptions) -> NewTask:
    """Return the callback of a finished task.

    Redirects are not followed, because the signature is meant for the configured receiver. The
    callback contains the task, so it is kept no longer than the task.

    Args:
        finished: The finished task, with its ``callback_id``.
        url: The URL to which the outcome is sent.
        options: The options of the task.
    """
    request = _Request(
        url,
        method="POST",
        headers={"Content-Type": "application/json"},
        follow_redirects=False,
        body=finished,
    )
    return NewTask(
        msgspec.Raw(msgspec.json.encode(request)),
        queue=CALLBACK_QUEUE,
        max_attempts=WEBHOOK_ATTEMPTS,
        retention_seconds=finished.retention_seconds,
        host=options.callback_host,
        authority=options.callback_authority or "",
        options=TaskOptions(
            backoff=WEBHOOK_SECONDS,
            retry_on=RETRY_ON,
            traceparent=options.traceparent,
            tracestate=options.tracestate,
            callback_of=finished.id,
        ),
    )
