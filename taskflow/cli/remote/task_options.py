"""Options of a task and of its request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
import msgspec

from taskflow.cli.remote.declared import declared_option, declared_options, has_option
from taskflow.cli.remote.values import HEADER_FIELD, dict_of
from taskflow.client.options import Options
from taskflow.model.request import RequestPayload
from taskflow.schema.tasks import SINGLE_MOMENTS, TaskRequest

F = TypeVar("F", bound=Callable[..., Any])

OPTION_NAMES: Final = tuple(
    name
    for name in TaskRequest.__struct_fields__
    if name != "payload" and has_option(TaskRequest, name)
)
REQUEST_NAMES: Final = ("method", "header", "data", "fetch_timeout")


def task_options(function: F) -> F:
    """Add the options of a task to a command; ``options_of`` reads them."""
    return _options(OPTION_NAMES)(function)


def template_options(function: F) -> F:
    """Add the options of the template of a schedule, which has no single moments."""
    return _options(name for name in OPTION_NAMES if name not in SINGLE_MOMENTS)(function)


def request_options(function: F) -> F:
    """Add the options of the request besides its URL to a command; ``payload_of`` reads them."""
    return declared_options(_REQUEST)(function)


def options_of(arguments: Mapping[str, Any]) -> Options:
    """Return the options of a task that were given.

    Raises:
        click.UsageError: A tag is given twice.
    """
    found = {name: arguments.get(name) for name in OPTION_NAMES}
    found["tags"] = dict_of(arguments["tags"], "--tag")
    return cast("Options", {name: value for name, value in found.items() if value is not None})


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
