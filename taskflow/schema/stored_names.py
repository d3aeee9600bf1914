"""Names that fields of a task had up to version 0.1; templates of stored schedules have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

_TASK: Final = {"delay": "delay_seconds", "retention": "retention_seconds"}
_PAYLOAD: Final = {"timeout": "timeout_seconds"}
_BACKOFF: Final = {"initial": "initial_seconds", "max": "max_seconds"}
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def with_current_names(task: msgspec.Raw) -> msgspec.Raw:
    """Return a stored task with the names that its fields have now; values stay as they are."""
    fields = _renamed(task, _TASK)
    if not isinstance(fields, dict):
        return task
    for name, names in (("payload", _PAYLOAD), ("backoff", _BACKOFF)):
        if name in fields:
            fields[name] = msgspec.Raw(msgspec.json.encode(_renamed(fields[name], names)))
    return msgspec.Raw(msgspec.json.encode(fields))


def _renamed(value: msgspec.Raw, names: Mapping[str, str]) -> dict[str, msgspec.Raw] | msgspec.Raw:
    if not bytes(value).lstrip().startswith(b"{"):
        return value
    return {names.get(name, name): field for name, field in _FIELDS.decode(value).items()}
