"""docs/reference/settings.md and .env.example, from the types of the settings."""

from __future__ import annotations

from taskflow.settings import catalogue
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

INTRODUCTION = """\
For whoever runs TaskFlow. Settings are read from the environment, and from `.env` in the working
directory (see `.env.example`); what is set in the environment goes first. A value that cannot be
used stops the start, with a line that says why; a misspelt name is warned about."""

HEAD = """\
# Settings of TaskFlow. Copy this file to .env and make the lines active that you want to
# change; what is set in the environment goes before what is set here.
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
        table(["variable", "default", "meaning", "may be"], rows),
    )


def example() -> str:
    """A file for .env, in which nothing is active."""
    entries = (f"# {one.meaning}\n#{one.variable}={one.default}\n" for one in catalogue())
    return "\n".join([HEAD, *entries])
