"""The dashboard and the alerts know of no metric that is not told, and promtool takes them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from taskflow.metrics.catalogue import CATALOGUE, Family, Kind
from tests.metrics.scrape import promtool
from tests.reference.metrics import alerts

FOLDER = Path(__file__).parents[1] / "docs/monitoring"
DASHBOARD = json.loads((FOLDER / "grafana.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.COUNTER: ("",), Kind.GAUGE: ("",)}
NAMED: dict[str, Family] = {
    family.name + suffix: family for family in CATALOGUE for suffix in SUFFIXES[family.kind]
}
SELECTOR = re.compile(r"(taskflow_\w+)(?:{([^}]*)})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
OF_PROMETHEUS = {"job", "instance", "le"}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, and where it stands."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in alerts():
        yield rule["alert"], rule["expr"]


class TestExpressions:
    def test_their_metrics_exist(self):
        """Names, labels and label values are in the catalogue."""
        for place, expression in expressions():
            for name, matchers in SELECTOR.findall(expression):
                for label, how, value in MATCHER.findall(matchers):
                    assert is_known(NAMED[name], label, how, value), (place, label, value)

    def test_they_group_by_labels_that_there_are(self):
        """Else they would group all in one, without a word."""
        for place, expression in expressions():
            names = [name for name, _ in SELECTOR.findall(expression)]
            known = OF_PROMETHEUS.union(*(NAMED[name].labels for name in names))
            for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression):
                assert set(group.split(", ")) <= known, place

    def test_values_from_the_store_are_not_summed(self):
        """Gauges that all nodes read from the store are aggregated by their maximum."""
        for place, expression in expressions():
            for name, _ in SELECTOR.findall(expression):
                if NAMED[name].is_of_store:
                    assert re.search(rf"max(?: by \([^)]*\))? ?\({name}\b", expression), place

    def test_only_counters_have_rates(self):
        """Counters are always queried with a rate."""
        for place, expression in expressions():
            for name, _ in SELECTOR.findall(expression):
                has_rate = re.search(rf"(?:rate|increase)\({name}\b", expression) is not None
                assert has_rate == (NAMED[name].kind is not Kind.GAUGE), place


def is_known(family: Family, label: str, how: str, value: str) -> bool:
    """Whether a metric has a label, with a value that the matcher selects."""
    if label not in family.labels or family.series is None:
        return label in {*family.labels, *OF_PROMETHEUS}
    values = {one[family.labels.index(label)] for one in family.series}
    pattern = value if "~" in how else re.escape(value)
    return any(re.fullmatch(pattern, one) for one in values)


def test_each_metric_is_used():
    """Each metric is in the dashboard, in an alert, or part of another."""
    shown = {
        NAMED[name].name
        for _, expression in expressions()
        for name, _ in SELECTOR.findall(expression)
    }
    assert {family.name for family in CATALOGUE} == shown


def test_each_alert_says_what_to_do():
    """Each alert has a summary, a description and a severity."""
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert "\n" not in rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 80


def test_each_alert_has_a_test():
    """In which it fires."""
    [text] = [(FOLDER / "alerts_test.yaml").read_text("utf-8")]
    fired = set(re.findall(r'ALERTS{alertname="(\w+)"', text))
    assert fired == {rule["alert"] for rule in alerts()}
    quiet = [test for test in yaml.safe_load(text)["tests"] if "promql_expr_test" in test]
    assert any(all(one["exp_samples"] == [] for one in test["promql_expr_test"]) for test in quiet)


def test_panels_can_be_laid_out():
    """Each has its id, its place and its data source; none lies on another."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in itertools.combinations(DASHBOARD["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "job"]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_promtool_accepts_the_alerts():
    """They are valid, and fire when they should and not otherwise."""
    assert "SUCCESS" in promtool("check", "rules", FOLDER / "alerts.yaml")
    assert "SUCCESS" in promtool("test", "rules", FOLDER / "alerts_test.yaml")


def test_promtool_accepts_the_expressions_of_the_dashboard(tmp_path):
    """They are checked as rules, which is what promtool can check."""
    rules: list[dict[str, Any]] = [
        {"record": f"panel:{number}", "expr": grafana_filled(target["expr"])}
        for number, target in enumerate(t for panel in PANELS for t in panel["targets"])
    ]
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", file)


def grafana_filled(expression: str) -> str:
    """With what Grafana puts in."""
    return expression.replace("$__rate_interval", "1m").replace("$job", ".+")
