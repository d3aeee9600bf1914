"""The routes under ``/queues``: counts and settings of queues."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from quart import Response

from taskflow.api.access.api_keys import Role
from taskflow.api.access.request_caller import (
    actor_of_request,
    role_of_request,
    scope_of_request,
)
from taskflow.api.bulk_actions import BULK_RESULT, BulkAction, run_bulk_action
from taskflow.api.document.examples import QUEUE
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body, read_json
from taskflow.api.reading.paths import queue_name_of
from taskflow.api.responses import as_json
from taskflow.api.route import MERGE_PATCH, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.audit import Action
from taskflow.model.errors import QueueNotFound
from taskflow.model.filter import TaskFilter
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import NO_SETTINGS, QueueChange, QueueSettings
from taskflow.model.queues import Queue, QueueStatistics, queue_of
from taskflow.model.task import QueueName, TaskStatus
from taskflow.model.task_states import StateNumbers
from taskflow.schema.filters import BulkSelection
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.queues import (
    Permissions,
    QueuePatch,
    QueueRequest,
    patch_of,
    replacement_of,
)
from taskflow.store.base.store import TaskStore

MAX_QUEUES: Final = 1000

_QUEUE: Final = RouteResponse("The queue.", Queue, QUEUE)
_NEW_QUEUE: Final = RouteResponse(
    "The queue, which had no settings before.", Queue, QUEUE, HTTPStatus.CREATED
)
_ONE_QUEUE: Final[dict[str, Any]] = {
    "group": "queues",
    "problems": (HTTPStatus.NOT_FOUND,),
    "path_parameters": (Parameter("name", "The name of the queue.", QueueName, "mail"),),
}


@Route("GET", "/queues", "queues", (RouteResponse("The queues.", list[Queue], [QUEUE]),))
async def list_queues(services: Services) -> Response:
    """List queues by name.

    Queues that have settings or tasks, and those where a task finished within the last hour; 1,000
    at most. Any other queue is available by its name.
    """
    with store_timeout():
        settings = await services.store.queues.first(MAX_QUEUES)
        counted = await services.store.count(limit=MAX_QUEUES)
        states = await services.store.monitoring.states()
    statistics = {one.queue: one for one in counted.queues}
    names = sorted(settings.keys() | statistics.keys())[:MAX_QUEUES]
    return as_json(
        [_shown(name, settings.get(name), statistics.get(name), states.of(name)) for name in names]
    )


@Route("GET", "/queues/{name}", responses=(_QUEUE,), **_ONE_QUEUE)
async def show_queue(services: Services, name: str) -> Response:
    """Get the settings and the counts of a queue.

    A queue exists once it has a task or settings.
    """
    return as_json(await _found(services.store, queue_name_of(name)))


@Route(
    "PUT",
    "/queues/{name}",
    responses=(_QUEUE, _NEW_QUEUE),
    body=QueueRequest,
    body_examples={
        "limited": {"max_concurrency": 10, "rate": 5, "per_host": {"max_concurrency": 2}},
        "in bursts": {"rate": {"per_second": 0.5, "burst": 10}},
        "paused": {"paused": True},
        "signed": {"sign": True},
        "with a proxy": {"egress_proxy": "http://worker:s3cret@proxy.example:3128"},
        "free": {},
    },
    **_ONE_QUEUE,
)
async def put_queue(services: Services, name: str) -> Response:
    """Replace the settings of a queue.

    Removes a setting that is absent, except ``paused`` and ``egress_proxy``, which stay as they
    are; ``PATCH`` changes one alone. The settings apply to all nodes together, to every task that
    starts after the response; running tasks go on.
    """
    change = replacement_of(await read_json(), name, await _permissions(services))
    return await _changed(services.store, queue_name_of(name), change)


@Route(
    "PATCH",
    "/queues/{name}",
    responses=(_QUEUE, _NEW_QUEUE),
    body=QueuePatch,
    body_type=MERGE_PATCH,
    body_examples={
        "one limit": {"rate": 5},
        "a limit removed": {"max_concurrency": None},
        "a limit of each host": {"per_host": {"max_concurrency": 2}},
        "paused": {"paused": True},
    },
    **_ONE_QUEUE,
)
async def patch_queue(services: Services, name: str) -> Response:
    """Change some settings of a queue."""
    change = patch_of(await read_json(), name, await _permissions(services))
    return await _changed(services.store, queue_name_of(name), change)


@Route("POST", "/queues/{name}/pause", responses=(_QUEUE,), **_ONE_QUEUE)
async def pause_queue(services: Services, name: str) -> Response:
    """Pause a queue.

    None of its tasks starts until it is resumed. Running tasks go on; other settings stay.
    """
    return await _with_pause(services.store, name, is_paused=True)


@Route("POST", "/queues/{name}/resume", responses=(_QUEUE,), **_ONE_QUEUE)
async def resume_queue(services: Services, name: str) -> Response:
    """Resume a paused queue.

    Its pending tasks start in their order.
    """
    return await _with_pause(services.store, name, is_paused=False)


@Route("POST", "/queues/{name}/purge", responses=(BULK_RESULT,), **_ONE_QUEUE)
async def purge_queue(services: Services, name: str) -> Response:
    """Cancel the pending tasks of a queue.

    All of its PENDING tasks become CANCELED.
    """
    await read_body()
    cancel_pending = BulkAction(
        (TaskStatus.PENDING,), services.store.cancel_many, Action.QUEUE_PURGE
    )
    wanted = TaskFilter(queue=queue_name_of(name))
    moved = await run_bulk_action(
        services.store,
        cancel_pending,
        BulkSelection(wanted, is_dry_run=False),
        actor_of_request(),
    )
    return as_json(moved)


async def _permissions(services: Services) -> Permissions:
    return permissions_with(services, await services.submissions.credentials.read())


def permissions_with(services: Services, credentials: KnownCredentials) -> Permissions:
    """Return what the request may change in a queue, and what that is validated with."""
    return Permissions(
        can_sign=services.settings.has_webhook_secrets,
        may_set_proxy=role_of_request() is Role.ADMIN and scope_of_request() is None,
        credentials=credentials,
        keyring=services.keyring,
    )


async def _changed(store: TaskStore, name: str, change: QueueChange) -> Response:
    with store_timeout():
        changed = await store.queues.change(name, change, by=actor_of_request())
    shown = await _found(store, name, is_after_write=True)
    return as_json(shown, status=201 if changed.is_new else 200)


async def _with_pause(store: TaskStore, name: str, *, is_paused: bool) -> Response:
    await read_body()
    name = queue_name_of(name)
    with store_timeout():
        await store.queues.set_paused(name, is_paused=is_paused, by=actor_of_request())
    return as_json(await _found(store, name, is_after_write=True))


async def _found(store: TaskStore, name: str, *, is_after_write: bool = False) -> Queue:
    """Return the queue.

    Raises:
        QueueNotFound: It has no tasks and no settings.
    """
    with store_timeout():
        settings = await store.queues.get(name)
        counted = await store.count(limit=1, queue=name, is_after_write=is_after_write)
        states = await store.monitoring.states(queue=name, is_after_write=is_after_write)
    [statistics] = counted.queues
    if settings is None and not any(statistics.counts.values()):
        raise QueueNotFound
    return _shown(name, settings, statistics, states.of(name))


def _shown(
    name: str,
    settings: QueueSettings | None,
    statistics: QueueStatistics | None,
    states: StateNumbers,
) -> Queue:
    settings = settings or NO_SETTINGS
    statistics = statistics or queue_of(name, (), None)
    return Queue(
        name=name,
        paused=settings.paused,
        max_concurrency=settings.max_concurrency,
        rate=settings.rate,
        per_host=settings.per_host,
        sign=settings.sign,
        credential=settings.credential,
        egress_proxy=masked_proxy(settings.egress_proxy),
        counts=statistics.counts,
        oldest_waiting_seconds=statistics.oldest_waiting_seconds,
        finished=statistics.finished,
        states=states,
    )


ROUTES: Final = (
    *(list_queues, show_queue, put_queue, patch_queue),
    *(pause_queue, resume_queue, purge_queue),
)
