"""Options of commands, from the declarations of what the API accepts (``taskflow/schema``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
import msgspec
from msgspec import inspect

from taskflow.cli.remote.values import DURATION, FUTURE, HEADER_FIELD, PAST, TAG, dict_of
from taskflow.client.options import Filters, Options
from taskflow.model.completion import Completion
from taskflow.model.request import RequestPayload
from taskflow.model.task import TaskStatus
from taskflow.model.uniqueness import Debounce, Unique
from taskflow.schema.filters import FILTERS, BulkRequest
from taskflow.schema.tasks import NOT_IN_TEMPLATES, TaskRequest
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
    if any(isinstance(one, inspect.BoolType) for one in kinds_of(info.type)):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
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


def nullable_fields(kind: type[msgspec.Struct]) -> list[str]:
    """Return the names of the fields that null resets to their default."""
    described = {name: cast("inspect.Metadata", one.type) for name, one in _fields_of(kind).items()}
    return [
        name
        for name, one in described.items()
        if isinstance(one.type, inspect.UnionType) and one.type.includes_none
    ]


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
        case inspect.VarTupleType() if name == "after":
            settings |= {"type": click.UUID, "multiple": True, "metavar": "ID"}
        case inspect.DateTimeType():
            settings["type"] = PAST if name.endswith(_PAST) else FUTURE
        case inspect.FloatType():
            settings["type"] = DURATION if extra_of(info).get("unit") == "seconds" else float
        case inspect.IntType():
            settings["type"] = int
        case inspect.StrType():
            settings["type"] = str
        case inspect.UUIDType():
            settings |= {"type": click.UUID, "metavar": "ID"}
        case inspect.BoolType():
            settings["default"] = None
    return settings


_FILTER_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tags": ("--tag",),
    "created_after": ("--since", "--created-after"),
}
_FILTER_SETTINGS: Final[Mapping[str, dict[str, str]]] = {
    "queue": {"metavar": "NAME"},
    "host": {"metavar": "NAME"},
    "error_type": {"metavar": "TYPE"},
    "created_after": {
        "help": f"{help_of(BulkRequest, 'created_after')} An age such as 2h is accepted, too."
    },
}


def filter_options(function: F) -> F:
    """Add the filters of the API to a command; ``filters_of`` reads them."""
    return _FILTER_OPTIONS(function)


def filters_of(options: Mapping[str, Any]) -> Filters:
    """Return the filters that were given.

    Raises:
        click.UsageError: A tag is given twice.
    """
    given = {name: options[name] for name in FILTERS}
    given["tags"] = dict_of(given["tags"], "--tag")
    given |= {name: list(given[name]) or None for name in ("status", "state")}
    return cast("Filters", {name: value for name, value in given.items() if value is not None})


_FILTER_OPTIONS: Final = declared_options(
    declared_option(
        BulkRequest, name, *_FILTER_FLAGS.get(name, ()), **_FILTER_SETTINGS.get(name, {})
    )
    for name in FILTERS
)


OPTION_NAMES: Final = tuple(
    name
    for name in TaskRequest.__struct_fields__
    if name not in ("payload", "name") and has_option(TaskRequest, name)
)
REQUEST_NAMES: Final = ("method", "header", "data", "fetch_timeout")


def task_options(function: F) -> F:
    """Add the options of a task to a command; ``options_of`` reads them."""
    return _options(OPTION_NAMES)(_KEYS(_COMPLETIONS(function)))


def template_options(function: F) -> F:
    """Add the options of the template of a schedule, which has no fixed times."""
    names = (name for name in OPTION_NAMES if name not in NOT_IN_TEMPLATES)
    return _options(names)(_COMPLETIONS(function))


def request_options(function: F) -> F:
    """Add the options of the request besides its URL to a command; ``payload_of`` reads them."""
    return declared_options(_REQUEST)(function)


def options_of(arguments: Mapping[str, Any]) -> Options:
    """Return the options of a task that were given.

    Raises:
        click.UsageError: A tag is given twice, or an option without the one that it needs.
    """
    found = {name: arguments.get(name) for name in OPTION_NAMES}
    found["tags"] = dict_of(arguments["tags"], "--tag")
    found["after"] = list(arguments.get("after") or ()) or None
    found["unique"] = _object_of(arguments, _UNIQUE)
    found["debounce"] = _object_of(arguments, _DEBOUNCE)
    found["completion"] = _object_of(arguments, _COMPLETION)
    return cast("Options", {name: value for name, value in found.items() if value is not None})


def _object_of(
    arguments: Mapping[str, Any], flags: Mapping[str, tuple[str, str]]
) -> dict[str, Any] | None:
    """Return an object that has several options; ``None`` if none of them was given.

    Raises:
        click.UsageError: Some were given, without the first one.
    """
    given = {
        name: value
        for name, (_, argument) in flags.items()
        if (value := arguments.get(argument)) not in (None, ())
    }
    first = next(iter(flags))
    if given and first not in given:
        flag, _ = flags[first]
        raise click.UsageError(f"{flags[next(iter(given))][0]} needs {flag}")
    return given or None


def payload_of(url: str, arguments: Mapping[str, Any]) -> Any:
    """Return the URL, or a whole request if an option for that is given.

    Raises:
        click.UsageError: One header field is there twice, or a file cannot be read.
    """
    headers: Sequence[tuple[str, str]] = arguments["header"]
    request: dict[str, Any] = {
        "method": arguments["method"] and arguments["method"].upper(),
        "headers": dict_of(headers, "--header"),
        "body": _body_of(arguments["data"], {name.lower() for name, _ in headers}),
        "timeout_seconds": arguments["fetch_timeout"],
    }
    given = {name: value for name, value in request.items() if value is not None}
    return {"url": url, **given} if given else url


def _body_of(data: str | None, fields: set[str]) -> Any:
    """Text as it is; what is a JSON object or array is sent as that, unless a field says what."""
    if data is None:
        return None
    text = _text_of(data)
    if "content-type" in fields or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode())


def _text_of(data: str) -> str:
    if not data.startswith("@"):
        return data
    try:
        return Path(data[1:]).read_text("utf-8")
    except OSError as error:
        raise click.UsageError(f"--data: {data[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--data: {data[1:]} is not UTF-8 text") from None


def _options(names: Iterable[str]) -> Callable[[F], F]:
    return declared_options(
        declared_option(TaskRequest, name, *_FLAGS.get(name, ()), **_SETTINGS.get(name, {}))
        for name in names
    )


# The flag and the argument of the command for each member; the first one is required.
_UNIQUE: Final[Mapping[str, tuple[str, str]]] = {
    "key": ("--unique-key", "unique_key"),
    "while": ("--unique-while", "unique_while"),
    "on_conflict": ("--on-conflict", "on_conflict"),
}
_DEBOUNCE: Final[Mapping[str, tuple[str, str]]] = {
    "key": ("--debounce-key", "debounce_key"),
    "delay_seconds": ("--debounce-delay", "debounce_delay"),
    "max_wait_seconds": ("--debounce-max-wait", "debounce_max_wait"),
}
_COMPLETION: Final[Mapping[str, tuple[str, str]]] = {
    "mode": ("--completion", "completion_mode"),
    "within_seconds": ("--within", "completion_within"),
}
STATUSES: Final = click.Choice([status.value for status in TaskStatus], case_sensitive=False)
_MEMBER_SETTINGS: Final[Mapping[str, dict[str, Any]]] = {
    "--unique-key": {"metavar": "KEY", "help": help_of(TaskRequest, "unique")},
    "--unique-while": {"type": STATUSES, "multiple": True},
    "--debounce-key": {"metavar": "KEY", "help": help_of(TaskRequest, "debounce")},
    "--completion": {"help": help_of(TaskRequest, "completion")},
}


def _members(
    kind: type[msgspec.Struct], flags: Mapping[str, tuple[str, str]]
) -> Iterator[Callable[[F], F]]:
    for name, (flag, argument) in flags.items():
        settings = _MEMBER_SETTINGS.get(flag, {})
        yield declared_option(kind, name, flag, argument=argument, **settings)


_KEYS: Final = declared_options([*_members(Unique, _UNIQUE), *_members(Debounce, _DEBOUNCE)])
_COMPLETIONS: Final = declared_options(_members(Completion, _COMPLETION))
_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {"tags": ("--tag",)}
_SETTINGS: Final[Mapping[str, dict[str, str]]] = {
    "queue": {"metavar": "NAME"},
    "callback_url": {"metavar": "URL"},
}
_REQUEST: Final = (
    declared_option(RequestPayload, "method", "--method", "-X", metavar="METHOD"),
    click.option(
        "--header", "-H", type=HEADER_FIELD, multiple=True, help="A header of the request."
    ),
    click.option(
        "--data", "-d", metavar="TEXT", help="The body, or @FILE to read it; JSON is sent as JSON."
    ),
    declared_option(RequestPayload, "timeout_seconds", "--fetch-timeout", argument="fetch_timeout"),
)
