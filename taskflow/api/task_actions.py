"""Actions on one task: cancel, retry, delete."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from quart import Response

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.document.examples import CANCELED, PENDING, SKIPPED
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import task_id_of
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.tasks import TASK_ID_IN_PATH
from taskflow.model.errors import TaskNotFound
from taskflow.model.task import Task

_PROBLEMS: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@Route(
    "POST",
    "/tasks/{id}/cancel",
    "tasks",
    (RouteResponse("The task, CANCELED.", Task, CANCELED),),
    _PROBLEMS,
    (TASK_ID_IN_PATH,),
)
async def cancel_task(services: Services, task_id: str) -> Response:
    """Cancel a task.

    A running attempt is aborted, on whichever node it runs. TaskFlow does not run the task again
    unless a client retries it. A FAILED task can be canceled if it holds its order key, which frees
    the key.
    """
    await read_body()
    with store_timeout():
        return _shown(await services.store.cancel(task_id_of(task_id), by=actor_of_request()))


@Route(
    "POST",
    "/tasks/{id}/retry",
    "tasks",
    (RouteResponse("The task, PENDING.", Task, PENDING),),
    _PROBLEMS,
    (TASK_ID_IN_PATH,),
)
async def retry_task(services: Services, task_id: str) -> Response:
    """Retry a FAILED or CANCELED task.

    The task has all its attempts again. Earlier attempts stay listed. It is not retried if another
    task has its unique key by now. A task with an order key starts before all tasks that were
    accepted after it.
    """
    await read_body()
    with store_timeout():
        return _shown(await services.store.retry(task_id_of(task_id), by=actor_of_request()))


@Route(
    "POST",
    "/tasks/{id}/skip",
    "tasks",
    (RouteResponse("The task, FAILED.", Task, SKIPPED),),
    _PROBLEMS,
    (TASK_ID_IN_PATH,),
)
async def skip_task(services: Services, task_id: str) -> Response:
    """Skip a FAILED task that holds its order key.

    The task stays FAILED, its `on_failure` becomes `continue`, and the next task of the key starts.
    """
    await read_body()
    with store_timeout():
        return _shown(await services.store.skip(task_id_of(task_id), by=actor_of_request()))


@Route(
    "DELETE",
    "/tasks/{id}",
    "tasks",
    (RouteResponse("The task was deleted.", status=HTTPStatus.NO_CONTENT),),
    _PROBLEMS,
    (TASK_ID_IN_PATH,),
)
async def delete_task(services: Services, task_id: str) -> Response:
    """Delete a finished task.

    Deletes its attempts, too. Cancel a task that is not finished first.
    """
    with store_timeout():
        if not await services.store.delete(task_id_of(task_id), by=actor_of_request()):
            raise TaskNotFound
    return no_content()


def _shown(task: Task | None) -> Response:
    if task is None:
        raise TaskNotFound
    return as_json(task)


ROUTES: Final = (cancel_task, retry_task, skip_task, delete_task)
