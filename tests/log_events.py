"""The table of events in docs/logging.md, read off the code.

``python -m tests.log_events`` writes it there.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from taskflow.telemetry import Event

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = REPOSITORY / "docs" / "logging.md"
HEAD = "| event | level | fields |\n| --- | --- | --- |\n"
# What is not named where they are logged: the exception, and whose attempt it is.
ALIASES = {"error": "exception"}
ABOUT_ATTEMPTS = {Event.FETCH_FAULT, Event.FILES_USED_UP, Event.CALLBACK_UNSIGNED}


def table() -> str:
    """A row for each event, in the order of the code."""
    fields = fields_of_events()
    for event in ABOUT_ATTEMPTS:
        fields[event] = ["task", "attempt", *fields[event]]
    rows = (
        f"| {event.wording} | {event.level} | {', '.join(f'`{f}`' for f in fields[event])} |\n"
        for event in Event
    )
    return HEAD + "".join(rows)


def fields_of_events() -> defaultdict[Event, list[str]]:
    """What each event says beside its wording, by the calls that log it."""
    fields: defaultdict[Event, list[str]] = defaultdict(list)
    for path in sorted((REPOSITORY / "taskflow").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in calls(function):
                    for event in events_in(call.args[0]) or events_in(function):
                        new = [ALIASES.get(one.arg, one.arg) for one in call.keywords if one.arg]
                        fields[event] += [name for name in new if name not in fields[event]]
    return fields


def calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls that log something."""
    names = {"emit", "emit_seldom", "_write"}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args:
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in names:
                yield node


def events_in(tree: ast.AST) -> list[Event]:
    """Those that are named there."""
    return [
        Event[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in Event.__members__
    ]


def refresh() -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text("utf-8")
    rows = re.compile(re.escape(HEAD) + r"(\|.*\n)*")
    DOCUMENT.write_text(rows.sub(lambda _: table(), text), "utf-8")


if __name__ == "__main__":
    refresh()
