"""Options that say which tasks are meant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import click

from taskflow.cli.remote.values import PAST, TAG, dict_of
from taskflow.client.filters import Filters
from taskflow.model.outcome import ErrorType
from taskflow.model.task import TagValue, TaskStatus

F = TypeVar("F", bound=Callable[..., Any])

_A_MOMENT: Final = "2026-11-27T12:00Z, or how long ago: 2h"


def filter_options(function: F) -> F:
    """The filters of the API; they come to the command as ``filters``, by ``filters_of``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def filters_of(options: Mapping[str, Any]) -> Filters:
    """What was said of the tasks that are meant.

    Raises:
        click.UsageError: One tag is there twice.
    """
    statuses: Sequence[str] = options["status"]
    tags: Sequence[tuple[str, TagValue]] = options["tag"]
    since: dt.datetime | None = options["created_after"]
    given = {
        "status": [status.upper() for status in statuses] or None,
        "queue": options["queue"],
        "tags": dict_of(tags, "--tag"),
        "host": options["host"],
        "error_type": options["error_type"],
        "created_after": since,
        "created_before": options["created_before"],
        "finished_after": options["finished_after"],
        "finished_before": options["finished_before"],
        "url_contains": options["url_contains"],
    }
    return cast("Filters", {name: value for name, value in given.items() if value is not None})


_OPTIONS: Final = (
    click.option(
        "--status",
        type=click.Choice([str(status) for status in TaskStatus], case_sensitive=False),
        multiple=True,
        help="With this status; may be given again.",
    ),
    click.option("--queue", metavar="NAME", help="In this queue."),
    click.option(
        "--tag", type=TAG, multiple=True, help="With this tag; several: with all of them."
    ),
    click.option("--host", metavar="NAME", help="Whose URL has this host."),
    click.option(
        "--error-type",
        type=click.Choice([str(kind) for kind in ErrorType]),
        metavar="TYPE",
        help="That failed for this reason, such as timeout or http_status.",
    ),
    click.option("--url-contains", metavar="TEXT", help="Whose URL contains this text."),
    click.option(
        "--since",
        "--created-after",
        "created_after",
        type=PAST,
        help=f"Handed in then or later: {_A_MOMENT}.",
    ),
    click.option("--created-before", type=PAST, help="Handed in earlier."),
    click.option("--finished-after", type=PAST, help="That ended then or later."),
    click.option("--finished-before", type=PAST, help="That ended earlier."),
)
