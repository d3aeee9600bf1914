"""Names, labels, buckets and help texts keep to what Prometheus asks of them."""

from __future__ import annotations

import re

import pytest

from taskflow.metrics.catalogue import CATALOGUE, Kind
from taskflow.model.outcome import ErrorType


@pytest.mark.parametrize("family", CATALOGUE, ids=lambda family: family.name)
class TestFamily:
    def test_its_name(self, family):
        """It begins with taskflow_; a counter ends with _total, and durations are in seconds."""
        assert re.fullmatch(r"taskflow(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        if family.kind is Kind.HISTOGRAM:
            assert family.name.endswith("_seconds")

    def test_its_help(self, family):
        """A sentence or more, in one line."""
        assert re.fullmatch(r"[A-Z0-9].+\.", family.help)
        assert "|" not in family.help, "it stands in a table"

    def test_its_buckets(self, family):
        """A histogram has some, in order and each once; others have none."""
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
        assert list(family.buckets) == sorted(set(family.buckets))
        assert all(bound > 0 for bound in family.buckets)

    def test_its_series(self, family):
        """Each has a value for each label and comes once; they are few."""
        for labels in family.series or ():
            assert len(labels) == len(family.labels)
        assert len(set(family.series or ())) == len(family.series or ()) <= 50


def test_names_are_told_apart():
    assert len({family.name for family in CATALOGUE}) == len(CATALOGUE) > 25


def test_every_reason_of_a_failure_has_its_place():
    """A failed attempt and one that is retried may have any of them; other ends have none."""
    [attempts] = [family for family in CATALOGUE if family.name == "taskflow_attempts_total"]
    for error_type in ErrorType:
        assert ("failed", error_type) in attempts.series
        assert ("retried", error_type) in attempts.series
    assert ("completed", "") in attempts.series
