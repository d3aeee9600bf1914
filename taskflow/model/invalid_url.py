"""Errors of fetches, as far as they concern text that is no URL."""

from __future__ import annotations

from typing import ClassVar

from taskflow.model.errors import TaskFlowError
from taskflow.model.outcome import ErrorType


class FetchError(TaskFlowError):
    """The fetch failed for a reason that is the target's, the network's or the task's."""

    error_type: ClassVar[ErrorType]
    prefix: ClassVar[str]

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.prefix}: {reason}")
        self.reason = reason


class InvalidUrl(FetchError):
    """The text is not a URL that can be fetched."""

    error_type = ErrorType.INVALID_URL
    prefix = "invalid url"
