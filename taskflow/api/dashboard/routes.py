"""All routes of the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from quart import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from taskflow.api.access.roles import REJECTED
from taskflow.api.access.sessions import PATH, Sessions
from taskflow.api.dashboard import listing, overview, pages, sign_in, submit_form, task
from taskflow.api.dashboard.assets import Assets
from taskflow.api.live.feed import Feed
from taskflow.api.problems import headers_of, problem_of
from taskflow.api.submission import Intake
from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable, TaskFlowError
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore


def dashboard_routes(
    store: TaskStore,
    settings: Settings,
    feed: Feed,
    sessions: Sessions | None,
    metrics: Metrics,
) -> Blueprint:
    """The routes, on this store and its feed.

    Args:
        store: Where the tasks are.
        settings: For the bounds of what is handed in.
        feed: Keeps pages up to date.
        sessions: How one signs in; ``None`` where there are no keys.
        metrics: What is told of new tasks.
    """
    routes = Blueprint("dashboard", __name__, template_folder="templates")
    assets = Assets()
    pages.install(routes, assets)
    assets.add_routes(routes)
    overview.add_routes(routes, store, feed)
    listing.add_routes(routes, store, feed)
    task.add_routes(routes, store, feed)
    submit_form.add_routes(
        routes, store, Intake(store, settings, metrics), Masking(settings.masked_headers)
    )
    sign_in.add_routes(routes, sessions, store)

    @routes.route("/", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def front_door() -> Response:
        is_person = "text/html" in request.headers.get("Accept", "")
        # Werkzeug takes more for this path than it is.
        if not is_person or request.method != "GET" or request.scope["path"] != "/":
            raise NotFound
        return pages.see(PATH)

    @routes.get(f"{PATH}/<path:_>")
    async def nothing(_: str) -> Response:
        return await pages.page(
            "error.html", status=HTTPStatus.NOT_FOUND, message="There is nothing at this address."
        )

    @routes.before_request
    async def check() -> None:
        scope = cast("Mapping[str, Any]", request.scope)
        if (error := scope.get(REJECTED)) is not None:
            raise error

    @routes.errorhandler(TaskFlowError)
    async def refused(error: TaskFlowError) -> Response:
        problem = problem_of(error)
        is_outage = isinstance(error, StoreUnavailable)
        response = await pages.page(
            "error.html", status=problem.status, message=problem.detail, is_outage=is_outage
        )
        response.headers.update(headers_of(error))
        return response

    return routes
