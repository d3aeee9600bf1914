"""The Helm chart, as Helm renders it for some values."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.frameworks.environment import Environment
from tests.service.processes import REPOSITORY

CHART = REPOSITORY / "docs" / "deploy" / "helm" / "taskflow"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PROGRAM = Path(__file__).with_name("render_charts.py")


@dataclass(frozen=True)
class Case:
    """A release of the chart with some values."""

    values: dict[str, Any] = field(default_factory=dict)
    release: str = "taskflow"


@dataclass(frozen=True)
class Rendered:
    """What Helm makes of a case: manifests by the name of their template, or an error."""

    manifests: dict[str, str]
    error: str | None

    @property
    def text(self) -> str:
        """The manifests that a cluster would get."""
        manifests = (one for name, one in self.manifests.items() if name.endswith(".yaml"))
        return "\n---\n".join(one for one in manifests if one.strip())

    @functools.cached_property
    def objects(self) -> dict[tuple[str, str], dict[str, Any]]:
        documents = yaml.safe_load_all(self.text)
        return {(one["kind"], one["metadata"]["name"]): one for one in documents}

    def pod(self, deployment: str) -> dict[str, Any]:
        return self.objects["Deployment", deployment]["spec"]["template"]["spec"]


def install_helm(folder: Path) -> Environment:
    """Install Helm's engine; skip the test where there is none."""
    if platform.machine() != "x86_64":
        pytest.skip("helm-python-sdk has no wheel for this machine")
    environment = Environment(folder)
    environment.install("--only-binary", ":all:", "-r", str(REQUIREMENTS))
    return environment


def render(environment: Environment, cases: dict[str, Case]) -> tuple[Any, dict[str, Rendered]]:
    """Return what lint reports, and the cases as Helm renders them."""
    asked = {name: {"release": one.release, "values": one.values} for name, one in cases.items()}
    ended = subprocess.run(
        [environment.python, PROGRAM],
        input=json.dumps({"chart": str(CHART), "cases": asked}),
        env=environment.environ({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    return found["lint"], {
        name: Rendered(one.get("manifests", {}), one.get("error"))
        for name, one in found["cases"].items()
    }
