"""docs/reference/metrics.md, from the catalogue of metrics and the rules for alerts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from taskflow.metrics.catalogue import CATALOGUE, Family, Kind
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

ALERTS = Path(__file__).parents[2] / "docs/monitoring/alerts.yaml"

INTRODUCTION = """\
This page lists the metrics that `GET /metrics` returns, and the alerts that use them.
[Monitor TaskFlow](../how-to/monitor-it.md) shows how to collect them."""

PROCESSES = """\
## Process metrics

Counters and histograms start at zero with the process; gauges show its current state. Add the
values of several processes. Under Hypercorn with several worker processes (`-w 2`), each of them
reports all: the counters also of processes that have exited, the gauges of running processes only.

All series exist from the start, except the HTTP series: these appear with the first request to a
route and the first response with a status."""

STORE = """\
## Store metrics

These are read from the database at each scrape, so every node reports the same values. **Use
`max` over nodes, never `sum`**: `sum by (status) (max by (queue, status) (taskflow_tasks))`. While
the database is unavailable they are missing, and `taskflow_store_up` is 0."""

BUCKETS = """\
## Buckets

The bucket bounds of the histograms, in seconds."""

RULES = """\
## Alerts

The rules of [alerts.yaml](../monitoring/alerts.yaml)."""


def page() -> str:
    """The reference."""
    return page_of(
        "Metrics",
        "taskflow/metrics/catalogue.py and docs/monitoring/alerts.yaml",
        INTRODUCTION,
        PROCESSES,
        _table([family for family in CATALOGUE if not family.is_of_store]),
        STORE,
        _table([family for family in CATALOGUE if family.is_of_store]),
        BUCKETS,
        table(["metric", "bounds"], _buckets()),
        RULES,
        table(["alert", "severity", "when", "for", "what to do"], _alerts()),
    )


def alerts() -> list[dict[str, Any]]:
    """The rules of the file."""
    [group] = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return list(group["rules"])


def _table(families: list[Family]) -> str:
    rows = (
        (code(one.name), one.kind, ", ".join(map(code, one.labels)), one.help) for one in families
    )
    return table(["metric", "kind", "labels", "meaning"], rows)


def _buckets() -> Iterator[tuple[str, str]]:
    for family in CATALOGUE:
        if family.kind is Kind.HISTOGRAM:
            yield code(family.name), ", ".join(f"{bound:g}" for bound in family.buckets)


def _alerts() -> Iterator[tuple[str, ...]]:
    for rule in alerts():
        yield (
            code(rule["alert"]),
            rule["labels"]["severity"],
            code(rule["expr"]),
            rule.get("for", ""),
            _without_templates(rule["annotations"]["description"]),
        )


def _without_templates(text: str) -> str:
    """Return the text with a word in place of each value that Prometheus fills in."""
    for filled, word in (
        ("{{ $value | humanizeDuration }}", "DURATION"),
        ("{{ $value }}", "N"),
        ("{{ $labels.queue }}", "NAME"),
    ):
        text = text.replace(filled, word)
    assert "{{" not in text, text
    return text
