"""The Kubernetes example: kubectl knows every field, and the times fit."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from taskflow.settings import Settings, catalogue
from tests.deploy.dockerfile import stages
from tests.deploy.shutdown import fits
from tests.service.processes import REPOSITORY

FILE = REPOSITORY / "docs" / "deploy" / "kubernetes.yaml"
OBJECTS = {
    (one["kind"], one["metadata"]["name"]): one
    for one in yaml.safe_load_all(FILE.read_text("utf-8"))
}
DEPLOYMENTS = ("taskflow", "taskflow-worker")


def pod(name: str) -> dict[str, Any]:
    return OBJECTS["Deployment", name]["spec"]["template"]["spec"]


def container(name: str) -> dict[str, Any]:
    [found] = pod(name)["containers"]
    return found


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Where something that was given is not there any more, or is otherwise."""
    if kept is None or not isinstance(given, dict | list):
        return [] if given == kept else [path]
    if isinstance(given, dict):
        pairs = [(inner, kept.get(name), f"{path}.{name}") for name, inner in given.items()]
    else:
        pairs = [(a, b, f"{path}[]") for a, b in zip(given, kept, strict=True)]
    return [found for pair in pairs for found in lost(*pair)]


def typed_by_kubectl(text: str) -> list[dict[str, Any]]:
    """The deployments as kubectl reads them, by their types; it needs no cluster for that."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    documents = [one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment"]
    image = f"taskflow={container('taskflow')['image']}2"
    ended = subprocess.run(
        ["kubectl", "set", "image", "--local", "-f", "-", "-o", "json", image],
        input=yaml.safe_dump_all(documents),
        check=True,
        capture_output=True,
        text=True,
    )
    decoder, found, rest = json.JSONDecoder(), [], ended.stdout.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


def test_kubectl_knows_every_field():
    """What it does not know it would drop: a probe that is misspelt is no probe."""
    read = typed_by_kubectl(FILE.read_text("utf-8"))
    given = [OBJECTS["Deployment", name] for name in DEPLOYMENTS]
    image = ".spec.template.spec.containers[].image"
    assert [lost(*pair) for pair in zip(given, read, strict=True)] == [[image], [image]]


def test_unknown_fields_are_found():
    text = FILE.read_text("utf-8").replace("readinessProbe", "readyProbe")
    [misspelt, _] = typed_by_kubectl(text)
    given = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    assert any(".readyProbe" in path for path in lost(given, misspelt))


def test_the_times_fit():
    """From preStop on: what the proxies take to hear of it, the drain, what comes after it."""
    wait = container("taskflow")["lifecycle"]["preStop"]["exec"]["command"]
    assert wait[0] == "sleep"
    assert fits(pod("taskflow")["terminationGracePeriodSeconds"], before=int(wait[1]))
    assert "lifecycle" not in container("taskflow-worker")
    assert fits(pod("taskflow-worker")["terminationGracePeriodSeconds"])


def test_the_probes():
    """Ready is by the database and the workers, alive by the process; a start may take its time."""
    probes = container("taskflow")
    path = {name: probes[name]["httpGet"]["path"] for name in probes if name.endswith("Probe")}
    assert path == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    # A database that does not answer is told of in this time; that is no reason for a restart.
    assert probes["readinessProbe"]["timeoutSeconds"] >= Settings().database_timeout_seconds


def test_one_is_always_there():
    """Through upgrades and when machines are emptied."""
    budget = OBJECTS["PodDisruptionBudget", "taskflow"]["spec"]
    api = OBJECTS["Deployment", "taskflow"]["spec"]
    assert api["replicas"] > budget["minAvailable"] >= 1
    assert budget["selector"] == api["selector"]
    assert OBJECTS["Service", "taskflow"]["spec"]["selector"] == api["selector"]["matchLabels"]
    for name in DEPLOYMENTS:
        deployment = OBJECTS["Deployment", name]["spec"]
        assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        labels = deployment["template"]["metadata"]["labels"]
        assert labels == deployment["selector"]["matchLabels"]
        [spread] = pod(name)["topologySpreadConstraints"]
        assert spread["labelSelector"] == deployment["selector"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_may_do_little(name):
    """They run as the image's user, write nothing, and hold no key to the cluster."""
    known, inside = pod(name), container(name)["securityContext"]
    uid = int(stages()[-1].uid)
    context = known["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, uid, uid)
    assert inside["readOnlyRootFilesystem"]
    assert not inside["allowPrivilegeEscalation"]
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert not known["automountServiceAccountToken"]
    # Kubernetes would set TASKFLOW_SERVICE_HOST and the like.
    assert not known["enableServiceLinks"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_secrets_are_only_referred_to(name):
    """There are none in the file, and each file that is set is there."""
    assert not any(kind == "Secret" for kind, _ in OBJECTS)
    data = OBJECTS["ConfigMap", "taskflow"]["data"]
    assert set(data) <= {setting.variable for setting in catalogue()}
    [mount] = container(name)["volumeMounts"]
    [volume] = pod(name)["volumes"]
    files = {f"{mount['mountPath']}/{item['path']}" for item in volume["secret"]["items"]}
    assert {text for variable, text in data.items() if variable.endswith("_FILE")} == files
    [reference] = [one["valueFrom"]["secretKeyRef"] for one in container(name)["env"]]
    assert reference["name"] == volume["secret"]["secretName"]
