"""What a target answered, as it answered it: ``/tasks/{id}/result``.

The body comes from a stranger, and a person may open it in a browser where this service is at
home. So it is something to be saved and never a page of ours: nothing in it runs, and no type is
guessed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from mimetypes import MimeTypes
from typing import Final, Literal

import msgspec
from quart import Blueprint, Response

from taskflow.api.problems import store_in_time
from taskflow.api.reading.task_query import task_id_of
from taskflow.model.errors import ResultNotFound, TaskNotFound
from taskflow.model.task import Task, TaskStatus
from taskflow.store.base.tasks import TaskStore

Encoding = Literal["json", "text", "base64"]

PIECE_BYTES: Final = 64 * 2**10
# Also in a frame of one of our own pages it would be nothing but itself.
POLICY: Final = "sandbox; default-src 'none'; frame-ancestors 'none'"
LONGEST_MEDIA_TYPE: Final = 255

_WORD: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# Quoted, too, they hold nothing that some reader might cut at, or take for an escape.
_PARAMETER: Final = rf'{_WORD}=(?:{_WORD}|"[ !#-:<-\[\]-~]*")'
# Not the multipart ones: browsers take the heads of their parts for those of answers.
_MEDIA_TYPE: Final = re.compile(
    rf"(?!multipart/){_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_PARAMETER})*", re.IGNORECASE
)
_CHARSET: Final = re.compile(rf'[ \t]*;[ \t]*charset=(?:{_WORD}|"[^"]*")', re.IGNORECASE)
_UTF8: Final = "; charset=utf-8"
_BY_ENCODING: Final[dict[Encoding, str]] = {
    "json": "application/json",
    "text": f"text/plain{_UTF8}",
    "base64": "application/octet-stream",
}

_WAY_ON: Final = {
    TaskStatus.PENDING: "ask again when it has ended",
    TaskStatus.RUNNING: "ask again when it has ended",
    TaskStatus.FAILED: "GET /tasks/{id} says why",
    TaskStatus.CANCELED: "it was canceled",
}


class _Kept(msgspec.Struct, frozen=True):
    """What is looked at of a stored ``Response``; ``result`` is any JSON, to the byte."""

    result: msgspec.Raw
    content_type: str | None
    encoding: Encoding
    content_encoding: str | None = None


_KEPT: Final = msgspec.json.Decoder(_Kept)
_TEXT: Final = msgspec.json.Decoder(str)
_EXTENSIONS: Final = MimeTypes()  # Python's own table, the same on every machine


def result_routes(store: TaskStore) -> Blueprint:
    """The route, on this store."""
    routes = Blueprint("results", __name__)

    @routes.get("/tasks/<task_id>/result")
    async def result(task_id: str) -> Response:
        with store_in_time():
            task = await store.get(task_id_of(task_id))
        if task is None:
            raise TaskNotFound
        return attachment_of(task)

    return routes


def attachment_of(task: Task) -> Response:
    """The body that a task's target answered with, to be saved.

    If it is still compressed, it goes out as octets: no client has to be able to undo that.

    Raises:
        ResultNotFound: The task has none.
    """
    try:
        kept = _kept_of(task)
        body = _body_of(kept)
    except ValueError as error:  # no version of TaskFlow kept it like that
        raise ResultNotFound(f"the result in the database cannot be read: {error}") from None
    is_coded = kept.encoding == "base64" and kept.content_encoding is not None
    media_type = media_type_of(None if is_coded else kept.content_type, kept.encoding)
    extension = _EXTENSIONS.guess_extension(media_type.partition(";")[0].strip())
    return _attachment(body, media_type, f"{task.id}{extension or ''}")


def media_type_of(sent: str | None, encoding: Encoding) -> str:
    """What to call a body that is kept so, given what its target called it."""
    if sent is None or len(sent) > LONGEST_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(sent):
        return _BY_ENCODING[encoding]
    # Text was decoded to be kept, and goes out in UTF-8.
    return _CHARSET.sub("", sent) + _UTF8 if encoding == "text" else sent


def _kept_of(task: Task) -> _Kept:
    if task.result is None:
        raise ResultNotFound(f"the task is {task.status} and has no result; {_WAY_ON[task.status]}")
    return _KEPT.decode(task.result)


def _body_of(kept: _Kept) -> bytes:
    if kept.encoding == "json":
        return bytes(kept.result)
    text = _TEXT.decode(kept.result)
    return text.encode() if kept.encoding == "text" else base64.b64decode(text)


def _attachment(body: bytes, media_type: str, filename: str) -> Response:
    response = Response(_pieces(body), content_type=media_type)
    response.headers["Content-Length"] = str(len(body))
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Quart's bound is for the whole answer, however large; a client that does not read is given
    # up by the connection, piece by piece.
    response.timeout = None
    return response


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]
