"""What can be traced, as those see it who do it: these do nothing, at hardly any cost.

Parents are handed on by hand, as fields of W3C Trace Context or as objects, never by what is
current: a task goes through channels, statements and processes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Self

from taskflow.fetch.interface import FetchRequest
from taskflow.model.outcome import Outcome
from taskflow.model.task import Claim, Task
from taskflow.store.base.claims import Release, Retry, Settlement


class AddTrace:
    """Tasks being handed in, from their reading to their commit: the block.

    Args:
        fields: ``traceparent`` and ``tracestate`` that the tasks are to keep.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields: Final = fields

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        pass

    def added(self, tasks: Sequence[Task]) -> None:
        """They are kept."""


class RequestTrace:
    """A request to the API and its answer."""

    def found(self, route: str) -> None:
        """It goes to this route, named without the values in it."""

    def adding(self) -> AddTrace:
        """It hands in tasks."""
        return AddTrace({})

    def answered(self, status: int) -> None:
        """The head of the answer says so."""

    def failed(self, error: BaseException) -> None:
        """It cannot be answered for a fault of ours."""

    def end(self) -> None:
        """The answer was sent, or its reader has left."""


class AttemptTrace:
    """One attempt of a task, from its claim to the write of its outcome."""

    def fetching(self, _request: FetchRequest) -> Mapping[str, str] | None:
        """The fetch begins; says what the target is to hear, unless that is what the POST said."""
        return None

    def fetched(self, outcome: Outcome) -> None:
        """The outcome is there and waits to be written."""

    def settled(self, write: Settlement | Retry | Release | None, *, is_late: bool) -> None:
        """It was written, or came too late; ``None`` if there was nothing to be written."""


class Tracing:
    """Traces of a process.

    Attributes:
        is_on: Whether there are any.
    """

    is_on: bool = False

    def request(
        self, _method: str, _path: str, _scheme: str, _fields: Mapping[str, str]
    ) -> RequestTrace:
        """A request has come, with these fields of Trace Context."""
        return RequestTrace()

    def claiming(self, token: uuid.UUID) -> None:
        """Tasks are asked for by this token."""

    def claimed(self, claims: Sequence[Claim]) -> None:
        """These were claimed together."""

    def attempt(self, _claim: Claim) -> AttemptTrace:
        """A worker begins with a claim."""
        return NO_TRACE


NO_TRACE: Final = AttemptTrace()
NO_TRACING: Final = Tracing()
