"""Names, labels, buckets and help texts follow the conventions of Prometheus."""

from __future__ import annotations

import re

import pytest

from taskflow.metrics.catalogue import CATALOGUE, Kind
from taskflow.model.outcome import ErrorType


@pytest.mark.parametrize("family", CATALOGUE, ids=lambda family: family.name)
class TestFamily:
    def test_name(self, family):
        """Names begin with taskflow_; counters end with _total, and durations are in seconds."""
        assert re.fullmatch(r"taskflow(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        if family.kind is Kind.HISTOGRAM:
            assert family.name.endswith("_seconds")

    def test_help(self, family):
        """The help text is at least one sentence, in one line."""
        assert re.fullmatch(r"[A-Z0-9].+\.", family.help)
        assert "|" not in family.help, "it is part of a table"

    def test_buckets(self, family):
        """Histograms have increasing buckets; other metrics have none."""
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
        assert list(family.buckets) == sorted(set(family.buckets))
        assert all(bound > 0 for bound in family.buckets)

    def test_series(self, family):
        """Series have a value for each label, are unique, and are few."""
        for labels in family.series or ():
            assert len(labels) == len(family.labels)
        assert len(set(family.series or ())) == len(family.series or ()) <= 60


def test_names_are_unique():
    assert len({family.name for family in CATALOGUE}) == len(CATALOGUE) > 25


def test_every_error_type_has_a_series():
    """Failed and retried attempts have one for each error type, other ends have none."""
    [attempts] = [family for family in CATALOGUE if family.name == "taskflow_attempts_total"]
    for error_type in ErrorType:
        assert ("failed", error_type) in attempts.series
        assert ("retried", error_type) in attempts.series
    assert ("completed", "") in attempts.series
