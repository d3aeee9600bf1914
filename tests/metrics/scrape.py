"""Parses scrapes; runs promtool if it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests import debian


class Scrape:
    """A text that Prometheus would read, and can."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        """Yield the samples of this name that have these labels."""
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    yield sample

    def value(self, name: str, **labels: str) -> float:
        """The one sample that has these labels."""
        [sample] = self.samples(name, **labels)
        return sample.value

    def sum(self, name: str, **labels: str) -> float:
        """All samples that have these labels, together."""
        return sum(sample.value for sample in self.samples(name, **labels))

    def nonzero(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """What is not zero, by one of its labels."""
        return {s.labels[label]: s.value for s in self.samples(name, **labels) if s.value}


def promtool(*arguments: str | Path, given: str = "") -> str:
    """Run promtool, which must be content, and return what it says; skips the test without it."""
    [found] = debian.find("usr/bin/promtool") or [shutil.which("promtool")]
    if found is None:
        pytest.skip("promtool is not installed")
    reported = subprocess.run(
        [found, *arguments], input=given, capture_output=True, text=True, check=False
    )
    output = reported.stdout + reported.stderr
    assert reported.returncode == 0, output
    return output
