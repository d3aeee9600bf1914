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
For whoever looks after TaskFlow with Prometheus. `GET /metrics` tells these;
[Monitor it](../how-to/monitor-it.md) says how it is scraped."""

PROCESSES = """\
## Of this process

Counters and histograms begin at zero with the process, gauges say how it stands. Of several
processes take the sum. Those of one Hypercorn (`-w 2`) are told together, whichever of them
answers: counters of all, also of processes that have died since; gauges of those that live.

All series are there from the start but those of HTTP: these come with the first request to a route,
and with the first answer of a status."""

STORE = """\
## Of the store

These are read from the database when they are asked for, so every node says the same: **take `max`
over nodes, never `sum`**: `sum by (status) (max by (queue, status) (taskflow_tasks))`. While the
database is away they are missing, and `taskflow_store_up` is 0."""

BUCKETS = """\
## Buckets

The bounds of the histograms, in seconds."""

RULES = """\
## Alerts

Those of [alerts.yaml](../monitoring/alerts.yaml), with what each tells to do."""


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
    """What is filled in by Prometheus, by its name."""
    for filled, word in (
        ("{{ $value | humanizeDuration }}", "so long"),
        ("{{ $value }}", "So many"),
        ("{{ $labels.queue }}", "NAME"),
    ):
        text = text.replace(filled, word)
    assert "{{" not in text, text
    return text
