"""What can be read of a document that cannot be read as a whole.

No version of TaskFlow writes such documents, but triggers, restores and people do.
"""

from __future__ import annotations

import contextlib
import enum
from typing import Any, Final, TypeVar

import msgspec

# What msgspec raises, and what is nested too deep for it.
UNREADABLE: Final = (ValueError, RecursionError)

Kind = TypeVar("Kind", bound=msgspec.Struct)
Name = TypeVar("Name", bound=enum.StrEnum)


def fields_of(text: str | bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a JSON object; none of what is no object."""
    with contextlib.suppress(*UNREADABLE):
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return {}


def readable_part(text: str | bytes | msgspec.Raw, kind: type[Kind], **known: Any) -> Kind:
    """A value of those members that can be read; the others are as if they were not there.

    Args:
        text: JSON.
        kind: Which struct; its fields have defaults, but for those that are known.
        known: Fields that are not to be read.
    """
    members = fields_of(text)
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in members:
            with contextlib.suppress(*UNREADABLE):
                found[field.name] = msgspec.json.decode(members[field.encode_name], type=field.type)
    return kind(**{**found, **known})


def named(kind: type[Name], value: str | None) -> Name | None:
    """A member of an enumeration, if there is one of this value."""
    return kind(value) if value in set(kind) else None
