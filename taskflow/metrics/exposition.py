"""The numbers as Prometheus reads them, by prometheus-client."""

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
from taskflow.metrics.board import Board, Part
from taskflow.metrics.catalogue import Family, Kind, Labels
from taskflow.version import __version__

# Of thousands of pairs of a route and a status few ever come.
_SPARSE: Final = frozenset({catalogue.HTTP_REQUESTS.name, catalogue.HTTP_SECONDS.name})


class Reading(NamedTuple):
    """What was read for one scrape: the numbers of a metric, by the values of its labels."""

    family: Family
    values: Mapping[Labels, float]


class Exposition(NamedTuple):
    """A text for Prometheus, and what it is."""

    body: bytes
    content_type: str


def expose(board: Board, readings: Iterable[Reading], accept: str) -> Exposition:
    """Everything in the format that is asked for.

    Args:
        board: What was counted.
        readings: What was read just now.
        accept: The request's ``Accept``: OpenMetrics, or the older text if it is not named.
    """
    encode, content_type = _encoder_for(accept)
    registry = CollectorRegistry()
    registry.register(_Once([*_counted(board), *map(_metric_of, readings), _build()]))
    return Exposition(encode(registry), content_type)


def _encoder_for(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number is compared with numbers
        return choose_encoder("")


class _Once(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return self._metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _counted(board: Board) -> Iterator[Metric]:
    for part, cells in board.totals():
        if part.family.kind is Kind.HISTOGRAM:
            yield _histogram_of(part, cells)
        else:
            values = dict(zip(part.series, cells, strict=True))
            if part.family.name in _SPARSE:
                values = {labels: value for labels, value in values.items() if value}
            yield _metric_of(Reading(part.family, values))


def _metric_of(reading: Reading) -> Metric:
    family, values = reading
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _histogram_of(part: Part, cells: list[float]) -> Metric:
    family, width = part.family, part.family.width
    bounds = [*map(floatToGoString, family.buckets), "+Inf"]
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for number, labels in enumerate(part.series):
        *counts, seconds = cells[number * width : (number + 1) * width]
        if family.name in _SPARSE and not any(counts):
            continue
        running = itertools.accumulate(counts)
        metric.add_metric(labels, list(zip(bounds, running, strict=True)), seconds)
    return metric


def _build() -> Metric:
    return _metric_of(Reading(catalogue.BUILD, {(__version__,): 1.0}))
