"""Exposition of metrics in both formats."""

from __future__ import annotations

import math

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import CATALOGUE, FETCH, POSTPONING, TASKS, AttemptEnd, Kind
from taskflow.metrics.exposition import Reading, expose
from taskflow.model.outcome import ErrorType, Refusal
from taskflow.version import __version__
from tests.metrics.scrape import Scrape, promtool

ROUTES = [("/tasks", ("GET", "POST")), ("/tasks/{id}", ("GET",))]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.declare_routes(ROUTES)
    return metrics


def scrape(metrics: Metrics, *readings: Reading) -> Scrape:
    return Scrape(expose(metrics.registry, readings, "").body.decode())


def test_all_series_exist_from_the_start(metrics):
    """Series that were never counted are zero, so that rates are right from the first scrape."""
    reported = scrape(metrics)
    for family in CATALOGUE:
        if family.series is None or "store" in family.name or family.is_of_store:
            continue  # known to a running service, or read when it is asked
        name = family.name + ("_count" if family.kind is Kind.HISTOGRAM else "")
        assert len(list(reported.samples(name))) == len(family.series), name
    assert reported.sum("taskflow_attempts_total") == 0
    expected = 5 + len(POSTPONING) + 2 * len(ErrorType)
    assert len(list(reported.samples("taskflow_attempts_total"))) == expected
    assert reported.value("taskflow_processes") == 1
    assert reported.value("taskflow_build_info", version=__version__) == 1
    assert reported.sum("taskflow_http_requests_total") == 0


def test_counters(metrics):
    """Each event is counted once, with its labels."""
    metrics.accepted(3)
    metrics.claimed(2, is_direct=True)
    metrics.claimed(5, is_direct=False)
    metrics.attempt_ended(AttemptEnd.COMPLETED)
    metrics.attempt_ended(AttemptEnd.FAILED, "dns")
    metrics.dropped(is_canceled=False)
    metrics.refused(Refusal.PORT)
    metrics.breaker_opened()
    metrics.breaker_closed()
    metrics.rescued(pending=4, poisoned=1)
    metrics.lease_lost()
    metrics.store_lost()
    reported = scrape(metrics)
    assert reported.value("taskflow_accepted_tasks_total") == 3
    assert reported.nonzero("taskflow_claimed_tasks_total", "way") == {"direct": 2, "claim": 5}
    assert reported.nonzero("taskflow_attempts_total", "outcome") == {"completed": 1, "failed": 1}
    assert reported.nonzero("taskflow_attempts_total", "error_type") == {"": 1, "dns": 1}
    assert reported.nonzero("taskflow_outcomes_dropped_total", "reason") == {"late": 1}
    assert reported.nonzero("taskflow_guard_refusals_total", "rule") == {"port": 1}
    assert reported.nonzero("taskflow_breaker_moves_total", "move") == {"opened": 1, "closed": 1}
    assert reported.nonzero("taskflow_rescued_tasks_total", "fate") == {"pending": 4, "poison": 1}
    assert reported.value("taskflow_leases_lost_total") == 1
    assert reported.value("taskflow_store_outages_total") == 1


def test_a_histogram(metrics):
    """Buckets are cumulative and include their upper bounds."""
    for seconds in (0.001, 0.0011, 0.2, 1000.0, -0.5):
        metrics.fetched(seconds)
    reported = scrape(metrics)
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in reported.samples("taskflow_fetch_seconds_bucket")
    }
    assert list(buckets) == [*FETCH.buckets, math.inf]
    assert buckets[0.001] == 2  # one that seems to have ended before it began took no time
    assert buckets[0.0025] == 3
    assert buckets[0.1] == 3
    assert buckets[0.25] == 4
    assert buckets[300.0] == 4
    assert buckets[math.inf] == reported.value("taskflow_fetch_seconds_count") == 5
    assert reported.value("taskflow_fetch_seconds_sum") == pytest.approx(1000.2021)


def test_requests_by_route(metrics):
    """Undeclared routes and methods are counted as none and other."""
    metrics.answered("GET", "/tasks", 200, 0.1)
    metrics.answered("GET", "/tasks", 503, 0.1)
    metrics.answered("GET", "none", 404, 0.1)
    metrics.answered("BREW", "/pot", 418, 0.1)
    metrics.answered("GET", "/tasks", 999, 0.1)
    reported = scrape(metrics)
    seen = {
        (s.labels["method"], s.labels["route"], s.labels["code"]): s.value
        for s in reported.samples("taskflow_http_requests_total")
    }
    assert seen == {
        ("GET", "/tasks", "200"): 1,
        ("GET", "/tasks", "503"): 1,
        ("GET", "/tasks", "other"): 1,
        ("GET", "none", "404"): 1,
        ("other", "none", "418"): 1,
    }
    counts = {
        (s.labels["method"], s.labels["route"]): s.value
        for s in reported.samples("taskflow_http_request_seconds_count")
    }
    assert counts == {("GET", "/tasks"): 3, ("GET", "none"): 1, ("other", "none"): 1}


def test_names_of_clients_are_escaped(metrics):
    """A queue may have any name."""
    name = 'a "queue"\\ of\nlines, ü'
    reported = scrape(metrics, Reading(TASKS, {(name, "PENDING"): 7.0}))
    assert reported.value("taskflow_tasks", queue=name, status="PENDING") == 7


def test_open_metrics(metrics):
    """The OpenMetrics format is used if ``Accept`` names it."""
    metrics.attempt_ended(AttemptEnd.COMPLETED)
    reported = expose(metrics.registry, (), "application/openmetrics-text; version=1.0.0")
    assert reported.content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {f.name: f for f in text_string_to_metric_families(reported.body.decode())}
    assert sum(s.value for s in families["taskflow_attempts"].samples) == 1


def test_promtool(metrics):
    """It checks conventions that a parser does not know."""
    metrics.answered("GET", "/tasks", 200, 0.1)
    assert promtool("check", "metrics", given=scrape(metrics).text) == ""
