"""The pages of failures: the list, and one failure with examples of its tasks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from quart import Blueprint, Response

from taskflow.api.access.request_caller import store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.listing import given_parameters, query_of
from taskflow.api.dashboard.pages import page
from taskflow.api.problems import store_timeout
from taskflow.api.reading.paths import failure_id_of
from taskflow.model.errors import FailureNotFound, Unprocessable
from taskflow.model.grouped_failures import Failure, FailureState
from taskflow.model.masking import Masking
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Task
from taskflow.schema.grouped_failures import FAILURES_QUERY, FailuresRequest
from taskflow.store.base.store import TaskStore

FAILURES_PAGE: Final = f"{PATH}/failures"
LIMIT: Final = 100
SPARKLINE_WIDTH: Final = 96
SPARKLINE_HEIGHT: Final = 24
_GAP: Final = 1.0
_MIN_BAR_HEIGHT: Final = 2.0


class SparklineBar(NamedTuple):
    """A bar of a sparkline: its rectangle."""

    x: float
    y: float
    width: float
    height: float


class Sparkline(NamedTuple):
    """The trend of a failure: a bar for each hour, and the content in words."""

    bars: list[SparklineBar]
    summary: str


def add_routes(routes: Blueprint, store: TaskStore, masking: Masking) -> None:
    """Add the pages. Their actions are the bulk actions on tasks, with the filter ``failure``."""

    @routes.get(FAILURES_PAGE)
    async def failures() -> Response:
        given = given_parameters()
        try:
            query = FAILURES_QUERY.read_query({"limit": [str(LIMIT)], **given})
        except Unprocessable as error:
            context = _form(given, FailuresRequest())
            return await page("failures.html", status=422, **context, error=str(error), failures=[])
        with store_timeout():
            found = await store_of_request(store).failures.first(query.limit, query.filter)
        return await page(
            "failures.html",
            **_form(given, query),
            failures=[(one, sparkline_of(one)) for one in found],
            has_all=len(found) < query.limit,
            total=sum(one.failed for one in found),
            now=dt.datetime.now(dt.UTC),
        )

    @routes.get(f"{FAILURES_PAGE}/<failure_id>")
    async def failure(failure_id: str) -> Response:
        mine = store_of_request(store)
        with store_timeout():
            found = await mine.failures.get(failure_id_of(failure_id))
            if found is None:
                raise FailureNotFound
            examples = [await mine.get(task_id) for task_id in found.example_ids]
        shown = [task for task in examples if task is not None]
        return await page(
            "failure.html",
            failure=found,
            trend=sparkline_of(found),
            examples=[(task, masking.text(task.error)) for task in shown],
            may_cancel=_has_holder(shown),
            now=dt.datetime.now(dt.UTC),
        )


def sparkline_of(failure: Failure) -> Sparkline:
    """Return the coordinates of the bars of a trend."""
    top, width = max((*failure.trend, 1)), SPARKLINE_WIDTH / max(1, len(failure.trend))
    bars = []
    for index, count in enumerate(failure.trend):
        if count:
            height = max(_MIN_BAR_HEIGHT, count / top * SPARKLINE_HEIGHT)
            y = SPARKLINE_HEIGHT - height
            bars.append(
                SparklineBar(
                    round(index * width, 1), round(y, 1), round(width - _GAP, 1), round(height, 1)
                )
            )
    summary = (
        f"{sum(failure.trend):,} in the last 24 hours, "
        f"at most {max(failure.trend, default=0):,} an hour, {failure.trend[-1]:,} in this hour"
    )
    return Sparkline(bars, summary)


def _has_holder(tasks: Sequence[Task]) -> bool:
    """Return whether canceling makes sense: tasks that hold their order key are freed by it."""
    return any(task.holds_key for task in tasks)


def _form(given: dict[str, list[str]], query: FailuresRequest) -> dict[str, Any]:
    return {
        "given": {name: ", ".join(texts) for name, texts in given.items()},
        "state": query.state or FailureState.OPEN,
        "states": [
            (state, query_of({**given, "state": [state.value]}), label)
            for state, label in (
                (FailureState.OPEN, "Open"),
                (FailureState.RESOLVED, "Resolved"),
                (FailureState.ALL, "All"),
            )
        ],
        "error_types": list(ErrorType),
        "is_filtered": bool(given.keys() - {"state", "limit"}),
    }
