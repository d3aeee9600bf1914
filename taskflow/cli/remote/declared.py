"""Options of commands, from the declarations of what the API accepts (``taskflow/schema``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

import click
import msgspec
from msgspec import inspect

from taskflow.cli.remote.values import DURATION, FUTURE, PAST, TAG, dict_of
from taskflow.client.options import Filters
from taskflow.schema.filters import FILTERS, BulkRequest
from taskflow.schema.validation_errors import extra_of, is_list, kinds_of

F = TypeVar("F", bound=Callable[..., Any])
_PAST: Final = ("_after", "_before")


def declared_option(
    kind: type[msgspec.Struct], name: str, *flags: str, argument: str = "", **settings: Any
) -> Callable[[F], F]:
    """Return the option of a declared field, as a decorator.

    Args:
        kind: The declaration.
        name: The field.
        flags: The flags, if they are not named like the field.
        argument: The argument of the command, if it is not named like the field.
        settings: Arguments of ``click.option`` that replace the ones derived from the field.
    """
    info = _fields_of(kind)[name]
    flag = f"--{name.removesuffix('_seconds').replace('_', '-')}"
    derived = {"help": help_of(kind, name), **_value_of(name, info.type)}
    return click.option(*(flags or (flag,)), argument or name, **{**derived, **settings})


def declared_options(options: Iterable[Callable[[F], F]]) -> Callable[[F], F]:
    """Return several options as one decorator."""
    all_of_them = tuple(options)

    def decorated(function: F) -> F:
        for option in reversed(all_of_them):
            function = option(function)
        return function

    return decorated


def has_option(kind: type[msgspec.Struct], name: str) -> bool:
    """Return whether a field can be given as one option: no object, and no list but of choices."""
    return bool(_value_of(name, _fields_of(kind)[name].type))


def help_of(kind: type[msgspec.Struct], name: str) -> str:
    """Return the first sentence of a field's description, and its default."""
    info = cast("inspect.Metadata", _fields_of(kind)[name].type)
    text = (info.extra_json_schema or {})["description"].replace("`", "").removesuffix(".")
    first, *others = text.split(". ")
    return ". ".join([first, *(one for one in others if one.startswith("Default"))]) + "."


@functools.cache
def _fields_of(kind: type[msgspec.Struct]) -> Mapping[str, inspect.Field]:
    info = cast("inspect.StructType", inspect.type_info(kind))
    return {field.encode_name: field for field in info.fields}


def _value_of(name: str, info: inspect.Type) -> dict[str, Any]:
    """Return the settings for the value of a field; none if it has no option."""
    kinds = list(kinds_of(info))
    settings: dict[str, Any] = {}
    match next((kind for kind in kinds if isinstance(kind, inspect.EnumType)), kinds[0]):
        case inspect.EnumType(cls=members):
            names = [member.value for member in members]
            settings["type"] = click.Choice(names, case_sensitive=False)
            settings["multiple"] = any(map(is_list, kinds))
        case inspect.DictType() if name == "tags":
            settings |= {"type": TAG, "multiple": True}
        case inspect.DateTimeType():
            settings["type"] = PAST if name.endswith(_PAST) else FUTURE
        case inspect.FloatType():
            settings["type"] = DURATION if extra_of(info).get("unit") == "seconds" else float
        case inspect.IntType():
            settings["type"] = int
        case inspect.StrType():
            settings["type"] = str
    return settings


_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tags": ("--tag",),
    "created_after": ("--since", "--created-after"),
}
_SETTINGS: Final[Mapping[str, dict[str, str]]] = {
    "queue": {"metavar": "NAME"},
    "host": {"metavar": "NAME"},
    "error_type": {"metavar": "TYPE"},
    "created_after": {
        "help": f"{help_of(BulkRequest, 'created_after')} An age such as 2h is accepted, too."
    },
}


def filter_options(function: F) -> F:
    """Add the filters of the API to a command; ``filters_of`` reads them."""
    return _OPTIONS(function)


def filters_of(options: Mapping[str, Any]) -> Filters:
    """Return the filters that were given.

    Raises:
        click.UsageError: A tag is given twice.
    """
    given = {name: options[name] for name in FILTERS}
    given |= {"tags": dict_of(given["tags"], "--tag"), "status": list(given["status"]) or None}
    return cast("Filters", {name: value for name, value in given.items() if value is not None})


_OPTIONS: Final = declared_options(
    declared_option(BulkRequest, name, *_FLAGS.get(name, ()), **_SETTINGS.get(name, {}))
    for name in FILTERS
)
