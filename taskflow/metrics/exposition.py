"""Renders metrics in the formats of Prometheus, with prometheus-client."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from taskflow.metrics import catalogue
from taskflow.metrics.catalogue import Family, Kind, Labels
from taskflow.metrics.registry import Allocation, Registry
from taskflow.version import __version__

# Families of which only series with a value are shown: most pairs of route and status never occur.
_SPARSE: Final = frozenset({catalogue.HTTP_REQUESTS.name, catalogue.HTTP_SECONDS.name})


class Reading(NamedTuple):
    """Values of a metric that were read for one scrape, by labels."""

    family: Family
    values: Mapping[Labels, float]


class Exposition(NamedTuple):
    """A response to Prometheus."""

    body: bytes
    content_type: str


def expose(registry: Registry, readings: Iterable[Reading], accept: str) -> Exposition:
    """Render all metrics.

    Args:
        registry: The values of this process and of the processes that it shares with.
        readings: Values read from the store for this scrape.
        accept: The ``Accept`` header; the text format is the default, OpenMetrics the alternative.
    """
    encode, content_type = _encoder_for(accept)
    collector = CollectorRegistry()
    collector.register(_Once([*_counted(registry), *map(_metric_of, readings), _build()]))
    return Exposition(encode(collector), content_type)


def _encoder_for(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # raised for a version that is not a number
        return choose_encoder("")


class _Once(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return self._metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _counted(registry: Registry) -> Iterator[Metric]:
    for allocation, cells in registry.totals():
        if allocation.family.kind is Kind.HISTOGRAM:
            yield _histogram_of(allocation, cells)
        else:
            values = dict(zip(allocation.series, cells, strict=True))
            if allocation.family.name in _SPARSE:
                values = {labels: value for labels, value in values.items() if value}
            yield _metric_of(Reading(allocation.family, values))


def _metric_of(reading: Reading) -> Metric:
    family, values = reading
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _histogram_of(allocation: Allocation, cells: list[float]) -> Metric:
    family, width = allocation.family, allocation.family.width
    bounds = [*map(floatToGoString, family.buckets), "+Inf"]
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for number, labels in enumerate(allocation.series):
        *counts, seconds = cells[number * width : (number + 1) * width]
        if family.name in _SPARSE and not any(counts):
            continue
        running = itertools.accumulate(counts)
        metric.add_metric(labels, list(zip(bounds, running, strict=True)), seconds)
    return metric


def _build() -> Metric:
    return _metric_of(Reading(catalogue.BUILD, {(__version__,): 1.0}))
