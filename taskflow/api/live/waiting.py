"""Requests that wait for a task."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Final

from quart import Response, request

from taskflow.api.live.feed import Feed
from taskflow.api.live.snapshot import Snapshot
from taskflow.api.reading.request_headers import preferences_of, preferred_wait
from taskflow.model.task import Task
from taskflow.schema.query import WaitRequest


class RequestedWait:
    """How long a request asks to wait for a task.

    Args:
        preferred: The values of ``Prefer``.
        wait: The parameter ``wait`` of the query, which takes precedence.

    Attributes:
        seconds: How long; 0 if the request does not ask to wait.
        applied: ``Preference-Applied`` (RFC 7240), if ``Prefer`` asks for the wait.
    """

    def __init__(self, preferred: Sequence[str], wait: int | None) -> None:
        preference = preferred_wait(preferences_of(preferred))
        self.seconds: Final = (preference or 0) if wait is None else wait
        self.applied: Final = f"wait={preference}" if preference and wait is None else None

    def confirm(self, response: Response) -> Response:
        """Add ``Preference-Applied`` to a response, if a preference was applied."""
        if self.applied is not None:
            response.headers["Preference-Applied"] = self.applied
        return response


def requested_wait(query: WaitRequest) -> RequestedWait:
    """Return how long the current request asks to wait."""
    return RequestedWait(request.headers.getlist("Prefer"), query.wait)


async def wait_until_finished(feed: Feed, task: Task, seconds: float) -> Task:
    """Return the task when it is finished, or as it is after the wait."""
    seen = await wait_for_task(feed, task.id, seconds, lambda now: now.task.status.is_final)
    return seen.task if seen else task


async def wait_for_task(
    feed: Feed, task_id: uuid.UUID, seconds: float, is_awaited: Callable[[Snapshot], bool]
) -> Snapshot | None:
    """Return the task when it is as awaited or the wait is over; ``None`` if there is none."""
    with feed.awaiting(task_id, is_awaited) as waiter:
        return await waiter.wait(seconds)
