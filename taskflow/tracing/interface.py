"""The tracing interface; these implementations do nothing, at hardly any cost.

Parents of spans are passed explicitly, as W3C Trace Context or as objects, and never implicitly as
a current span: a task goes through channels, statements and processes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Self

from taskflow.fetch.interface import FetchRequest
from taskflow.model.outcome import Outcome
from taskflow.model.task import Claim, Task
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.store.base.parking import Parking


class AddTrace:
    """A context manager around the storing of submitted tasks.

    Args:
        fields: ``traceparent`` and ``tracestate`` to store with the tasks.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields: Final = fields

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        pass

    def added(self, tasks: Sequence[Task]) -> None:
        """The tasks were stored."""


class RequestTrace:
    """A request to the API and its response."""

    def routed(self, route: str) -> None:
        """The request matched this route, such as ``/tasks/{id}``."""

    def adding(self) -> AddTrace:
        """The request submits tasks."""
        return AddTrace({})

    def answered(self, status: int) -> None:
        """The response has this status."""

    def failed(self, error: BaseException) -> None:
        """An internal error prevented a response."""

    def end(self) -> None:
        """The response was sent, or the client has left."""


class AttemptTrace:
    """An attempt of a task, from its claim to its written outcome."""

    def fetching(self, _request: FetchRequest) -> Mapping[str, str] | None:
        """The fetch starts; returns the headers of Trace Context, ``None`` for the task's own."""
        return None

    def fetched(self, outcome: Outcome) -> None:
        """The fetch ended with this outcome, which is to be written."""

    def settled(
        self, write: Settlement | Retry | Release | Parking | None, *, is_late: bool
    ) -> None:
        """The outcome was written, or too late; ``None`` if there was nothing to write."""


class Tracing:
    """Creates the spans of a process.

    Attributes:
        is_enabled: Whether there are any.
    """

    is_enabled: bool = False

    def request(
        self, _method: str, _path: str, _scheme: str, _fields: Mapping[str, str]
    ) -> RequestTrace:
        """A request has arrived, with these headers of Trace Context."""
        return RequestTrace()

    def claiming(self, token: uuid.UUID) -> None:
        """A claim with this token starts."""

    def claimed(self, claims: Sequence[Claim]) -> None:
        """These tasks were claimed together."""

    def attempt(self, _claim: Claim) -> AttemptTrace:
        """A worker starts a claim."""
        return NO_TRACE


NO_TRACE: Final = AttemptTrace()
NO_TRACING: Final = Tracing()
