"""The status of a task."""

from __future__ import annotations

import enum


class TaskStatus(enum.StrEnum):
    """The status of a task; the last three are final unless a client retries the task."""

    PENDING = "PENDING"
    """It is scheduled, retrying, held, or waiting for a worker."""
    RUNNING = "RUNNING"
    """A node has claimed it."""
    COMPLETED = "COMPLETED"
    """The target returned a response that counts as success."""
    FAILED = "FAILED"
    """It failed; ``error_type`` has the reason."""
    CANCELED = "CANCELED"
    """A client canceled it."""

    @property
    def is_final(self) -> bool:
        """True if the task is finished (a client may still retry it)."""
        return self not in (TaskStatus.PENDING, TaskStatus.RUNNING)
