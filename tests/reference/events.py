"""docs/reference/events.md, from the events in ``taskflow/telemetry`` and the calls that log."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import taskflow
from taskflow.telemetry import Event
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

INTRODUCTION = """\
This page lists every event that TaskFlow logs. The wording of an event never varies, so programs
can filter by it. Every line also has `timestamp`, `level` and `node`. [Logging](../logging.md)
explains the levels and fields, and the limit on repetitions."""

PACKAGE = Path(taskflow.__file__).parent
# What is not named where they are logged: the exception, and whose attempt it is.
ALIASES = {"error": "exception"}
ABOUT_ATTEMPTS = (Event.FETCH_ERROR, Event.FILE_DESCRIPTORS_EXHAUSTED, Event.REQUEST_UNSIGNED)


def page() -> str:
    """The reference."""
    fields = fields_of_events()
    for event in ABOUT_ATTEMPTS:
        fields[event] = ["task", "attempt", *fields[event]]
    rows = ((event.wording, event.level, ", ".join(map(code, fields[event]))) for event in Event)
    return page_of(
        "Log events",
        "taskflow/telemetry/log_events.py",
        INTRODUCTION,
        table(["event", "level", "fields"], rows),
    )


def fields_of_events() -> defaultdict[Event, list[str]]:
    """What each event says beside its wording, by the calls that log it."""
    fields: defaultdict[Event, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in calls(function):
                    for event in events_in(call.args[0]) or events_in(function):
                        new = [ALIASES.get(one.arg, one.arg) for one in call.keywords if one.arg]
                        fields[event] += [name for name in new if name not in fields[event]]
    return fields


def calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls that log something."""
    names = {"emit", "emit_throttled", "_write"}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args:
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in names:
                yield node


def events_in(tree: ast.AST) -> list[Event]:
    """Return the events that are named there."""
    return [
        Event[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in Event.__members__
    ]
