"""``/stats``: how tasks stand, by queue and in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from taskflow.api.problems import store_in_time
from taskflow.api.reading.unknown_fields import unknown_parameters
from taskflow.api.responses import as_json
from taskflow.model.errors import Unprocessable
from taskflow.model.suggestions import Vocabulary
from taskflow.store.base.tasks import TaskStore

MOST_QUEUES: Final = 1000
LONGEST_QUEUE_NAME: Final = 255

# PostgreSQL's text holds any character but NUL.
QueueName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=LONGEST_QUEUE_NAME, pattern=r"^[^\u0000]+$")
]


class StatisticsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /stats``.

    Attributes:
        queue: Only list this queue, whether there are tasks in it or not; without it those that
            have tasks or had one that ended within the hour, 1,000 at most.
    """

    queue: QueueName | None = None


def statistics_routes(store: TaskStore) -> Blueprint:
    """The route, on this store."""
    routes = Blueprint("statistics", __name__)

    @routes.get("/stats")
    async def show() -> Response:
        asked = statistics_request_of(dict(request.args.lists()))
        with store_in_time():
            statistics = await store.count(limit=MOST_QUEUES, queue=asked.queue)
        return as_json(statistics)

    return routes


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
            f"queue must be the name of a queue, of 1 to {LONGEST_QUEUE_NAME} characters"
        ) from None
