"""The Quart-Trio app."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from quart_trio import QuartTrio

from taskflow.api import problems
from taskflow.api.access.api_keys import Keyring
from taskflow.api.access.gate import Gate
from taskflow.api.access.sessions import Sessions
from taskflow.api.bulk_actions import NoVerb, many_by_hand_routes
from taskflow.api.compression import Compressing
from taskflow.api.dashboard.routes import dashboard_routes
from taskflow.api.document.openapi import DocumentSource, document, openapi_routes
from taskflow.api.edge import Edge
from taskflow.api.health import health_routes
from taskflow.api.inline_requests import MAX_ARRAY_BYTES, OneTaskConnection
from taskflow.api.live.events import event_routes
from taskflow.api.live.feed import Feed
from taskflow.api.metrics import count_requests, metrics_routes
from taskflow.api.monitoring import monitoring_routes
from taskflow.api.problem_pages import problem_routes
from taskflow.api.queues import queue_routes
from taskflow.api.reference.docs_page import reference_routes
from taskflow.api.results import result_routes
from taskflow.api.schedules import schedule_routes
from taskflow.api.stats import statistics_routes
from taskflow.api.task_actions import by_hand_routes
from taskflow.api.tasks import task_routes
from taskflow.metrics import Metrics
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore

_NO_KEYS: Final = Keyring()


def create_app(  # noqa: PLR0913 - all that it is made of
    store: TaskStore,
    settings: Settings,
    is_running: Callable[[], bool],
    keys: Keyring = _NO_KEYS,
    feed: Feed | None = None,
    sessions: Sessions | None = None,
    *,
    metrics: Metrics | None = None,
) -> QuartTrio:
    """Make the app. It owns nothing: whoever made the store closes it.

    Args:
        store: Where the tasks are.
        settings: For the bounds.
        is_running: Whether tasks are being run, for ``/readyz``.
        keys: Who may use it; without any, whoever is on this machine.
        feed: What tells of events while it is run; without one nothing is told.
        sessions: How people sign in to the dashboard, where there are keys.
        metrics: What is counted, and told by ``/metrics``.
    """
    app = _bare_app(settings)
    feed = feed or Feed(store, settings.poll_seconds)
    metrics = metrics or Metrics()
    app.register_blueprint(task_routes(store, settings, feed, metrics))
    app.register_blueprint(event_routes(store, feed))
    app.register_blueprint(result_routes(store))
    app.register_blueprint(statistics_routes(store))
    app.register_blueprint(monitoring_routes(store))
    app.register_blueprint(queue_routes(store))
    app.register_blueprint(by_hand_routes(store))
    app.register_blueprint(many_by_hand_routes(store))
    app.register_blueprint(schedule_routes(store, settings))
    app.register_blueprint(health_routes(store, is_running))
    source = DocumentSource(partial(document, has_keys=bool(keys)))
    app.register_blueprint(openapi_routes(source))
    app.register_blueprint(reference_routes(source))
    app.register_blueprint(problem_routes())
    app.register_blueprint(metrics_routes(store, metrics))
    app.register_blueprint(dashboard_routes(store, settings, feed, sessions, metrics))
    _guard(app, Gate(settings, keys, sessions, store), metrics)
    return app


def create_metrics_app(
    store: TaskStore, settings: Settings, keys: Keyring, metrics: Metrics
) -> QuartTrio:
    """Make an app that has nothing but ``/metrics``, by the same rules; see ``create_app``."""
    app = _bare_app(settings)
    app.register_blueprint(metrics_routes(store, metrics))
    _guard(app, Gate(settings, keys), metrics)
    return app


def _bare_app(settings: Settings) -> QuartTrio:
    app = QuartTrio("taskflow", static_folder=None)
    app.asgi_http_class = OneTaskConnection
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config[MAX_ARRAY_BYTES] = max(settings.max_array_bytes, settings.max_body_bytes)
    app.config["BODY_TIMEOUT"] = settings.request_seconds
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.converters["default"] = NoVerb
    problems.install(app)
    return app


def _guard(app: QuartTrio, gate: Gate, metrics: Metrics) -> None:
    """Put the edge around an app that has all its routes."""
    count_requests(app, metrics)
    edge: Any = Edge(Compressing(app.asgi_app), gate, metrics)
    app.asgi_app = edge  # type: ignore[method-assign]  # as Quart's docs advise
