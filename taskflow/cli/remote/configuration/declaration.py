"""The declaration of ``taskflow.yaml``, and its reader.

Its parts are the declarations of the API, so a field of the API is a field of the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.cli.remote.configuration.json_values import check_values
from taskflow.model.credential import Credential
from taskflow.model.errors import RequestError
from taskflow.model.request import RequestPayload
from taskflow.model.task import NAME_RULE, CredentialName, QueueName, is_name
from taskflow.schema import alerts, heartbeats, queues, schedules, topics
from taskflow.schema.alerts import AlertRequest
from taskflow.schema.credentials import credential_of
from taskflow.schema.heartbeats import HeartbeatRequest
from taskflow.schema.new_task import new_task_of
from taskflow.schema.payload import MASK_BYTES
from taskflow.schema.queues import QueueRequest
from taskflow.schema.reader import Fields, Reader
from taskflow.schema.schedule_rules import check_template, timing_of, triggers_of
from taskflow.schema.schedules import ScheduleRequest
from taskflow.schema.topics import EndpointRequest, TopicRequest
from taskflow.schema.validation_errors import ValidationErrors, token

SECTIONS: Final = ("credentials", "queues", "topics", "schedules", "heartbeats", "alerts")
"""The sections, in the order in which they are applied: each refers to earlier ones only."""

_REFS: Final = "#/components/schemas/{name}"


class TopicSection(TopicRequest, forbid_unknown_fields=True):
    """A topic and its endpoints."""

    endpoints: Annotated[
        dict[QueueName, EndpointRequest] | UnsetType | None,
        Meta(description="Its endpoints by name."),
    ] = UNSET


class Configuration(msgspec.Struct, forbid_unknown_fields=True):
    """The file ``taskflow.yaml``. In texts, ``${NAME}`` is a variable of the environment."""

    credentials: Annotated[
        dict[CredentialName, Credential] | UnsetType | None,
        Meta(description="Credentials by name; let their values be references: `${TOKEN}`."),
    ] = UNSET
    queues: Annotated[
        dict[QueueName, QueueRequest | None] | UnsetType | None,
        Meta(description="Settings of queues by name."),
    ] = UNSET
    topics: Annotated[
        dict[QueueName, TopicSection | None] | UnsetType | None, Meta(description="Topics by name.")
    ] = UNSET
    schedules: Annotated[
        dict[QueueName, ScheduleRequest] | UnsetType | None, Meta(description="Schedules by name.")
    ] = UNSET
    alerts: Annotated[
        dict[QueueName, AlertRequest] | UnsetType | None,
        Meta(description="Alerts by name; let URLs of chats be references: `${SLACK_URL}`."),
    ] = UNSET
    heartbeats: Annotated[
        dict[QueueName, HeartbeatRequest] | UnsetType | None,
        Meta(description="Heartbeats by name."),
    ] = UNSET


class Wanted(msgspec.Struct, frozen=True):
    """A valid file.

    Attributes:
        sections: The fields of each resource by section and name; sections that the file does not
            have are absent. An endpoint is named ``TOPIC/ENDPOINT``.
    """

    sections: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @property
    def without_trigger(self) -> list[str]:
        """Schedules and heartbeats without ``cron`` and ``every_seconds``: these must exist."""
        return [
            f"{kind} {name}"
            for kind, section in (("schedule", "schedules"), ("heartbeat", "heartbeats"))
            for name, given in self.sections.get(section, {}).items()
            if not triggers_of(fields_of(given))
        ]


_READER: Final = Reader(Configuration)
_QUEUE: Final = Reader(QueueRequest, ignored=queues.ONLY_SHOWN)
_MASKED_SCHEDULE: Final = Reader(ScheduleRequest, ignored=schedules.ONLY_SHOWN)
_SCHEDULE: Final = Reader(
    ScheduleRequest, ignored=schedules.ONLY_SHOWN, custom={"task": lambda text, _: text}
)
_ALERT: Final = Reader(AlertRequest, ignored=alerts.ONLY_SHOWN)
_HEARTBEAT: Final = Reader(HeartbeatRequest, ignored=heartbeats.ONLY_SHOWN)
_TOPIC: Final = Reader(TopicSection, ignored=topics.TOPIC_ONLY_SHOWN)
_ENDPOINT: Final = Reader(EndpointRequest, ignored=topics.ENDPOINT_ONLY_SHOWN)


def fields_of(given: Mapping[str, Any]) -> Fields:
    """Return fields of a file as the API receives them."""
    return {name: msgspec.Raw(msgspec.json.encode(one)) for name, one in given.items()}


def check_merged_schedule(name: str, merged: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add what is wrong with the times of a schedule after the file is applied."""
    fields, under = fields_of(merged), f"/schedules/{name}"
    known = {one: raw for one, raw in fields.items() if one != "task"}
    timing_of(fields, _SCHEDULE.read(known, errors, under=under), errors, under=under)


def check_merged_heartbeat(name: str, merged: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add what is wrong with the times of a heartbeat after the file is applied."""
    fields, under = fields_of(merged), f"/heartbeats/{name}"
    timing_of(fields, _HEARTBEAT.read(fields, errors, under=under), errors, under=under)


def wanted_of(document: Any) -> Wanted:
    """Validate the values of a file.

    Raises:
        Unprocessable: Some are invalid; ``errors`` has the place of each.
    """
    errors = ValidationErrors()
    check_values(document, errors)
    errors.raise_if_any()
    document = {} if document is None else document
    if not isinstance(document, dict):
        errors.add("", f"the file must be an object of {', '.join(SECTIONS)}")
        errors.raise_if_any()
    for name in document.keys() - set(SECTIONS):
        errors.add(token(name), f"there is no section {name!r}; {_READER.names.advice(name)}")
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for section in SECTIONS:
        if section in document:
            _read_section(section, document[section], found, errors)
    errors.raise_if_any()
    return Wanted(found)


def _read_section(
    section: str,
    resources: Any,
    found: dict[str, dict[str, Mapping[str, Any]]],
    errors: ValidationErrors,
) -> None:
    found[section] = {}
    if section == "topics":
        found["endpoints"] = {}
    resources = {} if resources is None else resources
    if not isinstance(resources, dict):
        errors.add(f"/{section}", f"{section} must be an object of names")
        return
    for name, given in resources.items():
        under = f"/{section}{token(name)}"
        if not is_name(name):
            errors.add(under, f"{section}: the name {name!r} must be {NAME_RULE}")
            continue
        fields = {} if given is None else given
        if not isinstance(fields, dict):
            errors.add(under, f"{section}.{name} must be an object")
            continue
        if section == "topics":
            _read_endpoints(name, fields, found["endpoints"], errors)
            fields = {key: value for key, value in fields.items() if key != "endpoints"}
        found[section][name] = fields
        _check(section, fields, under, errors)


def _read_endpoints(
    topic: str,
    fields: dict[str, Any],
    found: dict[str, Mapping[str, Any]],
    errors: ValidationErrors,
) -> None:
    under = f"/topics/{topic}/endpoints"
    endpoints = fields.get("endpoints") or {}
    if not isinstance(endpoints, dict):
        errors.add(under, f"topics.{topic}.endpoints must be an object of names")
        return
    for name, given in endpoints.items():
        if not is_name(name) or not isinstance(given, dict):
            errors.add(
                f"{under}{token(name)}", f"an endpoint must be an object, its name {NAME_RULE}"
            )
            continue
        found[f"{topic}/{name}"] = given
        _check("endpoints", given, f"{under}/{name}", errors)


def _check(section: str, given: Mapping[str, Any], under: str, errors: ValidationErrors) -> None:
    """Add what is wrong with a resource, as far as the service is not needed for it."""
    fields = fields_of(given)
    label = ".".join(under.split("/")[1:])
    match section:
        case "credentials":
            _check_part(lambda: credential_of(msgspec.json.encode(given)), under, label, errors)
        case "queues":
            _QUEUE.read(fields, errors, under=under)
        case "topics":
            _TOPIC.read(fields, errors, under=under)
        case "endpoints":
            _ENDPOINT.read(fields, errors, under=under)
            if "url" not in given:
                errors.add(f"{under}/url", f"{label}.url is missing")
        case "alerts":
            _ALERT.read(fields, errors, under=under)
            for name in ("on", "to"):
                if name not in given:
                    errors.add(f"{under}/{name}", f"{label}.{name} is missing")
        case "heartbeats":
            known = _HEARTBEAT.read(fields, errors, under=under)
            timing_of(fields, known, errors, under=under, is_partial=True)
        case _:
            _check_schedule(fields, under, label, errors)


def _check_schedule(fields: Fields, under: str, label: str, errors: ValidationErrors) -> None:
    # Masked values stay as they are, if there are some: only the service knows.
    task = bytes(fields.get("task", b""))
    is_masked = MASK_BYTES in task
    given = (_MASKED_SCHEDULE if is_masked else _SCHEDULE).read(fields, errors, under=under)
    timing_of(fields, given, errors, under=under, is_partial=True)
    if "task" not in fields:
        errors.add(f"{under}/task", f"{label}.task is missing")
    elif not task.startswith(b"{"):
        errors.add(f"{under}/task", f"{label}.task must be an object, as POST /tasks accepts it")
    elif not is_masked:
        _check_part(
            lambda: new_task_of(task, max_attempts=1, can_sign=True),
            f"{under}/task",
            f"{label}.task",
            errors,
        )
        _check_part(lambda: _check_template(task), under, label, errors)


def _check_template(task: bytes) -> None:
    """Reject fields that the tasks of a schedule cannot have.

    Raises:
        Unprocessable: There are some.
    """
    errors = ValidationErrors()
    with contextlib.suppress(RequestError):  # its errors have been added
        check_template(new_task_of(task, max_attempts=1, can_sign=True), errors)
    errors.raise_if_any()


def _check_part(read: Any, under: str, label: str, errors: ValidationErrors) -> None:
    try:
        read()
    except RequestError as error:
        errors.add_part(under, label, error)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    _, parts = msgspec.json.schema_components([Configuration, RequestPayload], ref_template=_REFS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "taskflow.yaml",
        "$ref": _REFS.format(name="Configuration"),
        "components": {"schemas": parts},
    }
