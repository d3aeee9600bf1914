"""What the sections of a file name: how it is listed, compared, sent and deleted."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET

from taskflow.cli.remote.configuration.declaration import (
    check_merged_heartbeat,
    check_merged_schedule,
)
from taskflow.client.asynchronous.client import Client
from taskflow.model.alert_destinations import masked_url
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import Alert
from taskflow.model.configuration import WHEN, ResourceKind
from taskflow.model.heartbeat_monitors import Heartbeat
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.keyring import NO_KEYS
from taskflow.model.masking import MASK, MASKING
from taskflow.model.options import WEBHOOK_SECONDS
from taskflow.model.proxy import masked_proxy
from taskflow.model.queue_limits import NO_SETTINGS, QueueSettings
from taskflow.model.schedule import Schedule
from taskflow.model.topics import Endpoint, Topic
from taskflow.schema.alerts import AlertRequest
from taskflow.schema.heartbeats import HeartbeatRequest
from taskflow.schema.queues import Permissions, QueueRequest, patch_of
from taskflow.schema.schedules import ScheduleRequest
from taskflow.schema.topics import EndpointRequest, TopicRequest
from taskflow.schema.validation_errors import ValidationErrors

# The service checks these.
_ANY: Final = Permissions(
    can_sign=True,
    may_set_proxy=True,
    credentials=None,
    keyring=NO_KEYS,
)

Fields = Mapping[str, Any]
"""The fields of a resource, as JSON has them."""


class Section(abc.ABC):
    """One kind of resources.

    Attributes:
        name: The name of the section.
        kind: What one of its resources is called.
    """

    name: ClassVar[str]
    kind: ClassVar[ResourceKind]

    @property
    def initial(self) -> Fields | None:
        """The fields before the resource is named; ``None`` if it has to be created."""
        return None

    @abc.abstractmethod
    async def current(self, client: Client) -> dict[str, Fields]:
        """Return the resources of the service, each with the fields that a file can have."""

    def check(  # noqa: B027 - most sections have no such rules
        self, name: str, given: Fields, current: Fields | None, errors: ValidationErrors
    ) -> None:
        """Add what is wrong with a resource after the file is applied, beyond its own fields."""

    @abc.abstractmethod
    def shown(self, given: Fields, current: Fields | None) -> Fields:
        """Return the given fields as the service will show them.

        Args:
            given: The fields in the file.
            current: The fields now; ``None`` for a new resource.
        """

    @abc.abstractmethod
    def sent(self, given: Fields, current: Fields | None) -> Fields:
        """Return the fields of a change: those that are not given stay as they are."""


class Queues(Section):
    """Queues: a queue exists by its tasks or its settings, so deleting it resets its settings."""

    name = "queues"
    kind = ResourceKind.QUEUE

    @property
    def initial(self) -> Fields:
        return _NO_QUEUE

    async def current(self, client: Client) -> dict[str, Fields]:
        found = await client.queues.all()
        settings = {one.name: _given(one, QueueRequest.__struct_fields__) for one in found}
        return {name: fields for name, fields in settings.items() if fields != _NO_QUEUE}

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        patch = {name: value for name, value in given.items() if name in _NO_QUEUE}
        proxy = patch.pop("egress_proxy", UNSET)
        before = {**(current or _NO_QUEUE), "egress_proxy": None}
        change = patch_of(msgspec.json.encode(patch), "", _ANY)
        after = _json(change(msgspec.convert(before, QueueSettings)), _NO_QUEUE)
        shown = {name: after[name] for name in patch}
        return shown if proxy is UNSET else {**shown, "egress_proxy": masked_proxy(proxy)}

    def sent(self, given: Fields, current: Fields | None) -> Fields:
        return {one: given[one] for one in _NO_QUEUE if one in given}


class Topics(Section):
    """Topics, without their endpoints."""

    name = "topics"
    kind = ResourceKind.TOPIC

    async def current(self, client: Client) -> dict[str, Fields]:
        return {
            one.name: _given(one, TopicRequest.__struct_fields__)
            async for one in client.topics.iter()
        }

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        return _as_shown(given, TopicRequest, Topic)

    def sent(self, given: Fields, current: Fields | None) -> Fields:
        return _merged(given, current, TopicRequest)


class Endpoints(Section):
    """The endpoints of topics, by ``TOPIC/ENDPOINT``."""

    name = "endpoints"
    kind = ResourceKind.ENDPOINT

    async def current(self, client: Client) -> dict[str, Fields]:
        return {
            f"{topic.name}/{one.name}": _given(one, EndpointRequest.__struct_fields__)
            async for topic in client.topics.iter()
            async for one in client.topics.endpoints(topic.name)
        }

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        fields = dict(given)
        if fields.get("backoff") == "webhook":
            fields["backoff"] = WEBHOOK_SECONDS
        if isinstance(fields.get("url"), str):
            fields["url"] = MASKING.url(fields["url"])
        if isinstance(fields.get("headers"), dict):
            fields["headers"] = MASKING.headers(fields["headers"])
        return _as_shown(fields, EndpointRequest, Endpoint)

    def sent(self, given: Fields, current: Fields | None) -> Fields:
        return _merged(given, current, EndpointRequest)


class Schedules(Section):
    """Schedules."""

    name = "schedules"
    kind = ResourceKind.SCHEDULE

    async def current(self, client: Client) -> dict[str, Fields]:
        return {
            one.name: _given(one, ScheduleRequest.__struct_fields__)
            async for one in client.schedules.iter()
        }

    def check(
        self, name: str, given: Fields, current: Fields | None, errors: ValidationErrors
    ) -> None:
        check_merged_schedule(name, {**(current or {}), **_one_trigger(given)}, errors)

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        shown = dict(_as_shown(_one_trigger(given), ScheduleRequest, Schedule))
        if "task" in shown:
            task = MASKING.document(msgspec.Raw(msgspec.json.encode(shown["task"])))
            shown["task"] = msgspec.json.decode(task)
        return shown

    def sent(self, given: Fields, current: Fields | None) -> Fields:
        return _merged(_one_trigger(given), current, ScheduleRequest)


class Alerts(Section):
    """Alerts. URLs of chats are compared by the digest in what the service shows."""

    name = "alerts"
    kind = "alert"

    async def current(self, client: Client) -> dict[str, Fields]:
        return {one.name: _given(one, AlertRequest) for one in await client.alerts.all()}

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        # Of a field that is null, the service shows the default of the condition.
        fields = {name: value for name, value in given.items() if value is not None}
        if isinstance(fields.get("to"), list):
            fields["to"] = [_masked_destination(one) for one in fields["to"]]
        return _as_shown(fields, AlertRequest, Alert)

    async def put(self, client: Client, name: str, given: Fields, current: Fields | None) -> None:
        # Another condition has other fields.
        is_same = current is not None and given.get("on", current["on"]) == current["on"]
        fields = {**(current or {} if is_same else {}), **given}
        known = {one: fields[one] for one in AlertRequest.__struct_fields__ if one in fields}
        await client.alerts.put(name, known)

    async def delete(self, client: Client, name: str) -> None:
        await client.alerts.delete(name)


def _masked_destination(given: Any) -> Any:
    """Return a destination as the service shows it; as it is, if only the service can tell."""
    if not isinstance(given, dict) or not isinstance(given.get("url"), str):
        return given
    with contextlib.suppress(ValueError, InvalidUrl):
        kind, url = DestinationKind(given.get("kind", "")), given["url"]
        return {**given, "url": url if MASK in url else masked_url(kind, url, MASKING)}
    return given


class Heartbeats(Section):
    """Heartbeats of jobs elsewhere."""

    name = "heartbeats"
    kind = "heartbeat"

    async def current(self, client: Client) -> dict[str, Fields]:
        return {one.name: _given(one, HeartbeatRequest) async for one in client.heartbeats.iter()}

    def check(
        self, name: str, given: Fields, current: Fields | None, errors: ValidationErrors
    ) -> None:
        check_merged_heartbeat(name, {**(current or {}), **_one_time(given)}, errors)

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        return _as_shown(_one_time(given), HeartbeatRequest, Heartbeat)

    async def put(self, client: Client, name: str, given: Fields, current: Fields | None) -> None:
        fields = {**(current or {}), **_one_time(given)}
        known = {one: fields[one] for one in HeartbeatRequest.__struct_fields__ if one in fields}
        await client.heartbeats.put(name, **known)

    async def delete(self, client: Client, name: str) -> None:
        await client.heartbeats.delete(name)


class Credentials(Section):
    """Credentials, whose values the service does not show."""

    name = "credentials"
    kind = ResourceKind.CREDENTIAL

    async def current(self, client: Client) -> dict[str, Fields]:
        found = await client.credentials.all()
        return {one.name: _given(one, _CREDENTIAL_FIELDS) for one in found}

    def shown(self, given: Fields, current: Fields | None) -> Fields:
        return {name: given[name] for name in ("kind", "hosts") if name in given}

    def sent(self, given: Fields, current: Fields | None) -> Fields:
        return given


ALL: Final[tuple[Section, ...]] = (
    Credentials(),
    Queues(),
    Topics(),
    Endpoints(),
    Schedules(),
    Heartbeats(),
    Alerts(),
)
"""The sections, in the order in which they are applied."""


def _one_trigger(given: Fields) -> Fields:
    """Return the fields of a schedule; its cron expression replaces an interval, and conversely."""
    if given.get("cron") is not None:
        return {"every_seconds": None, "start_at": None, **given}
    if given.get("every_seconds") is not None:
        return {"cron": None, **given}
    return given


def _one_time(given: Fields) -> Fields:
    """Return the fields of a heartbeat; as ``_one_trigger``."""
    fields = _one_trigger(given)
    return {name: fields[name] for name in fields if name in given or name != "start_at"}


def _given(resource: msgspec.Struct, names: Sequence[str]) -> Fields:
    """Return the fields of a resource that a request can have, and when it was changed."""
    fields = msgspec.json.decode(msgspec.json.encode(resource))
    return {name: fields.get(name) for name in (*names, WHEN) if hasattr(resource, name)}


def _merged(given: Fields, current: Fields | None, kind: type[msgspec.Struct]) -> Fields:
    """Return what a request of this kind sends, so that fields that are not given stay."""
    fields = {**(current or {}), **given}
    return {name: fields[name] for name in kind.__struct_fields__ if name in fields}


def _as_shown(given: Fields, request: type[msgspec.Struct], kind: type[msgspec.Struct]) -> Fields:
    """Return the given fields as a struct shows them; null is the default of the struct."""
    declared = {field.name: field for field in msgspec.structs.fields(kind)}
    shown: dict[str, Any] = {}
    for name in request.__struct_fields__:
        if name not in given or name not in declared:
            continue
        field, value = declared[name], given[name]
        if value is None and not field.required:
            value = field.default if field.default_factory is msgspec.NODEFAULT else {}
        else:
            value = msgspec.json.decode(msgspec.json.encode(value), type=field.type)
        shown[name] = msgspec.json.decode(msgspec.json.encode(value))
    return shown


def _json(value: msgspec.Struct, defaults: Fields) -> dict[str, Any]:
    return {**defaults, **msgspec.json.decode(msgspec.json.encode(value))}


_CREDENTIAL_FIELDS: Final = ("kind", "hosts")
_NO_QUEUE: Final[Fields] = msgspec.json.decode(
    msgspec.json.encode(msgspec.structs.asdict(NO_SETTINGS))
)
