"""The page of a schedule, with its next runs."""

from __future__ import annotations

from quart import Blueprint, Response

from taskflow.api.access.request_caller import actor_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import schedule_name_of
from taskflow.model.errors import ScheduleNotFound
from taskflow.model.schedule import DEFAULT_NEXT_RUNS
from taskflow.store.base.store import TaskStore


def add_routes(routes: Blueprint, store: TaskStore) -> None:
    """Add the page and its action."""

    @routes.get(f"{PATH}/schedules/<string:name>")
    async def schedule(name: str) -> Response:
        schedules = store_of_request(store).schedules
        with store_timeout():
            found = await schedules.get(schedule_name_of(name))
            runs = await schedules.next_runs(name, count=DEFAULT_NEXT_RUNS)
        if found is None or runs is None:
            raise ScheduleNotFound
        return await page("schedule.html", schedule=found, runs=runs)

    @routes.post(f"{PATH}/schedules/<string:name>/run")
    async def run_schedule(name: str) -> Response:
        await read_body()
        with store_timeout():
            task = await store_of_request(store).schedules.run_now(
                schedule_name_of(name), by=actor_of_request()
            )
        if task is None:
            raise ScheduleNotFound
        return redirect_to(f"{PATH}/tasks/{task.id}")
