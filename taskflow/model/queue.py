"""A queue as it is shown."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from taskflow.model.flow import HostLimits, Rate
from taskflow.model.statistics import Ended
from taskflow.model.task import TaskStatus


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: what is asked of it, and how it stands.

    Attributes:
        name: Its name.
        paused: Whether nothing of it is started.
        max_concurrency: How many of its tasks may run at once, on all nodes together.
        rate: How many of its tasks may be started.
        per_host: The same for its tasks of each host.
        counts: How many of its tasks have each status.
        oldest_waiting_seconds: For how long its oldest PENDING task has been due; ``None`` if none
            is.
        ended: How many of its tasks came to which end.
    """

    name: str
    paused: bool
    max_concurrency: int | None
    rate: Rate | None
    per_host: HostLimits | None
    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    ended: Mapping[TaskStatus, Ended]
