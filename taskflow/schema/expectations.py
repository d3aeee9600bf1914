"""What a field may be, in words: derived from its type, for messages and help texts.

A type that words cannot be derived from says them itself: ``Meta(extra={"expected": "..."})``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import inspect

A_MOMENT: Final = "a date and time with a zone, such as 2026-11-24T06:57:50Z"

_LISTS: Final = (inspect.ListType, inspect.VarTupleType)


def extra_of(info: inspect.Type) -> Mapping[str, Any]:
    """Return what the annotations of a type say to us; the outermost one decides."""
    if isinstance(info, inspect.Metadata):
        return {**extra_of(info.type), **(info.extra or {})}
    if isinstance(info, inspect.UnionType):
        members = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        return extra_of(members[0]) if len(members) == 1 else {}
    return {}


def kinds_of(info: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the members of a union without annotations and null; of another type, the type."""
    if isinstance(info, inspect.Metadata):
        yield from kinds_of(info.type)
    elif isinstance(info, inspect.UnionType):
        for kind in info.types:
            yield from kinds_of(kind)
    elif not isinstance(info, inspect.NoneType):
        yield info


def is_list(kind: inspect.Type) -> bool:
    """Return whether values are JSON arrays."""
    return isinstance(kind, _LISTS)


def brackets_of_parts(kinds: list[inspect.Type]) -> bytes:
    """Return how values begin whose parts can be invalid by themselves: ``{``, ``[``, both or none.

    Members of an object that requires some cannot be validated without these.
    """
    objects = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    if any(field.required for kind in objects for field in kind.fields):
        return b""
    has_members = objects or any(isinstance(kind, inspect.DictType) for kind in kinds)
    return (b"{" if has_members else b"") + (b"[" if any(map(is_list, kinds)) else b"")


def expectation_of(info: inspect.Type) -> str:
    """Return what a value must be, to follow "must be"."""
    extra = extra_of(info)
    if "expected" in extra:
        return str(extra["expected"])
    kinds = list(kinds_of(info))
    words = " or ".join(dict.fromkeys(_words(kind, extra) for kind in kinds))
    return f"{words}, or a list of some" if len(kinds) > 1 and any(map(is_list, kinds)) else words


def _words(kind: inspect.Type, extra: Mapping[str, Any]) -> str:
    words = "an object"
    match kind:
        case inspect.BoolType():
            words = "true or false"
        case inspect.IntType(ge=minimum, le=maximum):
            words = f"a whole number from {minimum} to {maximum}"
        case inspect.FloatType(ge=minimum, le=maximum):
            unit = f" of {extra['unit']}" if "unit" in extra else ""
            words = f"a number{unit} from {minimum} to {maximum}"
        case inspect.DateTimeType():
            words = A_MOMENT
        case inspect.EnumType(cls=members):
            words = f"one of {', '.join(member.value for member in members)}"
        case inspect.StrType(min_length=minimum, max_length=maximum):
            words = f"text of {minimum or 0} to {maximum} characters"
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            words = expectation_of(item)
        case inspect.StructType(fields=fields):
            *names, last = (field.encode_name for field in fields)
            words = f"an object of {', '.join(names)} and {last}"
    return words
