"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

_REPOSITORY = Path(__file__).parents[1]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A measured figure.

    Attributes:
        what: In words.
        value: How much.
        unit: Of what: ``/s``, ``ms``, ``MiB`` and so on.
        beside: What it is compared with, from the same run; empty if with nothing.
        reference: How much that was, in the same unit.
        at_least: The bar for the ratio (for the value, if there is no reference), from below.
        at_most: The same from above.
        note: What else there is to say.
    """

    what: str
    value: float
    unit: str
    beside: str = ""
    reference: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The value divided by its reference."""
        return self.value / self.reference if self.reference else None

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is met; ``None`` if there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        compared = self.value if self.ratio is None else self.ratio
        is_enough = self.at_least is None or compared >= self.at_least
        return is_enough and (self.at_most is None or compared <= self.at_most)


def paired(what: str, unit: str, beside: str, pairs: Sequence[tuple[float, float]]) -> Figure:
    """Return the medians of pairs that were measured in turn, as value and reference."""
    value = statistics.median(ours for ours, _ in pairs)
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    return Figure(
        what=what,
        value=value,
        unit=unit,
        beside=beside,
        reference=value / statistics.median(ratios),
        note=f"ratios {ratios[0]:.2f} to {ratios[-1]:.2f}",
    )


HEAD = (
    "| line | what | figure | beside | ratio | bar | |\n"
    "| --- | --- | ---: | --- | ---: | --- | --- |"
)


def row(line: str, figure: Figure) -> str:
    """Return a figure as a row under ``HEAD``."""
    beside = ""
    if figure.reference is not None:
        beside = f"{number(figure.reference)} {figure.unit} {figure.beside}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    cells = [
        line,
        figure.what + (f" ({figure.note})" if figure.note else ""),
        f"{number(figure.value)} {figure.unit}".strip(),
        beside,
        ratio,
        _bar(figure),
        {None: "", True: "met", False: "MISSED"}[figure.is_met],
    ]
    return "| " + " | ".join(cells) + " |"


def number(value: float) -> str:
    """Return a number with its significant digits."""
    if abs(value) >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004


def _bar(figure: Figure) -> str:
    bars = []
    if figure.at_least is not None:
        bars.append(f"at least {figure.at_least:g}")
    if figure.at_most is not None:
        bars.append(f"at most {figure.at_most:g}")
    return ", ".join(bars)


def as_json(figure: Figure) -> dict[str, Any]:
    """Return a figure with its ratio and result."""
    return {**msgspec.structs.asdict(figure), "ratio": figure.ratio, "is_met": figure.is_met}


def machine() -> dict[str, Any]:
    """Return the machine, the versions and the commit of the figures."""
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        output = subprocess.run(
            command, cwd=_REPOSITORY, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return output.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
