"""A task as it was read once, and its representations, which all requests for it share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from werkzeug.datastructures import ETags

from taskflow.api.listing import selected
from taskflow.model.task import Task

_TAG_BYTES: Final = 12
_ENCODER: Final = msgspec.json.Encoder()


class Representation(NamedTuple):
    """A task as JSON, and its strong validator (RFC 9110, section 8.8)."""

    body: bytes
    tag: str


class Snapshot:
    """A task as it was read.

    A thousand requests may wait for one task with a large result: it is encoded once for all of
    them, and once for each selection of fields.
    """

    def __init__(self, task: Task) -> None:
        self.task: Final = task
        self._shown: dict[Sequence[str] | None, Representation] = {}

    @property
    def may_be_outdated(self) -> bool:
        """True if the task may have changed since, without an event.

        A submission can replace it, and the end of a wait for others is no change of its status.
        """
        task = self.task
        return bool(task.unique or task.debounce or task.order_key or task.after)

    def shown(self, fields: Sequence[str] | None) -> Representation:
        """Return the task, or the selected fields of it."""
        if fields not in self._shown:
            body = _ENCODER.encode(selected(self.task, fields))
            tag = hashlib.blake2b(body, digest_size=_TAG_BYTES).hexdigest()
            self._shown[fields] = Representation(body, tag)
        return self._shown[fields]

    def is_known(self, tags: ETags, fields: Sequence[str] | None) -> bool:
        """Return whether the client has this representation (``If-None-Match``)."""
        return bool(tags) and tags.contains_weak(self.shown(fields).tag)
