"""The pages of queues: the list, and a queue with its charts, settings and actions."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec
from quart import Blueprint, Response, request

from taskflow.api.access.api_keys import Role
from taskflow.api.access.request_caller import (
    actor_of_request,
    role_of_request,
    scope_of_request,
    store_of_request,
)
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.failure_pages import sparkline_of
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, redirect_to, viewer
from taskflow.api.dashboard.series import PageCharts, span_of
from taskflow.api.dashboard.settings_form import (
    QUEUE_FIELDS,
    errors_by_field,
    patch_of_form,
    queue_form_of,
)
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import queue_name_of
from taskflow.api.submission import Submissions
from taskflow.model.errors import Forbidden, QueueNotFound, TooManySearches, Unprocessable
from taskflow.model.filter import TaskFilter
from taskflow.model.grouped_failures import FailureFilter
from taskflow.model.keyring import Keyring
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import NO_SETTINGS, QueueSettings
from taskflow.model.queues import QueueStatistics, queue_of
from taskflow.model.task import Task, TaskStatus
from taskflow.schema.queues import Permissions, patch_of
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore

QUEUES_PAGE: Final = f"{PATH}/queues"
MAX_QUEUES: Final = 500
MAX_FAILURES: Final = 10
MAX_CAUSES: Final = 5
_QUEUE: Final = f"{QUEUES_PAGE}/<string:name>"


ListedQueue: TypeAlias = tuple[QueueStatistics, QueueSettings]
"""A queue of a table: its counts and its settings."""


class QueuePages(msgspec.Struct, frozen=True):
    """What the pages of queues work with.

    Attributes:
        store: The store.
        settings: The settings of the service.
        submissions: Has the names of the credentials.
        keyring: Encrypts the credentials of proxies.
    """

    store: TaskStore
    settings: Settings
    submissions: Submissions
    keyring: Keyring

    async def permissions(self) -> Permissions:
        """Return what the caller may change, as for ``PATCH /queues/{name}``."""
        names = self.submissions.credentials
        scope = scope_of_request()
        return Permissions(
            can_sign=self.settings.has_webhook_secrets,
            may_set_proxy=role_of_request() is Role.ADMIN and scope is None,
            credentials=await (names.without_suggestions() if scope else names).read(),
            keyring=self.keyring,
        )


def add_routes(routes: Blueprint, pages: QueuePages, feed: Feed) -> None:
    """Add the pages, their streams and their actions."""
    _add_pages(routes, pages.store, feed)
    _add_actions(routes, pages)


def _add_pages(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    @routes.get(QUEUES_PAGE)
    async def queues() -> Response:
        return await page("queues.html", **await queues_of(store_of_request(store)))

    @routes.get(f"{PATH}/live/queues")
    async def queues_live() -> Response:
        user, mine = viewer(), store_of_request(store)

        async def load() -> dict[str, Any]:
            return {**await queues_of(mine), "viewer": user}

        return refreshed(feed, "queues_region.html", load)

    @routes.get(_QUEUE)
    async def queue(name: str) -> Response:
        return await _page(store_of_request(store), queue_name_of(name))

    @routes.get(f"{_QUEUE}/live")
    async def queue_live(name: str) -> Response:
        user, mine, wanted = viewer(), store_of_request(store), queue_name_of(name)
        charts = PageCharts(mine, span_of(request.args), queue=wanted)

        async def load() -> dict[str, Any]:
            try:
                return {**await _state_of(mine, wanted, charts), "viewer": user}
            except QueueNotFound:  # it lost its last tasks meanwhile
                return {"queue": None, "viewer": user}

        return refreshed(feed, "queue_region.html", load)


def _add_actions(routes: Blueprint, pages: QueuePages) -> None:
    store = pages.store

    @routes.post(_QUEUE)
    async def edit_queue(name: str) -> Response:
        form = await read_form(await read_body())
        mine, wanted = store_of_request(store), queue_name_of(name)
        patch = msgspec.json.encode(patch_of_form(form, QUEUE_FIELDS))
        try:
            change = patch_of(patch, wanted, await pages.permissions())
            with store_timeout():
                await mine.queues.change(wanted, change, by=actor_of_request())
        except Unprocessable as error:
            errors = errors_by_field(error.errors, QUEUE_FIELDS)
            return await _page(mine, wanted, form, errors or {"": str(error)})
        except Forbidden as error:  # the proxy
            return await _page(mine, wanted, form, {"egress_proxy": str(error)})
        return redirect_to(f"{QUEUES_PAGE}/{wanted}")

    @routes.post(f"{_QUEUE}/pause")
    async def pause(name: str) -> Response:
        return await _set_paused(store, name, is_paused=True)

    @routes.post(f"{_QUEUE}/resume")
    async def resume(name: str) -> Response:
        return await _set_paused(store, name, is_paused=False)


async def _set_paused(store: TaskStore, name: str, *, is_paused: bool) -> Response:
    """Pause or resume a queue, and return to the page that the user comes from."""
    await read_body()
    name = queue_name_of(name)
    with store_timeout():
        await store_of_request(store).queues.set_paused(
            name, is_paused=is_paused, by=actor_of_request()
        )
    places = {"overview": f"{PATH}#queues", "list": QUEUES_PAGE}
    return redirect_to(places.get(request.args.get("back", ""), f"{QUEUES_PAGE}/{name}"))


async def queues_of(store: TaskStore, limit: int = MAX_QUEUES) -> dict[str, Any]:
    """Return the context of the table of queues."""
    with store_timeout():
        counted = await store.count(limit=limit)
        settings = await store.queues.first(limit + 1)
    statistics = {one.queue: one for one in counted.queues}
    names = sorted(settings.keys() | statistics.keys())
    return {
        "total": counted.total,
        "queues": [
            (statistics.get(name) or queue_of(name, (), None), settings.get(name, NO_SETTINGS))
            for name in names[:limit]
        ],
        "has_all_queues": counted.complete and len(names) <= limit,
    }


async def _page(
    store: TaskStore,
    name: str,
    form: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    """Return the page of a queue, with the form as it was sent if it has errors."""
    charts = PageCharts(store, span_of(request.args), queue=name)
    state = await _state_of(store, name, charts)
    settings = state["settings"]
    filled = form or queue_form_of(settings, masked_proxy(settings.egress_proxy))
    return await page(
        "queue.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        **state,
        form=filled,
        errors=errors or {},
        recent=await _failures_of(store, name),
    )


async def _state_of(store: TaskStore, name: str, charts: PageCharts) -> dict[str, Any]:
    """Return the context of the region of a queue.

    Raises:
        QueueNotFound: It has no tasks and no settings.
    """
    with store_timeout():
        settings = await store.queues.get(name)
        counted = await store.count(limit=1, queue=name)
        plots = await charts.get()
        failures = await store.failures.first(MAX_CAUSES, FailureFilter(queue=name))
    [statistics] = counted.queues
    if settings is None and not any(statistics.counts.values()) and not plots.has_tasks:
        raise QueueNotFound
    finished = {status: one.last_hour for status, one in statistics.finished.items()}
    return {
        "name": name,
        "queue": statistics,
        "settings": settings or NO_SETTINGS,
        "finished": finished,
        "span": charts.span,
        "plots": plots,
        "failures": [(one, sparkline_of(one)) for one in failures],
    }


async def _failures_of(store: TaskStore, name: str) -> list[Task] | None:
    """Return the last failed tasks of a queue; ``None`` while too many searches are running."""
    wanted = TaskFilter(queue=name, statuses=(TaskStatus.FAILED,))
    try:
        with store_timeout():
            found = await store.page(limit=MAX_FAILURES, filter=wanted, without={"result"})
    except TooManySearches:
        return None
    return found.tasks
