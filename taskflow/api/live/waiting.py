"""Waiting for a task, within the answer to a request."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from werkzeug.datastructures import ETags

from taskflow.api.live.feed import Feed
from taskflow.api.reading.prefer import WaitRequest, preferences_of, preferred_wait, wait_of
from taskflow.api.reading.unknown_fields import unknown_parameters
from taskflow.model.errors import Unprocessable
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import Task

_TAG_BYTES: Final = 12


class Patience:
    """For how long an answer may wait, and what it says of that.

    Args:
        preferred: The values of ``Prefer``.
        query: All parameters of the request.
        known: Those that there are.

    Attributes:
        seconds: How long; 0 if it may not.
        applied: ``Preference-Applied`` (RFC 7240), if the wait was asked for by a preference.
    """

    def __init__(
        self,
        preferred: Sequence[str],
        query: Mapping[str, Sequence[str]],
        known: type[WaitRequest] = WaitRequest,
    ) -> None:
        wish = preferred_wait(preferences_of(preferred))
        names = known.__struct_fields__
        if unknown := unknown_parameters(query, Vocabulary(names)):
            raise Unprocessable("; ".join(unknown))
        asked = query.get("wait", ())
        if len(asked) > 1:
            raise Unprocessable("wait is given more than once")
        self.seconds: Final = wait_of(asked[0]) if asked else wish or 0
        self.applied: Final = f"wait={wish}" if wish and not asked else None


async def ended(feed: Feed, task: Task, seconds: float) -> Task:
    """The task at its end, or as it is when the time is over."""
    return await awaited(feed, task.id, seconds, lambda now: now.status.is_final) or task


async def awaited(
    feed: Feed, task_id: uuid.UUID, seconds: float, is_awaited: Callable[[Task], bool]
) -> Task | None:
    """The task once it is as awaited, or as it is when the time is over; ``None`` if unknown."""
    with feed.awaiting(task_id, is_awaited) as waiter:
        return await waiter.wait(seconds)


def tag_of(representation: bytes) -> str:
    """What changes when the representation does: a strong validator (RFC 9110, section 8.8)."""
    return hashlib.blake2b(representation, digest_size=_TAG_BYTES).hexdigest()


def is_known(tags: ETags, representation: bytes) -> bool:
    """Whether who asks has just this one already (``If-None-Match``)."""
    return bool(tags) and tags.contains_weak(tag_of(representation))
