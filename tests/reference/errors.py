"""docs/reference/errors.md, from what stands below each ``ErrorType``."""

from __future__ import annotations

import ast
import inspect
import itertools
from typing import NamedTuple

from taskflow.model import outcome
from taskflow.model.backoff import is_retryable
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType, Failed
from tests.reference.markdown import code, table
from tests.reference.markdown import page as page_of

INTRODUCTION = """\
For whoever finds a task that FAILED. `error` says why for people, `error_type` for programs: it is
one of these and of no others. "Tried again" is what happens while the task has attempts left
(`max_attempts`); a callback is tried again for more, as it is to arrive."""

STATUSES = """\
Of `http_status` only what asks to come back is tried again: 408, 425, 429 and 5xx, or what the
task's `retry_on` names; of callbacks all but 410, by which a receiver says that it wants no more.

What was cut off by a shutdown, or by the death of a node, is no failure and counts as no attempt;
`GET /tasks/{id}/attempts` has it as `INTERRUPTED` or `LOST`."""

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
    failure = Failed(error_type, "")
    if is_retryable(failure):
        return "yes"
    return "callbacks only" if is_retryable(failure, CALLBACK) else "no"


def page() -> str:
    """The reference."""
    rows = (
        (code(kind), said.meaning, is_tried_again(kind), said.remedy)
        for kind, said in meanings().items()
    )
    return page_of(
        "Why a task failed",
        "taskflow/model/outcome.py",
        INTRODUCTION,
        table(["`error_type`", "meaning", "tried again", "what to do"], rows),
        STATUSES,
    )
