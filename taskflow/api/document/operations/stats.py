"""How tasks stand, in figures."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from taskflow.api.document.examples import STATISTICS
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer
from taskflow.api.stats import StatisticsRequest
from taskflow.model.queues import TaskStatistics
from taskflow.model.task import DEFAULT_QUEUE

STATISTICS_OF_TASKS: Final = (
    Operation(
        method="get",
        path="/stats",
        name="showStatistics",
        group="tasks",
        summary="How many tasks wait, run and end",
        description="By queue and in all, at the same cost however many tasks there are. At most "
        "1,000 queues are listed; any other is told of when `queue` names it.",
        query=StatisticsRequest,
        query_examples={"queue": DEFAULT_QUEUE},
        answer=Answer(
            description="The statistics of this moment.",
            kind=TaskStatistics,
            example=STATISTICS,
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
)
