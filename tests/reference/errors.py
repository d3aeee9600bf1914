"""docs/reference/errors.md, from the docstring of each ``ErrorType``."""

from __future__ import annotations

import ast
import inspect
import itertools
from typing import NamedTuple

from taskflow.metrics.catalogue import POSTPONING
from taskflow.model import outcome
from taskflow.model.backoff import is_retryable
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType, Failed
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

INTRODUCTION = """\
This page lists every `error_type` of a failed task, and `proxy` and `key_missing`, with
which a task waits.
`error` describes the error for people, `error_type` for programs. "Retried" applies while the task
has attempts left (`max_attempts`). Callbacks are also retried after other errors."""

STATUSES = """\
With `http_status`, only temporary errors are retried: 408, 425, 429 and 5xx, or the statuses in
the task's `retry_on`. Callbacks are retried after every status except 410, with which a receiver
declines further callbacks.

An attempt that a shutdown or the egress proxy interrupted, or whose node died, did not fail and
is not counted; `GET /tasks/{id}/attempts` shows it as `INTERRUPTED` or `LOST`. An attempt that sent
no request, because the proxy failed or a key is missing, is not shown."""

CALLBACK = TaskOptions(callback_of="a task")


class Meaning(NamedTuple):
    """What the code says of a kind of failure."""

    meaning: str
    remedy: str


def meanings() -> dict[ErrorType, Meaning]:
    """Of each, the two paragraphs below it."""
    [body] = [
        node.body
        for node in ast.parse(inspect.getsource(outcome)).body
        if isinstance(node, ast.ClassDef) and node.name == ErrorType.__name__
    ]
    return {
        ErrorType(member.value.value): Meaning(*_paragraphs(text.value.value))
        for member, text in itertools.pairwise(body)
        if isinstance(member, ast.Assign)
    }


def _paragraphs(text: str) -> list[str]:
    return [" ".join(one.split()).replace("``", "`") for one in text.split("\n\n")]


def is_tried_again(error_type: ErrorType) -> str:
    """Whether it is, in a word."""
    if error_type is ErrorType.HTTP_STATUS:
        return "by its status"
    if error_type in POSTPONING:
        return "always"
    failure = Failed(error_type, "")
    if is_retryable(failure):
        return "yes"
    return "callbacks only" if is_retryable(failure, CALLBACK) else "no"


def page() -> str:
    """The reference."""
    rows = (
        (code(kind), output.meaning, is_tried_again(kind), output.remedy)
        for kind, output in meanings().items()
    )
    return page_of(
        "Task errors",
        "taskflow/model/outcome.py",
        INTRODUCTION,
        table(["`error_type`", "meaning", "retried", "what to do"], rows),
        STATUSES,
    )
