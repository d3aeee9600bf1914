"""The routes under ``/schedules``."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from taskflow.api.backlog import Backlog
from taskflow.api.problems import store_in_time
from taskflow.api.reading.schedule import (
    SchedulesRequest,
    known_name_of,
    must_be_new,
    name_of,
    schedules_request_of,
)
from taskflow.api.reading.schedule_changes import Reading, patch_of, replacement_of
from taskflow.api.request_bodies import read_body, read_json
from taskflow.api.responses import as_json, no_content
from taskflow.model.errors import ScheduleNotFound
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore

T = TypeVar("T")


def schedule_routes(store: TaskStore, settings: Settings) -> Blueprint:
    """The routes, on this store."""
    routes = Blueprint("schedules", __name__)
    schedules = store.schedules
    masking = Masking(settings.masked_headers)
    backlog = Backlog(store, settings.max_pending)

    @routes.put("/schedules/<string:name>")
    async def put(name: str) -> Response:
        reading = _reading(name_of(name), settings, masking)
        is_to_be_new = must_be_new(request.headers.getlist("If-None-Match"))
        change = replacement_of(await read_json(), reading, must_be_new=is_to_be_new)
        with store_in_time():
            kept, is_new = await schedules.change(name, change)
        if not is_new:
            return as_json(kept)
        return as_json(kept, status=HTTPStatus.CREATED, location=f"/schedules/{name}")

    @routes.patch("/schedules/<string:name>")
    async def patch(name: str) -> Response:
        change = patch_of(await read_json(), _reading(known_name_of(name), settings, masking))
        with store_in_time():
            changed, _ = await schedules.change(name, change)
        return as_json(changed)

    @routes.get("/schedules")
    async def page() -> Response:
        asked = schedules_request_of(dict(request.args.lists()))
        with store_in_time():
            found = await schedules.page(limit=asked.limit, after=asked.cursor)
        following = found.next_after
        link = None if following is None else _link(asked, following)
        return as_json(found.schedules, link=link)

    @routes.get("/schedules/<string:name>")
    async def show(name: str) -> Response:
        with store_in_time():
            return as_json(_found(await schedules.get(known_name_of(name))))

    @routes.delete("/schedules/<string:name>")
    async def delete(name: str) -> Response:
        with store_in_time():
            _found(await schedules.delete(known_name_of(name)) or None)
        return no_content()

    @routes.post("/schedules/<string:name>/run")
    async def run(name: str) -> Response:
        await read_body()
        with store_in_time():
            await backlog.admit(1)
            task = _found(await schedules.run_now(known_name_of(name)))
        return as_json(task, status=HTTPStatus.CREATED, location=f"/tasks/{task.id}")

    return routes


def _reading(name: str, settings: Settings, masking: Masking) -> Reading:
    return Reading(name, settings.max_attempts, settings.has_webhook_secrets, masking)


def _found(one: T | None) -> T:
    if one is None:
        raise ScheduleNotFound
    return one


def _link(asked: SchedulesRequest, after: str) -> str:
    query = urlencode({"limit": asked.limit, "cursor": after})
    return f'</schedules?{query}>; rel="next"'
