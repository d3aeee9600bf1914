"""A task of which some fields are shown."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.model.task import Task


def _some_fields() -> Any:
    """A type for a task of which some fields are shown."""
    _, _, attributes = (inspect.getdoc(Task) or "").partition("\n\nAttributes:\n")
    fields = [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(Task)]
    meaning = "Those fields of a task that ``fields`` names."
    document = f"{meaning}\n\nAttributes:\n{attributes}"
    return msgspec.defstruct(
        "TaskFields", fields, namespace={"__doc__": document}, forbid_unknown_fields=True
    )


TaskFields: Final = _some_fields()
