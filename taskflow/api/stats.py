"""``/stats``: the number of tasks by status, for each queue and in total."""

from __future__ import annotations

from typing import Final

from quart import Response, request

from taskflow.api.document.examples import STATISTICS
from taskflow.api.problems import store_timeout
from taskflow.api.responses import as_json
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.queues import TaskStatistics
from taskflow.schema.query import STATISTICS_QUERY, StatisticsRequest

MAX_QUEUES: Final = 1000


@Route(
    "GET",
    "/stats",
    "tasks",
    (RouteResponse("The current statistics.", TaskStatistics, STATISTICS),),
    query=StatisticsRequest,
)
async def show_statistics(services: Services) -> Response:
    """Count tasks by status, for each queue and in total.

    The cost does not grow with the number of tasks. At most 1,000 queues are listed; ``queue``
    selects any other.
    """
    query = STATISTICS_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        return as_json(await services.store.count(limit=MAX_QUEUES, queue=query.queue))


ROUTES: Final = (show_statistics,)
