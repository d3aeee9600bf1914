"""The pages of docs/reference, made of the code: ``python -m tests.reference`` writes them.

A page has a function here that gives its text, so a test can compare, and nothing can drift.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.reference import api, cli, configuration, errors, events, metrics, settings

REPOSITORY = Path(__file__).parents[2]

PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/settings.md": settings.page,
    "docs/reference/api.md": api.page,
    "docs/reference/problems.md": api.problems_page,
    "docs/reference/cli.md": cli.page,
    "docs/reference/errors.md": errors.page,
    "docs/reference/events.md": events.page,
    "docs/reference/metrics.md": metrics.page,
    "docs/reference/taskflow.schema.json": configuration.schema_text,
    ".env.example": settings.example,
}
"""Each written file, by its path in the repository, and what makes its text."""


def written(path: str) -> str:
    """Return the current content of the file; nothing if it does not exist."""
    file = REPOSITORY / path
    return file.read_text("utf-8") if file.exists() else ""


def write() -> list[str]:
    """Write all files, and return the paths of the changed ones."""
    changed = []
    for path, make in PAGES.items():
        text = make()
        if text != written(path):
            (REPOSITORY / path).parent.mkdir(parents=True, exist_ok=True)
            (REPOSITORY / path).write_text(text, "utf-8")
            changed.append(path)
    return changed
