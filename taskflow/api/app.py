"""The Quart-Trio app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from quart_trio import QuartTrio

from taskflow.api import (
    alerts,
    audit,
    bulk_actions,
    completions,
    configuration,
    credentials,
    endpoint_actions,
    endpoints,
    grouped_failures,
    groups,
    heartbeats,
    identity_documents,
    metrics,
    monitoring,
    pings,
    post_batch,
    post_tasks,
    problem_pages,
    problems,
    queues,
    results,
    schedules,
    task_actions,
    tasks,
    topics,
)
from taskflow.api.access.api_keys import ApiKeys
from taskflow.api.access.gate import Gate
from taskflow.api.access.rejected_keys import RejectedKeys
from taskflow.api.access.roles import AccessPolicy, PathPolicies
from taskflow.api.access.sessions import Sessions
from taskflow.api.compression import Compressing
from taskflow.api.dashboard.audit_log import AUDIT_PAGE
from taskflow.api.dashboard.credentials import CREDENTIALS_PAGE
from taskflow.api.dashboard.routes import dashboard_routes
from taskflow.api.document import openapi
from taskflow.api.document.openapi import document
from taskflow.api.inline_requests import MAX_ARRAY_BYTES, InlineConnection
from taskflow.api.live import events, group_events
from taskflow.api.live.feed import Feed
from taskflow.api.middleware import Middleware
from taskflow.api.missing_parts import MissingParts
from taskflow.api.ping_urls import PingUrls
from taskflow.api.published_keys import PublishedKeys
from taskflow.api.quart_app import QuartApp
from taskflow.api.reference import docs_page
from taskflow.api.route import register
from taskflow.api.services import DocumentSource, Services
from taskflow.api.submission import Submissions
from taskflow.metrics import Metrics
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore

ROUTES: Final = (
    *post_tasks.ROUTES,
    *post_batch.ROUTES,
    *bulk_actions.ROUTES,
    *tasks.ROUTES,
    *events.ROUTES,
    *task_actions.ROUTES,
    *results.ROUTES,
    *completions.ROUTES,
    *queues.ROUTES,
    *monitoring.ROUTES,
    *grouped_failures.ROUTES,
    *metrics.ROUTES,
    *groups.ROUTES,
    *topics.ROUTES,
    *endpoints.ROUTES,
    *endpoint_actions.ROUTES,
    *group_events.ROUTES,
    *schedules.ROUTES,
    *alerts.ROUTES,
    *heartbeats.ROUTES,
    *pings.ROUTES,
    *audit.ROUTES,
    *credentials.ROUTES,
    *configuration.ROUTES,
    *identity_documents.ROUTES,
    *monitoring.HEALTH_ROUTES,
    *openapi.ROUTES,
    *docs_page.ROUTES,
    *problem_pages.ROUTES,
)
"""All routes of the API, in the order of the document."""

UNTRACED_PATHS: Final = frozenset(route.path.encode() for route in ROUTES if not route.is_traced)
_POLICIES: Final = PathPolicies(
    [
        *((route.path, route.access) for route in ROUTES),
        *((path, AccessPolicy.ADMIN_KEY) for path in (AUDIT_PAGE, CREDENTIALS_PAGE)),
        (f"{CREDENTIALS_PAGE}/{{name}}", AccessPolicy.ADMIN_KEY),
    ]
)
_NO_KEYS: Final = ApiKeys()


def create_app(  # noqa: PLR0913 - all that it is made of
    store: TaskStore,
    settings: Settings,
    is_running: Callable[[], bool],
    keys: ApiKeys = _NO_KEYS,
    feed: Feed | None = None,
    sessions: Sessions | None = None,
    *,
    metrics: Metrics | None = None,
    keyring: Keyring = NO_KEYS,
    rejected_keys: RejectedKeys | None = None,
    has_parts: bool = False,
) -> QuartTrio:
    """Create the app. It does not close the store.

    Args:
        store: Where the tasks are kept.
        settings: The settings of the service.
        is_running: Returns whether workers are running, for ``/readyz``.
        keys: The API keys. Without any, the service answers on the loopback address only.
        feed: Reports events while it runs. Without one, no events are reported.
        sessions: The sessions of the dashboard, if there are keys.
        metrics: The counters that ``/metrics`` reports.
        keyring: Encrypts and decrypts data at rest.
        rejected_keys: Counts rejected keys and sign-ins; its owner runs it.
        has_parts: Whether reads may leave out parts of the store that do not answer.
    """
    app = _bare_app(settings)
    counters = metrics or Metrics()
    feed = feed or Feed(store, settings.poll_seconds)
    services = _services(store, settings, counters, feed, is_running, has_keys=bool(keys))
    services = msgspec.structs.replace(services, keyring=keyring, has_parts=has_parts)
    if sessions is not None:
        services = msgspec.structs.replace(services, secret=sessions.secret)
    register(app, ROUTES, services)
    app.register_blueprint(docs_page.signed_in_routes(services.document))
    rejected_keys = rejected_keys or RejectedKeys(store.audit.record)
    app.register_blueprint(
        dashboard_routes(store, settings, feed, sessions, counters, rejected_keys, keyring=keyring)
    )
    _guard(app, Gate(settings, keys, _POLICIES, sessions, store, rejected_keys), counters)
    if has_parts:
        with_missing: Any = MissingParts(app.asgi_app)
        app.asgi_app = with_missing  # type: ignore[method-assign]  # as in _guard
    return app


def create_metrics_app(
    store: TaskStore,
    settings: Settings,
    keys: ApiKeys,
    counters: Metrics,
    rejected_keys: RejectedKeys,
) -> QuartTrio:
    """Create an app with ``/metrics`` alone, with the same access rules; see ``create_app``."""
    app = _bare_app(settings)
    feed = Feed(store, settings.poll_seconds)
    register(app, metrics.ROUTES, _services(store, settings, counters, feed, lambda: False))
    _guard(app, Gate(settings, keys, _POLICIES, rejected_keys=rejected_keys), counters)
    return app


def _services(
    store: TaskStore,
    settings: Settings,
    counters: Metrics,
    feed: Feed,
    is_running: Callable[[], bool],
    *,
    has_keys: bool = False,
) -> Services:
    return Services(
        store=store,
        settings=settings,
        metrics=counters,
        feed=feed,
        submissions=Submissions(store, settings, counters),
        published_keys=PublishedKeys(store.signing_keys),
        masking=Masking(settings.masked_headers),
        document=DocumentSource(lambda: document(ROUTES, has_keys=has_keys)),
        is_running=is_running,
        ping_urls=PingUrls(store, settings.public_url),
    )


def _bare_app(settings: Settings) -> QuartTrio:
    app = QuartApp("taskflow", static_folder=None)
    app.asgi_http_class = InlineConnection
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config[MAX_ARRAY_BYTES] = max(settings.max_array_bytes, settings.max_body_bytes)
    app.config["BODY_TIMEOUT"] = settings.request_seconds
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.converters["default"] = bulk_actions.NotABulkAction
    problems.install(app)
    return app


def _guard(app: QuartTrio, gate: Gate, counters: Metrics) -> None:
    """Put the middleware around an app that has all its routes."""
    metrics.count_requests(app, counters)
    middleware: Any = Middleware(Compressing(app.asgi_app), gate, counters)
    app.asgi_app = middleware  # type: ignore[method-assign]  # as Quart's docs advise
