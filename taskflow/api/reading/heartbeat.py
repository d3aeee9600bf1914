"""What ``PUT`` and ``PATCH /heartbeats/{name}`` accept, as changes of a heartbeat."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.errors import HeartbeatNotFound
from taskflow.model.heartbeat_monitors import (
    DEFAULT_GRACE_SECONDS,
    MonitorChange,
    MonitorDefinition,
)
from taskflow.schema.heartbeats import ONLY_SHOWN, HeartbeatRequest
from taskflow.schema.json_text import object_fields
from taskflow.schema.merge_patch import patch_fields_of, patched
from taskflow.schema.reader import Fields, Reader, check_name
from taskflow.schema.schedule_rules import timing_of
from taskflow.schema.validation_errors import ValidationErrors

HOW: Final = 'send a JSON object such as {"every_seconds": 3600, "grace_seconds": 600}'
_HOW_TO_PATCH: Final = 'send a JSON object of what is to change, such as {"paused": true}'
_READER: Final = Reader(HeartbeatRequest, ignored=ONLY_SHOWN)
_NULL: Final = msgspec.Raw(b"null")


def heartbeat_replacement_of(body: bytes, name: str) -> MonitorChange:
    """Read a whole heartbeat. If it does not say ``paused``, that stays as it is.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    fields = object_fields(body, how=HOW)
    definition = _definition_of(fields, name)
    keeps_pause = bytes(fields.get("paused", _NULL)) == b"null"

    def change(before: MonitorDefinition | None) -> MonitorDefinition:
        if before is None or not keeps_pause:
            return definition
        return msgspec.structs.replace(definition, paused=before.paused)

    return change


def heartbeat_patch_of(body: bytes, name: str) -> MonitorChange:
    """Read a JSON merge patch of a heartbeat.

    The change raises ``HeartbeatNotFound`` without a heartbeat, and ``Unprocessable`` if the
    heartbeat after it is invalid.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: It cannot be kept unchanged.
    """
    patch = patch_fields_of(body, how=_HOW_TO_PATCH)

    def change(before: MonitorDefinition | None) -> MonitorDefinition:
        if before is None:
            raise HeartbeatNotFound
        return _definition_of(patched(_fields_of(before), patch), name)

    return change


def _definition_of(fields: Fields, name: str) -> MonitorDefinition:
    errors = ValidationErrors()
    given = _READER.read(fields, errors)
    check_name(fields, name, errors)
    timing = timing_of(fields, given, errors)
    errors.raise_if_any()
    return MonitorDefinition(
        name=name,
        timing=timing,
        grace_seconds=given.get("grace_seconds") or DEFAULT_GRACE_SECONDS,
        max_run_seconds=given.get("max_run_seconds"),
        description=given.get("description") or "",
        paused=bool(given.get("paused")),
    )


def _fields_of(definition: MonitorDefinition) -> Fields:
    """Return the fields of a heartbeat that a client may send."""
    values = msgspec.structs.asdict(definition)
    timing = values.pop("timing")
    values |= {
        "cron": timing.cron,
        "every_seconds": timing.every_seconds,
        "timezone": timing.timezone,
    }
    return {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name, value in values.items()
        if value is not None
    }
