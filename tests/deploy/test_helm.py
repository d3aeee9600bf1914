"""The Helm chart: Helm accepts it, and it yields the objects of the Kubernetes example."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml

from taskflow.settings import Settings, catalogue
from taskflow.version import __version__
from tests.deploy import test_kubernetes as example
from tests.deploy.charts import CHART, Case, Rendered, install_helm, render
from tests.deploy.shutdown import fits

VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
TEMPLATES = "".join(path.read_text("utf-8") for path in sorted((CHART / "templates").iterdir()))
SECRET_SETTINGS = ("TASKFLOW_API_KEYS", "TASKFLOW_ENCRYPTION_KEYS", "TASKFLOW_WEBHOOK_SECRETS")

ZONE = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
NODE = {
    "replicas": 3,
    "env": {"TASKFLOW_WORKERS": "1000000"},
    "podAnnotations": {"example/note": "yes"},
    "nodeSelector": {"disk": "true"},
    "tolerations": [{"key": "queue", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ZONE]}},
    "priorityClassName": "high",
}
EVERYTHING = {
    "image": {"tag": "1", "digest": f"sha256:{'0' * 64}", "pullSecrets": [{"name": "registry"}]},
    "api": NODE,
    "worker": NODE,
    "service": {"annotations": {"a": "1"}, "port": 8000},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "tlsSecret": "certificate",
        "annotations": {"b": "75"},
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "keySecret": {"name": "scrape"},
    },
    "podMonitor": {
        "enabled": True,
        "port": 9000,
        "labels": {"release": "prometheus"},
        "keySecret": {"name": "scrape"},
    },
}
NO_FILES = {"TASKFLOW_API_KEYS_FILE": None, "TASKFLOW_WEBHOOK_SECRETS_FILE": None}
PAGE = (CHART.parents[2] / "deploy.md").read_text("utf-8")
[OF_THE_PAGE] = re.findall(r"^```yaml\n(image:.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# Values that are rejected, and a word of the error.
INVALID: dict[str, tuple[dict[str, Any], str]] = {
    **{name: ({"config": {name: "x"}}, name) for name in (*SECRET_SETTINGS, "DATABASE_URL")},
    **{f"env {name}": ({"worker": {"env": {name: "x"}}}, name) for name in SECRET_SETTINGS},
    "a setting that the chart sets": ({"config": {"TASKFLOW_DRAIN_SECONDS": "9"}}, "DRAIN"),
    "a number, which Helm would write as 1e+06": (
        {"config": {"TASKFLOW_MAX_PENDING": 1000000}},
        "TASKFLOW_MAX_PENDING",
    ),
    "a setting that the chart sets for workers": (
        {
            "podMonitor": {"enabled": True},
            "worker": {"env": {"TASKFLOW_METRICS_BIND": "0.0.0.0:1"}},
        },
        "podMonitor.port",
    ),
    "a misspelled value": ({"replicas": 3}, "replicas"),
    "a misspelled value of a part": ({"api": {"replica": 3}}, "replica"),
    "a part that is missing": ({"database": None}, "database"),
}
CASES = {
    "default": Case(),
    "other": Case(release="other"),
    "long": Case(release="a" * 53),
    "named": Case({"fullnameOverride": "queue"}, release="prod"),
    "everything": Case(EVERYTHING),
    "one pod": Case({"api": {"replicas": 1}, "worker": {"enabled": False}}),
    "autoscaled": Case({"api": {"replicas": None}, "worker": {"replicas": None}}),
    "slow": Case({"shutdown": {"drainSeconds": 30, "preStopSeconds": 10}}),
    "the page": Case(yaml.safe_load(OF_THE_PAGE)),
    "no files": Case({"secrets": {"files": NO_FILES}}),
    "a cells file": Case({"secrets": {"files": {"TASKFLOW_CELLS_FILE": "cells"}}}),
    **{f"invalid: {name}": Case(values) for name, (values, _) in INVALID.items()},
}


@pytest.fixture(scope="module")
def helm(tmp_path_factory):
    return render(install_helm(tmp_path_factory.mktemp("helm")), CASES)


@pytest.fixture
def lint(helm) -> Any:
    return helm[0]


@pytest.fixture
def cases(helm) -> dict[str, Rendered]:
    valid = {name: one for name, one in helm[1].items() if not name.startswith("invalid: ")}
    assert {name: one.error for name, one in valid.items() if one.error} == {}
    return valid


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of values that the schema knows; maps with names of the user's are one value."""
    for name, inner in schema.get("properties", {}).items():
        if "properties" in inner:
            yield from leaves(inner, (*path, name))
        elif (*path, name) != ("global",):
            yield (*path, name)


def has(values: Any, path: tuple[str, ...]) -> bool:
    return not path or (path[0] in values and has(values[path[0]], path[1:]))


def test_lint_has_no_errors_or_warnings(lint):
    """An icon is recommended, which is severity 1."""
    assert lint["errors"] == []
    assert [one for one in lint["messages"] if one["severity"] > 1] == []


def test_the_version_is_taskflows():
    """The version is the default tag of the image."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_each_value_has_a_default_and_is_used():
    """The schema rejects other values, so the three lists of names are the same."""
    jsonschema_rs.validator_for(SCHEMA).validate(VALUES)
    known = set(leaves(SCHEMA))
    assert [path for path in known if not has(VALUES, path)] == []
    unused = [path for path in known if not re.search(rf"\.{path[-1]}\b", TEMPLATES)]
    assert unused == []
    used = set(re.findall(r"\$?(?:\.root)?\.Values\.([\w.]+)", TEMPLATES))
    assert [name for name in used if not has(VALUES, tuple(name.split(".")))] == []


def test_it_yields_the_objects_of_the_example(cases):
    """All fields of kubernetes.yaml are in it; it only adds labels and an annotation."""
    made = cases["default"].objects
    assert set(made) == set(example.OBJECTS)
    differences = {
        key: found
        for key, given in example.OBJECTS.items()
        if (found := example.lost(given, made[key]))
    }
    assert differences == {}


@pytest.mark.parametrize("name", ["default", "everything", "no files"])
def test_kubectl_knows_every_field(cases, name):
    read = example.typed_by_kubectl(cases[name].text)
    made = [one for (kind, _), one in cases[name].objects.items() if kind == "Deployment"]
    image = ".spec.template.spec.containers[].image"
    assert [example.lost(*pair) for pair in zip(made, read, strict=True)] == [[image], [image]]


def selectors(case: Rendered) -> list[tuple[str, dict[str, str]]]:
    """Each selector, by its kind."""
    return [
        (kind, spec["selector"].get("matchLabels", spec["selector"]))
        for (kind, _), one in case.objects.items()
        if "selector" in (spec := one.get("spec", {}))
    ]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("invalid: ")])
def test_selectors_find_pods_of_their_release_only(cases, name):
    case = cases[name]
    for deployment in (one for (kind, _), one in case.objects.items() if kind == "Deployment"):
        spec = deployment["spec"]
        assert spec["template"]["metadata"]["labels"] == spec["selector"]["matchLabels"]
        [spread] = spec["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"] == spec["selector"]
    for kind, selector in selectors(case):
        assert selector["app.kubernetes.io/instance"] == CASES[name].release
        if kind != "Deployment":
            component = "worker" if kind == "PodMonitor" else "api"
            assert selector["app.kubernetes.io/component"] == component


def test_names_are_of_the_release_and_short_enough(cases):
    """A name of a service has at most 63 characters."""
    names = {name: {key[1] for key in case.objects} for name, case in cases.items()}
    assert names["other"] == {"other-taskflow", "other-taskflow-worker"}
    assert names["named"] == {"queue", "queue-worker"}
    assert all(len(one) <= 63 for one in names["long"])


@pytest.mark.parametrize(("name", "before"), [("default", 5), ("slow", 10), ("the page", 5)])
def test_pods_get_the_time_to_shut_down(cases, name, before):
    """By the drain deadline that the pods are given."""
    data = cases[name].objects["ConfigMap", "taskflow"]["data"]
    settings = Settings(drain_seconds=float(data["TASKFLOW_DRAIN_SECONDS"]))
    fetch_seconds = float(
        data.get("TASKFLOW_FETCH_TIMEOUT_SECONDS", Settings().fetch_timeout_seconds)
    )
    assert settings.drain_deadline_seconds >= fetch_seconds + 1
    api = cases[name].pod("taskflow")
    wait = api["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert wait == ["sleep", str(before)]
    assert fits(api["terminationGracePeriodSeconds"], before=before, settings=settings)
    worker = cases[name].pod("taskflow-worker")
    assert "lifecycle" not in worker["containers"][0]
    assert fits(worker["terminationGracePeriodSeconds"], settings=settings)


def test_machines_can_be_drained(cases):
    """One pod has no budget, since a machine with it could never be drained."""
    assert ("PodDisruptionBudget", "taskflow") not in cases["one pod"].objects
    assert ("Deployment", "taskflow-worker") not in cases["one pod"].objects
    assert ("PodDisruptionBudget", "taskflow") in cases["autoscaled"].objects


def test_another_controller_may_set_the_number_of_pods(cases):
    for name in example.DEPLOYMENTS:
        assert "replicas" not in cases["autoscaled"].objects["Deployment", name]["spec"]


def test_a_changed_setting_replaces_the_pods(cases):
    """Kubernetes replaces pods when their template changes."""

    def checksum(name: str, deployment: str) -> str:
        template = cases[name].objects["Deployment", deployment]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    for deployment in example.DEPLOYMENTS:
        assert checksum("default", deployment) == checksum("autoscaled", deployment)
        assert checksum("default", deployment) != checksum("slow", deployment)
        assert checksum("default", deployment) != checksum("no files", deployment)


@pytest.mark.parametrize("name", ["default", "no files", "a cells file", "everything"])
def test_each_file_that_is_set_is_there(cases, name):
    """Secrets are only referred to."""
    case = cases[name]
    assert not any(kind == "Secret" for kind, _ in case.objects)
    data = case.objects["ConfigMap", "taskflow"]["data"]
    files = {text for variable, text in data.items() if variable.endswith("_FILE")}
    assert ("/run/secrets/taskflow/cells" in files) == (name == "a cells file")
    for deployment in example.DEPLOYMENTS:
        pod = case.pod(deployment)
        mounts = pod["containers"][0].get("volumeMounts", [])
        assert [one["name"] for one in mounts] == [one["name"] for one in pod.get("volumes", [])]
        there = {
            f"{mount['mountPath']}/{item['path']}"
            for mount, volume in zip(mounts, pod.get("volumes", []), strict=True)
            for item in volume["secret"]["items"]
        }
        assert there == files


def test_the_options_of_a_pod(cases):
    """All of them arrive, and numbers stay as they were written."""
    for name in example.DEPLOYMENTS:
        pod = cases["everything"].pod(name)
        assert {"name": "TASKFLOW_WORKERS", "value": "1000000"} in pod["containers"][0]["env"]
        for option in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
            assert pod[option] == NODE[option]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        image = pod["containers"][0]["image"]
        assert image == f"registry.example/taskflow@sha256:{'0' * 64}"


def test_the_ingress(cases):
    """It leads to a port that the service has."""
    objects = cases["everything"].objects
    ingress, service = objects["Ingress", "taskflow"], objects["Service", "taskflow"]
    [rule] = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert ingress["spec"]["tls"] == [{"hosts": [rule["host"]], "secretName": "certificate"}]
    assert ingress["spec"]["ingressClassName"] == "nginx"


def test_the_service_monitor(cases):
    """It selects the service by its labels, and names the job as the alerts do."""
    objects = cases["everything"].objects
    spec = objects["ServiceMonitor", "taskflow"]["spec"]
    labels = objects["Service", "taskflow"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels[spec["jobLabel"]] == "taskflow"
    [endpoint] = spec["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "scrape", "key": "prometheus-key"}


def test_the_pod_monitor(cases):
    """It selects the pods of workers, by a port that they serve metrics on; others have none."""
    objects = cases["everything"].objects
    spec = objects["PodMonitor", "taskflow-worker"]["spec"]
    template = objects["Deployment", "taskflow-worker"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels[spec["jobLabel"]] == "taskflow"
    [endpoint] = spec["podMetricsEndpoints"]
    [container] = template["spec"]["containers"]
    assert container["ports"] == [{"name": endpoint["port"], "containerPort": 9000}]
    assert {"name": "TASKFLOW_METRICS_BIND", "value": "0.0.0.0:9000"} in container["env"]
    assert endpoint["authorization"]["credentials"] == {"name": "scrape", "key": "prometheus-key"}
    api = objects["Deployment", "taskflow"]["spec"]["template"]["metadata"]["labels"]
    assert not spec["selector"]["matchLabels"].items() <= api.items()
    default = cases["default"].objects
    [container] = default["Deployment", "taskflow-worker"]["spec"]["template"]["spec"]["containers"]
    assert "ports" not in container
    assert "METRICS_BIND" not in str(container)


def test_the_notes_name_what_there_is(cases):
    notes = cases["named"].manifests["taskflow/templates/NOTES.txt"]
    assert "deployment/queue\n" in notes
    assert "taskflow: keys, webhook-secrets\n" in notes
    url = "https://taskflow.example"
    assert url in cases["everything"].manifests["taskflow/templates/NOTES.txt"]


@pytest.mark.parametrize("name", INVALID)
def test_invalid_values_are_rejected(helm, name):
    """The error names the value."""
    error = helm[1][f"invalid: {name}"].error
    assert error is not None
    assert INVALID[name][1] in error


def test_secret_settings_exist():
    """So that none of the names that are rejected is out of date."""
    assert set(SECRET_SETTINGS) < {setting.variable for setting in catalogue()}
