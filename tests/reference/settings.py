"""docs/reference/settings.md and .env.example, from the types of the settings."""

from __future__ import annotations

from taskflow.settings import catalogue
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

INTRODUCTION = """\
This page lists all settings. TaskFlow reads them from the environment, and from `.env` in the
working directory (see `.env.example`); the environment takes precedence. An invalid value stops
the start with one line that says why; an unknown name that begins with `TASKFLOW_` causes a
warning."""

HEAD = """\
# Settings of TaskFlow. Copy this file to .env, and uncomment the settings that you want to change.
# Variables in the environment take precedence.
"""


def page() -> str:
    """The reference."""
    rows = (
        (code(one.variable), code(one.default), one.meaning, one.allowed) for one in catalogue()
    )
    return page_of(
        "Settings",
        "taskflow/settings/fields.py",
        INTRODUCTION,
        table(["variable", "default", "meaning", "allowed values"], rows),
    )


def example() -> str:
    """Return the text of .env.example, in which every setting is a comment."""
    entries = (f"# {one.meaning}\n#{one.variable}={one.default}\n" for one in catalogue())
    return "\n".join([HEAD, *entries])
