"""The pages of schedules: the list, and a schedule with its runs, its times and actions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import trio
from quart import Blueprint, Response

from taskflow.api.access.request_caller import (
    actor_of_request,
    scope_of_request,
    store_of_request,
)
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.listing import given_parameters, query_of
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, redirect_to, viewer
from taskflow.api.dashboard.settings_form import (
    SCHEDULE_FIELDS,
    errors_by_field,
    patch_of_form,
    schedule_form_of,
)
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import schedule_name_of
from taskflow.api.reading.schedule import Reading, patch_of, patched_timing
from taskflow.api.submission import Submissions
from taskflow.model.errors import ScheduleNotFound, ScheduleOverlap, Unprocessable
from taskflow.model.masking import Masking
from taskflow.model.schedule import (
    DEFAULT_NEXT_RUNS,
    Schedule,
    ScheduleChange,
    ScheduleDefinition,
)
from taskflow.model.schedule_times import apply_definition, upcoming_times
from taskflow.schema.query import SCHEDULES_QUERY
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore

SCHEDULES_PAGE: Final = f"{PATH}/schedules"
LIMIT: Final = 50
SHOWN_RUNS: Final = 25
_SCHEDULE: Final = f"{SCHEDULES_PAGE}/<string:name>"


class SchedulePages(msgspec.Struct, frozen=True):
    """What the pages of schedules work with.

    Attributes:
        store: The store.
        settings: The settings of the service.
        submissions: Has the backlog limit, and the names of the credentials.
        masking: What is masked in templates.
    """

    store: TaskStore
    settings: Settings
    submissions: Submissions
    masking: Masking

    async def change_of(self, name: str, form: Mapping[str, str]) -> ScheduleChange:
        """Read the change that a form makes, as ``PATCH /schedules/{name}`` does.

        Raises:
            Unprocessable: Fields are invalid.
        """
        names = self.submissions.credentials
        reading = Reading(
            name,
            self.settings.max_attempts,
            self.settings.has_webhook_secrets,
            bool(self.settings.public_url),
            self.masking,
            await (names.without_suggestions() if scope_of_request() else names).read(),
        )
        return patch_of(msgspec.json.encode(patch_of_form(form, SCHEDULE_FIELDS)), reading)


def add_routes(routes: Blueprint, pages: SchedulePages, feed: Feed) -> None:
    """Add the pages, their streams and their actions."""
    _add_pages(routes, pages.store, feed)
    _add_form(routes, pages)
    _add_actions(routes, pages)


def _add_pages(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    @routes.get(SCHEDULES_PAGE)
    async def schedules() -> Response:
        query = SCHEDULES_QUERY.read_query({"limit": [str(LIMIT)], **given_parameters()})
        found = await _list_of(store_of_request(store), query.limit, query.cursor)
        return await page("schedules.html", **found, cursor=query.cursor)

    @routes.get(f"{PATH}/live/schedules")
    async def schedules_live() -> Response:
        user, mine = viewer(), store_of_request(store)

        async def load() -> dict[str, Any]:
            return {**await _list_of(mine, LIMIT, None), "viewer": user}

        return refreshed(feed, "schedules_region.html", load)

    @routes.get(_SCHEDULE)
    async def schedule(name: str) -> Response:
        return await _page(store_of_request(store), schedule_name_of(name))

    @routes.get(f"{_SCHEDULE}/live")
    async def schedule_live(name: str) -> Response:
        user, mine, wanted = viewer(), store_of_request(store), schedule_name_of(name)

        async def load() -> dict[str, Any]:
            try:
                return {**await _state_of(mine, wanted), "viewer": user}
            except ScheduleNotFound:  # deleted meanwhile
                return {"schedule": None, "viewer": user}

        return refreshed(feed, "schedule_region.html", load)


def _add_form(routes: Blueprint, pages: SchedulePages) -> None:
    @routes.post(_SCHEDULE)
    async def edit_schedule(name: str) -> Response:
        form = await read_form(await read_body())
        mine, wanted = store_of_request(pages.store), schedule_name_of(name)
        try:
            if form.get("preview"):
                return await _preview(mine, wanted, form)
            change = await pages.change_of(wanted, form)
            with store_timeout():
                await mine.schedules.change(wanted, change, by=actor_of_request())
        except Unprocessable as error:
            errors = errors_by_field(error.errors, SCHEDULE_FIELDS)
            return await _page(mine, wanted, form, errors or {"": str(error)})
        return redirect_to(f"{SCHEDULES_PAGE}/{wanted}")


def _add_actions(routes: Blueprint, pages: SchedulePages) -> None:
    store = pages.store

    @routes.post(f"{_SCHEDULE}/run")
    async def run_schedule(name: str) -> Response:
        await read_body()
        wanted, mine = schedule_name_of(name), store_of_request(store)
        try:
            with store_timeout():
                await pages.submissions.backlog.admit(1)
                task = await mine.schedules.run_now(wanted, by=actor_of_request())
        except ScheduleOverlap as error:
            return await _page(mine, wanted, problem=str(error))
        if task is None:
            raise ScheduleNotFound
        return redirect_to(f"{PATH}/tasks/{task.id}")

    @routes.post(f"{_SCHEDULE}/pause")
    async def pause_schedule(name: str) -> Response:
        return await _set_paused(store, name, is_paused=True)

    @routes.post(f"{_SCHEDULE}/resume")
    async def resume_schedule(name: str) -> Response:
        return await _set_paused(store, name, is_paused=False)

    @routes.post(f"{_SCHEDULE}/delete")
    async def delete_schedule(name: str) -> Response:
        await read_body()
        with store_timeout():
            await store_of_request(store).schedules.delete(
                schedule_name_of(name), by=actor_of_request()
            )
        return redirect_to(SCHEDULES_PAGE)


async def _set_paused(store: TaskStore, name: str, *, is_paused: bool) -> Response:
    await read_body()
    wanted = schedule_name_of(name)

    def change(before: ScheduleDefinition | None) -> ScheduleDefinition:
        if before is None:
            raise ScheduleNotFound
        return msgspec.structs.replace(before, paused=is_paused)

    with store_timeout():
        await store_of_request(store).schedules.change(wanted, change, by=actor_of_request())
    return redirect_to(f"{SCHEDULES_PAGE}/{wanted}")


async def _list_of(store: TaskStore, limit: int, after: str | None) -> dict[str, Any]:
    with store_timeout():
        found = await store.schedules.page(limit=limit, after=after)
    next_query = None
    if found.next_after is not None:
        next_query = query_of({"cursor": [found.next_after]})
    return {"schedules": found.schedules, "next_query": next_query, "is_first": after is None}


async def _page(
    store: TaskStore,
    name: str,
    form: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    *,
    preview: list[dt.datetime] | None = None,
    problem: str | None = None,
) -> Response:
    """Return the page of a schedule, with the form as it was sent if it has errors."""
    state = await _state_of(store, name)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK
    return await page(
        "schedule.html",
        status=HTTPStatus.CONFLICT if problem else status,
        **state,
        form=form or schedule_form_of(state["schedule"]),
        errors=errors or {},
        preview=preview,
        problem=problem,
    )


async def _state_of(store: TaskStore, name: str) -> dict[str, Any]:
    """Return the context of the region of a schedule.

    Raises:
        ScheduleNotFound: There is none with this name, or its times cannot be computed.
    """
    with store_timeout():
        found: Schedule | None = await store.schedules.get(name)
        upcoming = await store.schedules.next_runs(name, count=DEFAULT_NEXT_RUNS)
        runs = await store.schedules.runs(name, limit=SHOWN_RUNS)
    if found is None or upcoming is None:
        raise ScheduleNotFound
    return {"schedule": found, "name": name, "upcoming": upcoming, "runs": runs}


async def _preview(store: TaskStore, name: str, form: Mapping[str, str]) -> Response:
    """Return the page with the next runs after a change, without making the change.

    Raises:
        Unprocessable: The times are invalid.
    """
    with store_timeout():
        found = await store.schedules.get_stored(name)
    if found is None:
        raise ScheduleNotFound
    before, now = found
    patch = msgspec.json.encode(patch_of_form(form, SCHEDULE_FIELDS))
    timing = patched_timing(patch, before.definition.timing)
    definition = msgspec.structs.replace(before.definition, timing=timing)
    upcoming = upcoming_times(apply_definition(definition, before, now), now)
    times: list[dt.datetime] = []
    while len(times) < DEFAULT_NEXT_RUNS and (at := next(upcoming, None)) is not None:
        times.append(at)
        await trio.lowlevel.checkpoint()
    return await _page(store, name, form, preview=times)
