"""``InvalidUrl``, and the base class of all errors of a fetch."""

from __future__ import annotations

from typing import ClassVar

from taskflow.model.errors import TaskFlowError
from taskflow.model.outcome import ErrorType


class FetchError(TaskFlowError):
    """The fetch failed because of the target, the network or the task."""

    error_type: ClassVar[ErrorType]
    prefix: ClassVar[str]

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.prefix}: {reason}")
        self.reason = reason


class InvalidUrl(FetchError):
    """The URL is invalid or cannot be fetched."""

    error_type = ErrorType.INVALID_URL
    prefix = "invalid url"
