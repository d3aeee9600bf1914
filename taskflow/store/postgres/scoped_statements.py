"""Variants of statements that see only the queues of a scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taskflow.model.queue_scope import QueueScope

_SCOPED: Final = "scoped_"
IN_SCOPE: Final = (
    "(queue = ANY (%(scope_names)b::text[]) OR queue ^@ ANY (%(scope_prefixes)b::text[]))"
)
"""The condition on a column ``queue``, with the parameters of ``QueueScope``."""

_TABLES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "count": ("taskflow_counts", "taskflow_endings", "taskflow_changes"),
    "counted_queues": ("taskflow_counts", "taskflow_changes"),
    "finished_by_minute": ("taskflow_endings", "taskflow_changes"),
    "wanted_events_after": ("taskflow_events",),
}
_WITH: Final = "WITH "


def scoped_variants(statements: Mapping[str, str]) -> dict[str, str]:
    """Return the variants by name.

    In each, a common table expression takes the place of every table: so no part of the statement
    can miss the condition, and the statement for clients without a scope has none.
    """
    return {
        _SCOPED + name: _scoped(statements[name], tables) for name, tables in _TABLES_OF.items()
    }


def in_scope(name: str, scope: QueueScope | None) -> tuple[str, Mapping[str, object]]:
    """Return the variant of a statement and its further parameters; without a scope, itself."""
    return (name, {}) if scope is None else (_SCOPED + name, scope.parameters())


def _scoped(statement: str, tables: tuple[str, ...]) -> str:
    views = ", ".join(
        f"{table} AS (SELECT * FROM {table} WHERE {IN_SCOPE})"  # noqa: S608 - constants
        for table in tables
    )
    if statement.startswith(_WITH):
        return f"{_WITH}{views}, {statement.removeprefix(_WITH)}"
    return f"{_WITH}{views} {statement}"
