"""Readers of ``unique`` and ``debounce``, whose members depend on each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from taskflow.model.uniqueness import ALWAYS_UNIQUE, Debounce, Unique
from taskflow.schema.reader import Reader
from taskflow.schema.validation_errors import ValidationErrors

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
EXCLUDES_DEBOUNCE: Final = ("run_at", "delay_seconds", "unique")
_UNIQUE: Final = Reader(Unique)
_DEBOUNCE: Final = Reader(Debounce)

S = TypeVar("S", bound=msgspec.Struct)


def read_unique(text: bytes, errors: ValidationErrors) -> Unique | None:
    """Return the unique key of a task; ``None`` if it is invalid or null."""
    unique = _read(text, errors, _UNIQUE, Unique, "unique")
    if unique is None or set(ALWAYS_UNIQUE) <= set(unique.statuses):
        return unique
    errors.add(
        "/unique/while",
        f"unique.while must include {' and '.join(ALWAYS_UNIQUE)}: a RUNNING task becomes PENDING "
        "again for a retry, and must still have its key then",
    )
    return None


def read_debounce(text: bytes, errors: ValidationErrors) -> Debounce | None:
    """Return the debounce key of a task; ``None`` if it is invalid or null."""
    debounce = _read(text, errors, _DEBOUNCE, Debounce, "debounce")
    if debounce is None or (debounce.max_wait_seconds or math.inf) >= debounce.delay_seconds:
        return debounce
    errors.add(
        "/debounce/max_wait_seconds",
        "debounce.max_wait_seconds must not be less than debounce.delay_seconds",
    )
    return None


def check_keys(given: Mapping[str, Any], errors: ValidationErrors) -> None:
    """Add an error for each field that excludes ``debounce``, which decides when the task runs."""
    for name in EXCLUDES_DEBOUNCE if "debounce" in given else ():
        if name in given:
            errors.add(f"/{name}", f"{name} must not be given together with debounce")


def _read(
    text: bytes, errors: ValidationErrors, reader: Reader[S], kind: type[S], name: str
) -> S | None:
    """Return an object; ``None`` if it is null or a required member is invalid."""
    if text == b"null":
        return None
    try:
        fields = _FIELDS.decode(text)
    except msgspec.ValidationError:
        errors.add(f"/{name}", f"{name} must be an object of {', '.join(reader.fields)}")
        return None
    values = reader.read(fields, errors, under=f"/{name}")
    required = [one.encode_name for one in msgspec.structs.fields(kind) if one.required]
    for field in required:
        if field not in fields:
            errors.add(f"/{name}/{field}", f"{name}.{field} is missing")
    if any(values.get(field) is None for field in required):
        return None
    attributes = {field: reader.fields[field].attribute for field in reader.fields.keys() & values}
    return kind(**{attributes[field]: values[field] for field in attributes if values[field]})
