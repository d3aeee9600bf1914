"""Options that say how a task is to be run, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
import msgspec

from taskflow.cli.remote.values import DURATION, FUTURE, HEADER_FIELD, TAG, dict_of
from taskflow.client.options import Options

F = TypeVar("F", bound=Callable[..., Any])

OPTION_NAMES: Final = (
    *("queue", "priority", "delay_seconds", "run_at", "expires_at", "max_attempts", "tag"),
    *("callback_url", "retention_seconds"),
)
REQUEST_NAMES: Final = ("method", "header", "data", "fetch_timeout")


def task_options(function: F) -> F:
    """How a task is to be run; ``options_of`` reads it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def template_options(function: F) -> F:
    """The same without what is a single moment, for tasks that are made again and again."""
    for option in reversed([*_OPTIONS[:3], *_OPTIONS[5:]]):
        function = option(function)
    return function


def request_options(function: F) -> F:
    """What a request says besides its URL; ``payload_of`` reads it."""
    for option in reversed(_REQUEST):
        function = option(function)
    return function


def options_of(said: Mapping[str, Any]) -> Options:
    """How a task is to be run.

    Raises:
        click.UsageError: One tag is there twice.
    """
    found = {name: said.get(name) for name in OPTION_NAMES if name != "tag"}
    found["tags"] = dict_of(said["tag"], "--tag")
    return cast("Options", {name: value for name, value in found.items() if value is not None})


def payload_of(url: str, said: Mapping[str, Any]) -> Any:
    """A URL, or a whole request if anything is said of that.

    Raises:
        click.UsageError: One header field is there twice, or a file cannot be read.
    """
    headers: Sequence[tuple[str, str]] = said["header"]
    request: dict[str, Any] = {
        "method": said["method"] and said["method"].upper(),
        "headers": dict_of(headers, "--header"),
        "body": _body_of(said["data"], {name.lower() for name, _ in headers}),
        "timeout_seconds": said["fetch_timeout"],
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


_OPTIONS: Final = (
    click.option("--queue", metavar="NAME", help="The queue to put it in."),
    click.option("--priority", type=int, help="-100 to 100; higher goes first."),
    click.option(
        "--delay",
        "delay_seconds",
        type=DURATION,
        help="How long to wait before it is run: 90, 15m.",
    ),
    click.option("--run-at", type=FUTURE, help="When to run it at the earliest."),
    click.option("--expires-at", type=FUTURE, help="When to give up: no attempt begins later."),
    click.option("--max-attempts", type=int, help="How many attempts to make at most."),
    click.option("--tag", type=TAG, multiple=True, help="A tag to find it by; may be given again."),
    click.option("--callback-url", metavar="URL", help="The URL to tell when it has ended."),
    click.option(
        "--retention", "retention_seconds", type=DURATION, help="How long to keep it after its end."
    ),
)
_REQUEST: Final = (
    click.option("--method", "-X", metavar="METHOD", help="GET if not given; POST with --data."),
    click.option(
        "--header", "-H", type=HEADER_FIELD, multiple=True, help="A field; may be given again."
    ),
    click.option(
        "--data", "-d", metavar="TEXT", help="The body, or @FILE to read it; JSON is sent as JSON."
    ),
    click.option("--fetch-timeout", type=DURATION, help="How long the fetch may take."),
)
