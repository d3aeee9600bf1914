"""Submissions in batches, each of which is stored as a whole or not at all.

The service accepts streams, too. But after a stream broke off, the client cannot know what was
stored; and httpx sends a whole request before it reads the response, while the service does not
read on until its responses are read. A batch has a key, so it can be sent again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from taskflow.client.calls import Call, submission
from taskflow.client.errors import BadRequest, Conflict, Rejected, TooLarge, Unprocessable
from taskflow.client.options import document_of_item
from taskflow.client.task import Task
from taskflow.model.errors import FieldError

BATCH_TASKS: Final = 500
BATCH_BYTES: Final = 256 * 2**10

_PLACE: Final = re.compile(r"#/([0-9]+)(.*)", re.DOTALL)
_OF_ONE: Final = (BadRequest, Conflict, TooLarge, Unprocessable)


class Submitted(msgspec.Struct, frozen=True):
    """The result of one submission of many: either a task or an error.

    Attributes:
        index: The number of the item, from 0.
        task: The task.
        error: The reason if there is no task.
    """

    index: int
    task: Task | None = None
    error: Rejected | None = None


class Batch:
    """Some of the tasks.

    Args:
        documents: The JSON of each, with its index.
    """

    def __init__(self, documents: Iterable[tuple[int, bytes]] = ()) -> None:
        self._documents = list(documents)
        self._size = sum(len(document) for _, document in self._documents)
        self._key = str(uuid.uuid4())

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self._documents)

    def add(self, index: int, item: Any) -> None:
        """Add a task.

        Raises:
            TypeError: It cannot be written as JSON.
        """
        document = document_of_item(item)
        self._documents.append((index, document))
        self._size += len(document)

    def is_full(self, maximum: int) -> bool:
        """Whether it is large enough for a request."""
        return len(self) >= maximum or self._size >= BATCH_BYTES

    def call(self) -> Call:
        """The request that submits the tasks; always the same one."""
        documents = b",".join(document for _, document in self._documents)
        return submission(b"[%b]" % documents, self._key)

    def submitted(self, tasks: Iterable[Task]) -> list[Submitted]:
        """Return the results if all tasks were stored."""
        return [
            Submitted(index, task=task)
            for (index, _), task in zip(self._documents, tasks, strict=True)
        ]

    def sorted_out(self, error: Rejected) -> tuple[list[Submitted], list[Batch]]:
        """Return the results of invalid tasks, and the others, which are to be sent again.

        Raises:
            Rejected: No task is invalid.
        """
        if len(self) == 1 and isinstance(error, _OF_ONE):
            [(index, _)] = self._documents
            errors = [one for found in _by_place(error).values() for one in found]
            return [Submitted(index, error=_alone(error, errors or list(error.errors)))], []
        if isinstance(error, TooLarge):
            half = len(self) // 2
            return [], [Batch(self._documents[:half]), Batch(self._documents[half:])]
        invalid = _by_place(error)
        if not invalid:
            raise error
        rejected = [
            Submitted(index, error=_alone(error, invalid[place]))
            for place, (index, _) in enumerate(self._documents)
            if place in invalid
        ]
        rest = [one for place, one in enumerate(self._documents) if place not in invalid]
        return rejected, [Batch(rest)] if rest else []


def _by_place(error: Rejected) -> dict[int, list[FieldError]]:
    """Return the errors of each task of an array, as for a single task."""
    found: dict[int, list[FieldError]] = {}
    for one in error.errors:
        if match := _PLACE.fullmatch(one.pointer):
            detail = one.detail.removeprefix(f"[{match[1]}]: ")
            found.setdefault(int(match[1]), []).append(FieldError(f"#{match[2]}", detail))
    return found


def _alone(error: Rejected, errors: list[FieldError]) -> Rejected:
    detail = "; ".join(one.detail for one in errors) or error.detail
    return type(error)(detail, kind=error.type, status_code=error.status_code, errors=errors)
