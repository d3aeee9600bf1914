"""What those look at who keep TaskFlow running."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from taskflow.api.document.examples import HOST, MINUTE, NODE
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer
from taskflow.api.monitoring import History
from taskflow.api.stats import StatisticsRequest
from taskflow.model.monitoring import HostRecord, NodeRecord
from taskflow.model.task import DEFAULT_QUEUE

MONITORING: Final = (
    Operation(
        method="get",
        path="/stats/history",
        name="showHistory",
        group="monitoring",
        summary="What ended in each minute of the last hour",
        description="Of all queues, or of the one that `queue` names.",
        query=StatisticsRequest,
        query_examples={"queue": DEFAULT_QUEUE},
        answer=Answer(
            description="Sixty minutes by the clock, also those in which nothing ended.",
            kind=History,
            example=History([MINUTE]),
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="get",
        path="/nodes",
        name="listNodes",
        group="monitoring",
        summary="Who runs tasks, and is alive",
        description="By name, the first 1,000; a node that died is listed for a minute more.",
        answer=Answer(description="The nodes.", kind=list[NodeRecord], example=[NODE]),
        problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        method="get",
        path="/hosts",
        name="listHosts",
        group="monitoring",
        summary="Which hosts are held back, or slow",
        description="Those held back first, then the slowest by the newest 1,000 tasks that were "
        "fetched; 100 at most.",
        answer=Answer(description="The hosts.", kind=list[HostRecord], example=[HOST]),
        problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        method="get",
        path="/metrics",
        name="showMetrics",
        group="monitoring",
        summary="What Prometheus is told",
        description="In Prometheus' text format, or as OpenMetrics if `Accept` names that. "
        "`docs/reference/metrics.md` has all metrics. It answers without the store, too, and says "
        "so by `taskflow_store_up`.",
        answer=Answer(
            description="The metrics.",
            kind=str,
            example="# HELP taskflow_store_up Whether the store answered this scrape in time.\n"
            "# TYPE taskflow_store_up gauge\ntaskflow_store_up 1.0\n",
            media_type="text/plain",
        ),
    ),
)
