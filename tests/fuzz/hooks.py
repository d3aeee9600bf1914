"""What is fuzzed otherwise than its schema alone would have it."""

from __future__ import annotations

import itertools
import json
import os
import uuid
from collections import Counter

import schemathesis
from hypothesis import strategies
from schemathesis.errors import UnsupportedSchema
from schemathesis.specs.openapi import negative
from schemathesis.specs.openapi.coverage import _schema as coverage

from taskflow.model.alerts import FILTERS, THRESHOLDS, AlertOn
from tests.fuzz.fuzzer import AIMS, EDGE_STEP

# No schema says what makes an expression, or a zone.
VALID = {"cron": "30 6 * * MON-FRI", "timezone": "America/Argentina/Ushuaia"}
# Nor what makes the URL of a proxy, a host and a certificate.
PROXY = "http://worker:s3cret@proxy.example:3128"
BEARER = {"kind": "bearer", "token": "t0ken", "hosts": ["api.example.com"]}
STEP = int(os.environ[EDGE_STEP])
SECONDS = {str(seconds) for seconds in range(1, 61)}
# Longer strings are not drawn from a pattern, which finds none after a second of trying, but made
# without it and compared with it.
coverage.MAX_GENERATED_PATTERN_LENGTH = 200

# What requests are aimed at instead of names and ids that are made up, if anything: by what it is.
_AIMS = {name: itertools.cycle(values) for name, values in json.loads(os.environ[AIMS]).items()}
_edges: Counter[str] = Counter()

_build = negative.build


def _build_if_supported(schema, **options) -> strategies.SearchStrategy:
    """Discard a random mutation of a schema that schemathesis cannot generate values for.

    It makes such mutations of schemas with ``oneOf``, a few in a thousand, and would report the
    operation as an error.
    """
    try:
        return _build(schema, **options)
    except UnsupportedSchema:
        return strategies.nothing()


negative.build = _build_if_supported


@schemathesis.hook
def filter_case(context, case) -> bool:
    """Leave out most edges of schemas in a short run: each operation has hundreds.

    And parameters that are empty lists or objects: nothing of them is sent, so nothing is invalid.
    """
    if any(value in ([], {}) for value in (case.query or {}).values()):
        return False
    if case.meta is None or case.meta.phase.name.value != "coverage":
        return True
    _edges[case.operation.label] += 1
    return _edges[case.operation.label] % STEP == 1 % STEP


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    """Remove headers that make requests wait, and use a new idempotency key for each request.

    No worker runs the tasks, so a request that waits for one would time out. From the document
    alone, many different requests would have the same key; invalid keys stay, to be rejected.
    """
    headers = case.headers or {}
    headers.pop("Prefer", None)
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if is_positive and "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f'"{uuid.uuid4()}"'
    timed = ("/schedules/{name}", "/heartbeats/{name}")
    if is_positive and case.path in timed and isinstance(case.body, dict):
        # Which requests can be conditional depends on more of them than a schema can say.
        if case.path == "/schedules/{name}":
            case.body["conditional"] = False
        elif case.body.get("cron") is not None:  # the coverage phase does not know oneOf
            case.body.pop("every_seconds", None)
        for name, valid in VALID.items():
            if isinstance(case.body.get(name), str):
                case.body[name] = valid
    if is_positive:
        _make_acceptable(case)
    if is_positive and case.method.upper() == "PATCH" and isinstance(case.body, dict):
        _make_applicable(case.body)
    if str((case.query or {}).get("wait", "")) in SECONDS:
        case.query["wait"] = 0
    if _AIMS and is_positive:
        _aim(case)


def _aim(case) -> None:
    """Aim a request at what exists."""
    kind = case.path.split("/")[1]
    for parameter in case.path_parameters or {}:
        name = f"{kind}.{parameter}"
        values = _AIMS.get(f"{case.method.upper()} {name}") or _AIMS.get(name)
        if values is not None:
            case.path_parameters[parameter] = next(values)
    for parameter in case.query or {}:
        if parameter in _AIMS:
            case.query[parameter] = next(_AIMS[parameter])
    for body in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(body, dict) and kind in ("tasks", "schedules"):
            part = body.setdefault("task", {}) if kind == "schedules" else body
            if isinstance(part, dict) and ("payload" in part or "queue" in part):
                part["queue"] = next(_AIMS["queue"])


def _make_acceptable(case) -> None:
    """Remove or replace what is valid by rules that no schema expresses."""
    for body in case.body if isinstance(case.body, list) else [case.body]:
        for part in _tasks_in(body) if isinstance(body, dict) else ():
            if isinstance(part, dict):
                part.pop("credential", None)  # it must exist
                if "payload" in part:
                    part.pop("name", None)  # no other may have it
                    part.pop("group", None)  # it must exist
                part.pop("after", None)  # its tasks must exist
                part.pop("on_parent_failure", None)
                _choose_one_key(part)
    if case.path == "/stats/series" and "queue" in (case.query or {}):
        case.query.pop("host", None)  # one of them
    if isinstance(case.body, dict) and case.body.get("egress_proxy"):
        case.body["egress_proxy"] = PROXY
    if case.path.startswith("/topics/{topic}/endpoints/{name}") and isinstance(case.body, dict):
        case.body.pop("signing_secret", None)
        if "url" in case.body:
            case.body["url"] = "http://a.example/hook"
    if case.path == "/alerts/{name}" and isinstance(case.body, dict):
        _make_one_condition(case.method.upper(), case.body)
    if case.path == "/credentials/{name}" and isinstance(case.body, dict):
        case.body["hosts"] = BEARER["hosts"]
        if case.body.get("kind") in ("mtls", "oauth2_client_credentials", "oidc", "header"):
            case.body = dict(BEARER)


def _make_one_condition(method: str, alert: dict) -> None:
    """Leave the fields of one condition; in a change, those that belong to each."""
    for name in (*FILTERS, *THRESHOLDS):
        alert.pop(name, None)
    if alert.get("to") is not None:
        alert["to"] = [{"kind": "email", "addresses": ["ops@example.com"]}]
    if method == "PATCH":
        alert.pop("on", None)
    elif alert.get("on") == AlertOn.FAILURE_RATE:
        alert["rate"] = 0.5
    elif alert.get("on") == AlertOn.OLDEST_WAITING:
        alert["after_seconds"] = 60


def _tasks_in(body: dict) -> list:
    """Return what may be tasks or templates of tasks in a body, and the body itself."""
    completion = body.get("on_complete")
    if isinstance(completion, dict) and "payload" in completion:
        completion["payload"] = "https://example.com/"  # it has no body, and must be a request
    members = body.get("tasks")
    others = members if isinstance(members, list) else []
    return [body, body.get("task"), completion, *others]


def _choose_one_key(task: dict) -> None:
    """Keep an order key, or a unique key, or a debounce key, without what excludes it."""
    given = [name for name in ("order_key", "unique", "debounce") if task.get(name) is not None]
    for name in given[1:]:
        del task[name]
    if given[:1] == ["order_key"]:
        excluded = ("priority", "delay_seconds", "run_at")
    else:
        excluded = ("on_failure", *(("delay_seconds", "run_at") if "debounce" in given[:1] else ()))
    for name in excluded:
        task.pop(name, None)
    if task.get("run_at") is not None:
        task.pop("delay_seconds", None)
    if isinstance(debounce := task.get("debounce"), dict):
        debounce.pop("max_wait_seconds", None)  # not less than delay_seconds
    if isinstance(unique := task.get("unique"), dict) and unique.get("while"):
        unique["while"] = ["PENDING", "RUNNING", *unique["while"]]


def _make_applicable(patch: dict) -> None:
    """Whether some changes lead to something valid depends on what is changed, not on a schema."""
    for name in ("cron", "every_seconds", "start_at", "task"):
        patch.pop(name, None)
    for limits in (patch, patch.get("per_host")):
        if isinstance(limits, dict) and isinstance(limits.get("rate"), dict):
            limits["rate"].setdefault("per_second", 5)
