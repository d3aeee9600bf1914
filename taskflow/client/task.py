"""A task as it is shown, and what can be done with its result."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import msgspec

from taskflow.client.errors import NotEnded, TaskCanceled, TaskFailed
from taskflow.model import outcome
from taskflow.model import task as kept
from taskflow.model.task import TaskStatus


class Result(outcome.Response, frozen=True, kw_only=True):
    """What a target answered; the attributes are those of ``Response``.

    Attributes:
        result: The body as it is kept: JSON.
    """

    result: msgspec.Raw

    @property
    def content(self) -> bytes:
        """The body in bytes; of text, in UTF-8."""
        if self.encoding == "json":
            return bytes(self.result)
        text: str = msgspec.json.decode(self.result)
        return text.encode() if self.encoding == "text" else base64.b64decode(text)

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is replaced."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON, read by the standard library: any number is taken.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.content)


class Task(kept.Task, frozen=True, kw_only=True):
    """A task as it is shown; the attributes are those of ``taskflow.model.task.Task``.

    Attributes:
        result: What the target answered, once it is COMPLETED.
    """

    # Read further than where tasks are kept: there nobody looks into it.
    result: Result | None = None  # type: ignore[assignment]  # what it was read from

    @property
    def is_final(self) -> bool:
        """Whether it is at its end."""
        return self.status.is_final

    @property
    def payload_json(self) -> Any:
        """The payload, read by the standard library."""
        return json.loads(bytes(self.payload))

    def raise_for_failure(self) -> Result:
        """The result of a task that is COMPLETED.

        Raises:
            TaskFailed: It FAILED.
            TaskCanceled: It was CANCELED.
            NotEnded: It has not ended.
        """
        if self.status is TaskStatus.FAILED:
            raise TaskFailed(self)
        if self.status is TaskStatus.CANCELED:
            raise TaskCanceled(self)
        if self.result is None:
            raise NotEnded(self)
        return self.result


class Moved(msgspec.Struct, frozen=True):
    """What was done to many tasks.

    Attributes:
        count: To how many; of a dry run, to how many it would be.
        is_complete: Whether these are all; if not, there was no more time, so ask again.
        dry_run: Whether they were only counted.
    """

    count: int
    is_complete: bool
    dry_run: bool


class Download(msgspec.Struct, frozen=True):
    """What a target answered, as it is saved.

    Attributes:
        content_type: What it is, as the target said if that can be believed.
        content: The body in bytes.
    """

    content_type: str
    content: bytes


class Service(msgspec.Struct, frozen=True):
    """Who answers.

    Attributes:
        version: Which version of TaskFlow it is.
        date: What its clock said, to the second; ``None`` if it did not say.
    """

    version: str
    date: dt.datetime | None


def shown(task: kept.Task) -> Task:
    """A task that is just kept, as it is shown."""
    return msgspec.convert(msgspec.structs.asdict(task), Task, from_attributes=True)
