"""``/tasks/{id}/result``: the response body of the target, unchanged.

The body is untrusted, and a user may open it in a browser from the origin of this service. So it is
an attachment and never a page: nothing in it runs, and browsers must not guess its type.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from mimetypes import MimeTypes
from typing import Any, Final, Literal

import msgspec
from quart import Response

from taskflow.api.document.examples import TASK_ID
from taskflow.api.problems import store_timeout
from taskflow.api.reading.paths import task_id_of
from taskflow.api.route import ANY_TYPE, OCTETS, Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.tasks import TASK_ID_IN_PATH
from taskflow.model.errors import ResultNotFound, TaskNotFound
from taskflow.model.sealed_document import check_opened
from taskflow.model.task import Task, TaskStatus

Encoding = Literal["json", "text", "base64"]

PIECE_BYTES: Final = 64 * 2**10
# Even in a frame of a page of this service, the body has no access to it.
POLICY: Final = "sandbox; default-src 'none'; frame-ancestors 'none'"
MAX_MEDIA_TYPE_LENGTH: Final = 255

_WORD: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# Quoted values exclude characters that some parser might split at, or take for an escape.
_PARAMETER: Final = rf'{_WORD}=(?:{_WORD}|"[ !#-:<-\[\]-~]*")'
# Not multipart: browsers take the headers of its parts for headers of responses.
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

_HINTS: Final = {
    TaskStatus.PENDING: "try again when it is finished",
    TaskStatus.RUNNING: "try again when it is finished",
    TaskStatus.FAILED: "GET /tasks/{id} has the error",
    TaskStatus.CANCELED: "it was canceled",
}


class _Kept(msgspec.Struct, frozen=True):
    """The fields of a stored ``Response`` that matter here; ``result`` is any JSON, unchanged."""

    result: msgspec.Raw
    content_type: str | None
    encoding: Encoding
    content_encoding: str | None = None


_KEPT: Final = msgspec.json.Decoder(_Kept)
_TEXT: Final = msgspec.json.Decoder(str)
_EXTENSIONS: Final = MimeTypes()  # Python's own table, the same on every machine


@Route(
    "GET",
    "/tasks/{id}/result",
    "tasks",
    (
        RouteResponse(
            "The body.",
            Any,
            {"answer": 42},
            media_type=ANY_TYPE,
            also=(Content(OCTETS, (), "the bytes of an image"),),
            headers=(
                Parameter(
                    "Content-Disposition",
                    "A file name for the body.",
                    str,
                    f'attachment; filename="{TASK_ID}.json"',
                    is_required=True,
                ),
            ),
        ),
    ),
    (HTTPStatus.NOT_FOUND,),
    (TASK_ID_IN_PATH,),
)
async def show_result(services: Services, task_id: str) -> Response:
    """Get the response body of the target, unchanged.

    For COMPLETED tasks: JSON to the byte, text as UTF-8, anything else as the bytes that were
    received. The media type is the one that the target sent, if it is valid. Browsers save the body
    and do not show it, and nothing in it runs.
    """
    with store_timeout():
        task = await services.store.get(task_id_of(task_id))
    if task is None:
        raise TaskNotFound
    return attachment_of(task)


def attachment_of(task: Task) -> Response:
    """Return the response body of a task's target as an attachment.

    A body that is still compressed is sent as octets: clients need not be able to decompress it.

    Raises:
        ResultNotFound: The task has none.
        KeyMissing: It is encrypted with a key that this node does not have.
    """
    kept, body = _read(task)
    is_coded = kept.encoding == "base64" and kept.content_encoding is not None
    media_type = media_type_of(None if is_coded else kept.content_type, kept.encoding)
    return inert(body, media_type, str(task.id))


def body_of(task: Task) -> bytes:
    """Return the response body of a task's target.

    Raises:
        ResultNotFound: The task has none.
        KeyMissing: It is encrypted with a key that this node does not have.
    """
    return _read(task)[1]


def inert(body: bytes, media_type: str, name: str) -> Response:
    """Return a body in which nothing runs, and which a browser that opens it saves as a file."""
    extension = _EXTENSIONS.guess_extension(media_type.partition(";")[0].strip())
    return _attachment(body, media_type, f"{name}{extension or ''}")


def media_type_of(sent: str | None, encoding: Encoding) -> str:
    """Return the media type of a stored body, given the one that its target sent."""
    if sent is None or len(sent) > MAX_MEDIA_TYPE_LENGTH or not _MEDIA_TYPE.fullmatch(sent):
        return _BY_ENCODING[encoding]
    # Text was decoded to be stored, and is sent as UTF-8.
    return _CHARSET.sub("", sent) + _UTF8 if encoding == "text" else sent


def _read(task: Task) -> tuple[_Kept, bytes]:
    try:
        kept = _kept_of(task)
        return kept, _body_of(kept)
    except ValueError as error:  # no version of TaskFlow stored it like that
        raise ResultNotFound(f"the result in the database cannot be read: {error}") from None


def _kept_of(task: Task) -> _Kept:
    if task.result is None:
        raise ResultNotFound(f"the task is {task.status} and has no result; {_HINTS[task.status]}")
    check_opened(task.result)
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
    # Quart's timeout is for the whole response. The connection has one for each part.
    response.timeout = None
    return response


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


ROUTES: Final = (show_result,)
