"""Documentation of the settings, derived from the types of the fields."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from taskflow.settings.fields import PREFIX, Settings


class Setting(msgspec.Struct, frozen=True):
    """The documentation of a setting.

    Attributes:
        variable: Its name in the environment.
        field: Its name in ``Settings``.
        default: The default as text; empty if the variable is empty by default.
        meaning: A one-line description.
        allowed: The allowed values, in words.
    """

    variable: str
    field: str
    default: str
    meaning: str
    allowed: str


@functools.cache
def catalogue() -> Sequence[Setting]:
    """Return all settings in the order of the documentation."""
    return tuple(
        Setting(
            variable=variable_of(field.name),
            field=field.name,
            default=_as_text(field.default),
            meaning=" ".join(meta.description for meta in _metas(hint) if meta.description),
            allowed=_allowed(hint),
        )
        for field, hint in zip(msgspec.structs.fields(Settings), hints().values(), strict=True)
    )


def variable_of(field: str) -> str:
    """Return the environment variable of a field."""
    return "DATABASE_URL" if field == "database_url" else PREFIX + field.upper()


@functools.cache
def hints() -> Mapping[str, Any]:
    """Return the types of the fields with their annotations."""
    return typing.get_type_hints(Settings, include_extras=True)


def _metas(hint: Any) -> list[Meta]:
    return [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta)]


def _allowed(hint: Any) -> str:
    """Return the allowed values of a type, in words."""
    if item := item_of(hint):
        return f"{_allowed(item)}, separated by commas"
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _allowed(typing.get_args(kind)[0])
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    if kind is bool:
        return "1 or 0"
    return _allowed_text(hint) if kind is str else _allowed_number(kind, hint)


def _allowed_text(hint: Any) -> str:
    return " or ".join(meta.title for meta in _metas(hint) if meta.title) or "text"


def _allowed_number(kind: Any, hint: Any) -> str:
    number = "a whole number" if kind is int else "a number"
    for meta in _metas(hint):
        if meta.gt is not None:
            return f"{number} above {meta.gt:g} and up to {meta.le:.0f}"
        if meta.ge is not None:
            return f"{number} from {meta.ge:g} to {meta.le:.0f}"
    return number


def item_of(hint: Any) -> Any:
    """Return the type of the items of a list; ``None`` if the type is not a list."""
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
