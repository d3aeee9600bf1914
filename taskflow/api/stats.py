"""``/stats``: the number of tasks by status, for each queue and in total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta
from quart import Response, request

from taskflow.api.document.examples import STATISTICS
from taskflow.api.problems import store_in_time
from taskflow.api.reading.unknown_fields import unknown_parameters
from taskflow.api.responses import as_json
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import Unprocessable
from taskflow.model.queues import TaskStatistics
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import DEFAULT_QUEUE

MAX_QUEUES: Final = 1000
MAX_QUEUE_NAME_LENGTH: Final = 255

# PostgreSQL's text holds any character but NUL.
QueueName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=MAX_QUEUE_NAME_LENGTH, pattern=r"^[^\u0000]+$")
]


class StatisticsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /stats``.

    Attributes:
        queue: List only this queue, even if it has no tasks. By default, at most 1,000 queues are
            listed: those with tasks, and those where a task finished within the last hour.
    """

    queue: QueueName | None = None


@Route(
    "GET",
    "/stats",
    "tasks",
    (RouteResponse("The current statistics.", TaskStatistics, STATISTICS),),
    query=StatisticsRequest,
    query_examples={"queue": DEFAULT_QUEUE},
)
async def show_statistics(services: Services) -> Response:
    """Count tasks by status, for each queue and in total.

    The cost does not grow with the number of tasks. At most 1,000 queues are listed; ``queue``
    selects any other.
    """
    query = statistics_request_of(dict(request.args.lists()))
    with store_in_time():
        return as_json(await services.store.count(limit=MAX_QUEUES, queue=query.queue))


_NAMES: Final = Vocabulary(StatisticsRequest.__struct_fields__)


def statistics_request_of(query: Mapping[str, Sequence[str]]) -> StatisticsRequest:
    """Read the query of ``GET /stats``.

    Raises:
        Unprocessable: A parameter cannot be used; names it and what is allowed.
    """
    if unknown := unknown_parameters(query, _NAMES):
        raise Unprocessable("; ".join(unknown))
    if len(query.get("queue", ())) > 1:
        raise Unprocessable("queue is given more than once")
    try:
        return msgspec.convert(
            {name: value for name, [value] in query.items()}, type=StatisticsRequest
        )
    except msgspec.ValidationError:
        raise Unprocessable(
            f"queue must be the name of a queue, of 1 to {MAX_QUEUE_NAME_LENGTH} characters"
        ) from None


ROUTES: Final = (show_statistics,)
