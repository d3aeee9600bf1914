"""The form that submits a task."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import scope_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.forms import (
    FormError,
    document_of,
    errors_by_field,
    form_of,
    read_form,
    unmasked,
)
from taskflow.api.dashboard.pages import page, redirect_to, require_writer
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import task_id_of
from taskflow.api.request_spans import submission_trace
from taskflow.api.submission import Submissions
from taskflow.model.errors import Forbidden, RequestError, TooManyRequests, Unprocessable
from taskflow.model.masking import MASK, Masking
from taskflow.store.base.store import TaskStore

MAX_COPIED_CHARACTERS: Final = 512 * 2**10
"""Maximum length of a body that is filled in; a longer one may not fit into a form's request."""


def add_routes(
    routes: Blueprint, store: TaskStore, submissions: Submissions, masking: Masking
) -> None:
    """Add the form: empty, or filled in from another task."""

    @routes.get(f"{PATH}/submit")
    async def form() -> Response:
        require_writer()
        filled: dict[str, str] = {}
        errors: dict[str, str] = {}
        if task_id := request.args.get("from"):
            with store_timeout():
                task = await store_of_request(store).get(task_id_of(task_id))
            filled = {**form_of(task), "from": str(task.id)} if task else {}
        if len(filled.get("body", "")) > MAX_COPIED_CHARACTERS:
            del filled["body"]
            errors["body"] = "the body is too long for a form; submit the task with the API"
        return await page("submit.html", form=filled, errors=errors, is_masked=_is_masked(filled))

    @routes.post(f"{PATH}/submit")
    async def submit() -> Response:
        filled = await read_form(await read_body())
        try:
            with submission_trace() as trace:
                whole = await _with_credentials(store_of_request(store), filled, masking)
                mine = _of_request(submissions, store)
                added = await mine.add([await mine.read(document_of(whole), trace.fields)])
                trace.added(added.tasks)
        except FormError as error:
            return await _again(filled, {error.field: str(error)})
        except Unprocessable as error:
            return await _again(filled, errors_by_field(error.errors) or {"url": str(error)})
        except TooManyRequests as error:
            return await _again(filled, {"url": str(error)}, HTTPStatus.TOO_MANY_REQUESTS)
        except Forbidden as error:  # the key may not use the queue
            return await _again(filled, {"queue": str(error)}, HTTPStatus.FORBIDDEN)
        except RequestError as error:
            return await _again(filled, {"url": str(error)})
        return redirect_to(f"{PATH}/tasks/{added.tasks[0].id}")


def _of_request(submissions: Submissions, store: TaskStore) -> Submissions:
    """Return the submissions with the queues that the caller may use."""
    scope = scope_of_request()
    return submissions.within(scope, store_of_request(store)) if scope else submissions


async def _with_credentials(
    store: TaskStore, filled: dict[str, str], masking: Masking
) -> dict[str, str]:
    """Return the form with masked values replaced by the values of the copied task."""
    if MASK not in "".join(filled.values()) or not filled.get("from"):
        return filled
    with store_timeout():
        original = await store.get_unmasked(task_id_of(filled["from"]))
    return filled if original is None else unmasked(filled, form_of(original), masking)


async def _again(
    filled: dict[str, str],
    errors: dict[str, str],
    status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> Response:
    """Return the form with an error beside each invalid field."""
    return await page(
        "submit.html", status=status, form=filled, errors=errors, is_masked=_is_masked(filled)
    )


def _is_masked(filled: Mapping[str, str]) -> bool:
    return any(MASK in filled.get(name, "") for name in ("url", "headers", "callback_url"))
