"""A task as the client returns it, and access to its result."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any, Final

import msgspec
from msgspec import UNSET

from taskflow.client.errors import NotFinished, TaskCanceled, TaskFailed, UnexpectedResponse
from taskflow.model import groups, outcome, schedule
from taskflow.model import task as kept
from taskflow.model.task import TaskStatus


class Result(outcome.StoredResponse, frozen=True, kw_only=True):
    """The response of a target, with the attributes of ``StoredResponse``."""

    @property
    def content(self) -> bytes:
        """The body in bytes; of text, in UTF-8."""
        if self.encoding == "json":
            return bytes(self.result)
        text: str = msgspec.json.decode(self.result)
        return text.encode() if self.encoding == "text" else base64.b64decode(text)

    @property
    def text(self) -> str:
        """The body as text; invalid UTF-8 is replaced."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON, read by the standard library, which accepts any number.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.content)


_KEPT_PAYLOAD: Final[Any] = kept.Task.payload
_KEPT_TEMPLATE: Final[Any] = schedule.Schedule.task
_KEPT_COMPLETION: Final[Any] = groups.Group.on_complete


def _plain(text: bytes, what: str) -> Any:
    """Return JSON as Python has it.

    Raises:
        UnexpectedResponse: Python cannot read it, such as a number of 5,000 digits.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnexpectedResponse(f"{what} cannot be read: {error}") from None


class Task(kept.Task, frozen=True, kw_only=True):
    """A task, with the attributes of ``taskflow.model.task.Task``.

    Attributes:
        result: The response of the target, once the task is COMPLETED.
    """

    # Decoded further than in the stores, which do not read it.
    result: Result | None = None  # type: ignore[assignment]  # what it was read from

    @property
    def is_final(self) -> bool:
        """Whether the task is finished."""
        return self.status.is_final

    @property  # type: ignore[misc]  # the field remains, as it was received
    def payload(self) -> Any:
        """The payload: text, or a dictionary and so on. It is read anew each time.

        Raises:
            UnexpectedResponse: Python cannot read it, such as a number of 5,000 digits.
        """
        return _plain(self.payload_bytes, "the payload")

    @property
    def payload_bytes(self) -> bytes:
        """The payload as JSON, byte for byte as it was submitted."""
        return bytes(_KEPT_PAYLOAD.__get__(self))

    @property
    def size_bytes(self) -> int:
        """Size of the payload and the result."""
        return len(self.payload_bytes) + (len(bytes(self.result.result)) if self.result else 0)

    def raise_for_failure(self) -> Result:
        """Return the result of a COMPLETED task.

        Raises:
            TaskFailed: The task FAILED.
            TaskCanceled: The task was CANCELED.
            NotFinished: The task is not finished.
        """
        if self.status is TaskStatus.FAILED:
            raise TaskFailed(self)
        if self.status is TaskStatus.CANCELED:
            raise TaskCanceled(self)
        if self.result is None:
            raise NotFinished(self)
        return self.result


class Schedule(schedule.Schedule, frozen=True, kw_only=True):
    """A schedule, with the attributes of ``taskflow.model.schedule.Schedule``."""

    @property  # type: ignore[misc]  # the field remains, as it was received
    def task(self) -> Any:
        """The template of its tasks: a dictionary. It is read anew each time.

        Raises:
            UnexpectedResponse: Python cannot read it, such as a number of 5,000 digits.
        """
        return _plain(self.task_bytes, "the task")

    @property
    def task_bytes(self) -> bytes:
        """The template as JSON, byte for byte as it was submitted."""
        return bytes(_KEPT_TEMPLATE.__get__(self))


class Group(groups.Group, frozen=True, kw_only=True):
    """A group, with the attributes of ``taskflow.model.groups.Group``."""

    @property  # type: ignore[misc]  # the field remains, as it was received
    def on_complete(self) -> Any:
        """The task that it creates when it completes: a dictionary, or ``None``.

        Raises:
            UnexpectedResponse: Python cannot read it, such as a number of 5,000 digits.
        """
        return _plain(self.on_complete_bytes, "the task of the group")

    @property
    def on_complete_bytes(self) -> bytes:
        """The same as JSON, byte for byte as it was submitted."""
        return bytes(_KEPT_COMPLETION.__get__(self))

    @property
    def has_completion_task(self) -> bool:
        """True if it creates a task when it completes."""
        return self.on_complete_bytes != b"null"


class BulkResult(msgspec.Struct, frozen=True):
    """The result of a bulk action.

    Attributes:
        count: Number of tasks that it changed or, in a dry run, would change.
        complete: Whether these are all; if not, the same call again does the rest.
        dry_run: Whether the tasks were only counted.
    """

    count: int
    complete: bool
    dry_run: bool


class Download(msgspec.Struct, frozen=True):
    """The body of a response.

    Attributes:
        content_type: The media type, from the target if it is plausible.
        content: The body in bytes.
    """

    content_type: str
    content: bytes


class Service(msgspec.Struct, frozen=True):
    """The service.

    Attributes:
        version: The version of TaskFlow.
        date: The time of its clock, to the second; ``None`` if the response has none.
    """

    version: str
    date: dt.datetime | None


def shown(task: kept.Task) -> Task:
    """Return a stored task as the client returns it."""
    fields = msgspec.structs.asdict(task)
    fields = {name: value for name, value in fields.items() if value is not UNSET}
    return msgspec.convert(fields, Task, from_attributes=True)
