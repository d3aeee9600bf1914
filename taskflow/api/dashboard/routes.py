"""All routes of the dashboard, and its error pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from quart import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from taskflow.api.access.rejected_keys import RejectedKeys
from taskflow.api.access.roles import REJECTED
from taskflow.api.access.sessions import PATH, Sessions
from taskflow.api.alerts import alert_reading
from taskflow.api.dashboard import (
    alerts,
    audit_log,
    credentials,
    endpoint,
    failure_pages,
    groups,
    heartbeats,
    hosts,
    listing,
    nodes,
    overview,
    pages,
    queues,
    schedules,
    selection,
    sign_in,
    submit_form,
    task,
    topics,
    views,
)
from taskflow.api.live.feed import Feed
from taskflow.api.problems import headers_of, problem_of
from taskflow.api.submission import Submissions
from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable, TaskFlowError
from taskflow.model.keyring import Keyring
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore


def dashboard_routes(  # noqa: PLR0913 - all that it is made of
    store: TaskStore,
    settings: Settings,
    feed: Feed,
    sessions: Sessions | None,
    metrics: Metrics,
    rejected_keys: RejectedKeys,
    *,
    keyring: Keyring,
) -> Blueprint:
    """Return the routes of the dashboard.

    Args:
        store: The store of the tasks.
        settings: The limits of submissions, and the headers to mask.
        feed: Reports the events of tasks, and the shutdown.
        sessions: Signs users in; ``None`` if no API keys are set.
        metrics: Count the submitted tasks.
        rejected_keys: Counts failed sign-ins.
        keyring: Encrypts credentials.
    """
    routes = Blueprint("dashboard", __name__, template_folder="templates")
    pages.install(routes)
    overview.add_routes(routes, store, feed)
    listing.add_routes(routes, store, feed)
    selection.add_routes(routes, store)
    views.add_routes(routes, store)
    task.add_routes(routes, store, feed)
    groups.add_routes(routes, store)
    masking = Masking(settings.masked_headers)
    failure_pages.add_routes(routes, store, masking)
    topics.add_routes(routes, store, masking)
    endpoint.add_routes(routes, store, masking)
    heartbeats.add_routes(routes, store, feed, settings.public_url)
    submissions = Submissions(store, settings, metrics)
    queues.add_routes(routes, queues.QueuePages(store, settings, submissions, keyring), feed)
    schedules.add_routes(
        routes, schedules.SchedulePages(store, settings, submissions, masking), feed
    )
    hosts.add_routes(routes, store, feed)
    nodes.add_routes(routes, store, feed)
    submit_form.add_routes(routes, store, submissions, masking)
    sign_in.add_routes(routes, sessions, store, rejected_keys)
    audit_log.add_routes(routes, store)
    credentials.add_routes(routes, store, settings, keyring)
    alerts.add_routes(
        routes,
        store,
        settings,
        partial(alert_reading, settings=settings, keyring=keyring, masking=masking),
    )

    @routes.route("/", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def root() -> Response:
        is_browser = "text/html" in request.headers.get("Accept", "")
        # Werkzeug also routes paths such as "//" here.
        if not is_browser or request.method != "GET" or request.scope["path"] != "/":
            raise NotFound
        return pages.redirect_to(PATH)

    @routes.get(f"{PATH}/<path:_>")
    async def not_found(_: str) -> Response:
        return await pages.page(
            "error.html", status=HTTPStatus.NOT_FOUND, message="There is no page at this address."
        )

    @routes.before_request
    async def check() -> None:
        scope = cast("Mapping[str, Any]", request.scope)
        if (error := scope.get(REJECTED)) is not None:
            raise error

    @routes.errorhandler(TaskFlowError)
    async def error_page(error: TaskFlowError) -> Response:
        problem = problem_of(error)
        is_outage = isinstance(error, StoreUnavailable)
        response = await pages.page(
            "error.html", status=problem.status, message=problem.detail, is_outage=is_outage
        )
        response.headers.update(headers_of(error))
        return response

    return routes
