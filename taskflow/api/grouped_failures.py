"""The routes under ``/failures``: FAILED tasks that have the same cause, as one."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Final

from quart import Response, request

from taskflow.api.document.examples import FAILURE
from taskflow.api.problems import store_timeout
from taskflow.api.reading.paths import failure_id_of
from taskflow.api.responses import as_json
from taskflow.api.route import Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import FailureNotFound
from taskflow.model.grouped_failures import Failure
from taskflow.schema.grouped_failures import FAILURES_QUERY, FailuresRequest


@Route(
    "GET",
    "/failures",
    "failures",
    (RouteResponse("The failures.", list[Failure], [FAILURE]),),
    query=FailuresRequest,
)
async def list_failures(services: Services) -> Response:
    """List failures: FAILED tasks that have the same cause, as one.

    The cause is the queue, the host, the type of the error, the status of the response and the
    message, without numbers, ids, times, addresses and quoted values. Failures that occurred last
    come first. The filter ``failure`` of ``GET /tasks`` and of the bulk actions selects the tasks
    of a failure. The cost does not grow with the number of tasks. At most 5,000 failures are kept;
    further causes are counted by queue and type of error.
    """
    query = FAILURES_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        return as_json(await services.store.failures.first(query.limit, query.filter))


@Route(
    "GET",
    "/failures/{id}",
    "failures",
    (RouteResponse("The failure.", Failure, FAILURE),),
    (HTTPStatus.NOT_FOUND,),
    path_parameters=(Parameter("id", "The id of the failure.", uuid.UUID, FAILURE.id),),
)
async def show_failure(services: Services, failure_id: str) -> Response:
    """Get a failure.

    One whose tasks were all retried, canceled or deleted is available for seven days after its last
    occurrence.
    """
    wanted = failure_id_of(failure_id)
    with store_timeout():
        found = await services.store.failures.get(wanted)
    if found is None:
        raise FailureNotFound
    return as_json(found)


ROUTES: Final = (list_failures, show_failure)
