"""A queue as it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from taskflow.model.flow import HostLimits, QueueSettings, Rate
from taskflow.model.task import TaskStatus
from taskflow.model.task_statistics import Ended


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


def limits_text(queue: Queue | QueueSettings) -> str:
    """Return the limits of a queue, each with its unit and scope; "" if it has none."""
    parts = list(_parts(queue))
    if queue.per_host is not None:
        parts += [f"{part} per host" for part in _parts(queue.per_host)]
    return ", ".join(parts)


def _parts(limits: Queue | QueueSettings | HostLimits) -> Iterator[str]:
    if limits.max_concurrency is not None:
        yield f"{limits.max_concurrency} at once"
    if limits.rate is not None:
        yield _rate_text(limits.rate)


def _rate_text(rate: Rate) -> str:
    text = f"{rate.per_second:.6g}/s"
    return text if rate.burst == 1 else f"{text} (burst {rate.burst})"
