"""Options that say which tasks are meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from taskflow.cli.remote.declared import declared_option, declared_options, help_of
from taskflow.cli.remote.values import dict_of
from taskflow.client.filters import Filters
from taskflow.schema.filters import FILTERS, BulkRequest

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tags": ("--tag",),
    "created_after": ("--since", "--created-after"),
}
_SETTINGS: Final[Mapping[str, dict[str, str]]] = {
    "queue": {"metavar": "NAME"},
    "host": {"metavar": "NAME"},
    "error_type": {"metavar": "TYPE"},
    "created_after": {
        "help": f"{help_of(BulkRequest, 'created_after')} Also how long ago, such as 2h."
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
