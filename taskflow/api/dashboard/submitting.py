"""The form by which a task is handed in."""

from __future__ import annotations

from http import HTTPStatus

from quart import Blueprint, Response, request

from taskflow.api.access.sessions import PATH
from taskflow.api.bodies import read_body
from taskflow.api.dashboard.forms import (
    FormError,
    document_of,
    faults_by_field,
    filled_in,
    form_of,
)
from taskflow.api.dashboard.pages import page, see
from taskflow.api.intake import Intake
from taskflow.api.problems import store_in_time
from taskflow.api.reading.page import task_id_of
from taskflow.api.traced import adding
from taskflow.model.errors import RequestError, TooManyRequests, Unprocessable
from taskflow.store.base import TaskStore


def add_routes(routes: Blueprint, store: TaskStore, intake: Intake) -> None:
    """The form, empty or filled in with what another task was to do."""

    @routes.get(f"{PATH}/submit")
    async def form() -> Response:
        filled = {}
        if task_id := request.args.get("from"):
            with store_in_time():
                task = await store.get(task_id_of(task_id))
            filled = form_of(task) if task else {}
        return await page("submit.html", form=filled, faults={})

    @routes.post(f"{PATH}/submit")
    async def submit() -> Response:
        filled = filled_in(await read_body())
        try:
            with adding() as trace:
                added = await intake.add([intake.read(document_of(filled), trace.fields)])
                trace.added(added.tasks)
        except FormError as error:
            return await _again(filled, {error.field: str(error)})
        except Unprocessable as error:
            return await _again(filled, faults_by_field(error.faults) or {"url": str(error)})
        except TooManyRequests as error:
            return await _again(filled, {"url": str(error)}, HTTPStatus.TOO_MANY_REQUESTS)
        except RequestError as error:
            return await _again(filled, {"url": str(error)})
        return see(f"{PATH}/tasks/{added.tasks[0].id}")


async def _again(
    filled: dict[str, str],
    faults: dict[str, str],
    status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> Response:
    """The form once more, with what is wrong beside each field."""
    return await page("submit.html", status=status, form=filled, faults=faults)
