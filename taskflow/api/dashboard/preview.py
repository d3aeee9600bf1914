"""Previews of response bodies that are images.

The bytes are untrusted. They are sent only if they are a raster image by their own first bytes,
with that media type, and as an attachment in a sandbox: an element of the page can show them, and
nothing else can be done with them.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec
from quart import Blueprint, Response

from taskflow.api.access.request_caller import store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.raster_images import MAX_BYTES, raster_type_of
from taskflow.api.problems import store_timeout
from taskflow.api.reading.paths import task_id_of
from taskflow.api.results import body_of, inert
from taskflow.model.errors import ResultNotFound, TaskNotFound
from taskflow.model.outcome import StoredResponse
from taskflow.store.base.store import TaskStore

_TEXT: Final = msgspec.json.Decoder(str)
_BASE64_FACTOR: Final = 4 / 3


def add_routes(routes: Blueprint, store: TaskStore) -> None:
    """Add the route of the image."""

    @routes.get(f"{PATH}/tasks/<task_id>/preview")
    async def preview(task_id: str) -> Response:
        with store_timeout():
            task = await store_of_request(store).get(task_id_of(task_id))
        if task is None:
            raise TaskNotFound
        body = body_of(task)
        media_type = raster_type_of(body)
        if media_type is None:
            raise ResultNotFound("the result of the task is not an image that can be shown")
        response = inert(body, media_type, str(task.id))
        # Pages of other sites cannot show it either.
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response


def has_preview(result: StoredResponse) -> bool:
    """Return whether the body of a result can be shown as an image."""
    document = bytes(result.result)
    if result.encoding != "base64" or len(document) > MAX_BYTES * _BASE64_FACTOR + 4:
        return False
    try:
        return raster_type_of(base64.b64decode(_TEXT.decode(document))) is not None
    except ValueError:  # no version of TaskFlow stores such a result
        return False
