"""Render a chart with Helm's engine, in an environment with helm-python-sdk (charts.py).

It reads {"chart": path, "cases": {name: {"release": ..., "values": ...}}} from standard input, and
prints what lint finds, and for each case its manifests or the error.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import helm_python as helm


def rendered(chart: Any, release: str, values: dict[str, Any]) -> dict[str, Any]:
    try:
        chart.validate_schema(values)
        return {"manifests": chart.render(values, name=release, namespace="default")}
    except helm.HelmError as error:
        return {"error": str(error)}


def main() -> None:
    asked = json.load(sys.stdin)
    with helm.Chart.load(asked["chart"]) as chart:
        cases = {name: rendered(chart, **case) for name, case in asked["cases"].items()}
    json.dump({"lint": helm.lint(asked["chart"], strict=True), "cases": cases}, sys.stdout)


main()
