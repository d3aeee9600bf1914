"""The declaration of the query of ``GET /failures``."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from taskflow.model.grouped_failures import FailureFilter, FailureState
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Moment
from taskflow.schema.query import DEFAULT_PAGE, AnyQueueName, HostText, Limit
from taskflow.schema.reader import Reader


class FailuresRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /failures``."""

    state: Annotated[
        FailureState | None,
        Meta(
            description="`open` for failures with FAILED tasks, `resolved` for failures of the "
            "last seven days without any, `all` for both. Default: `open`.",
            examples=["open"],
        ),
    ] = None
    queue: Annotated[
        AnyQueueName | None,
        Meta(description="Only failures of tasks of this queue.", examples=["mail"]),
    ] = None
    host: Annotated[
        HostText | None,
        Meta(
            description="Only failures of tasks for this host, with its port unless it is the "
            "default, as `GET /hosts` shows it.",
            examples=["example.com"],
        ),
    ] = None
    error_type: Annotated[
        ErrorType | None,
        Meta(description="Only failures with this type of error.", examples=["timeout"]),
    ] = None
    since: Annotated[
        Moment | None,
        Meta(
            description="Only failures that occurred at this time or later.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = None
    limit: Annotated[
        Limit, Meta(description="Maximum number of failures.", examples=[DEFAULT_PAGE])
    ] = DEFAULT_PAGE

    @property
    def filter(self) -> FailureFilter:
        """The filter, as the stores have it."""
        state = self.state or FailureState.OPEN
        return FailureFilter(state, self.queue, self.host, self.error_type, self.since)


FAILURES_QUERY: Final = Reader(FailuresRequest)
