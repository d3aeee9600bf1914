"""Lists of tasks: pages, or streams of lines; whole tasks, or selected fields."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
import trio
from msgspec import UNSET, UnsetType
from quart import Response

from taskflow.api.problems import Problem, problem_of, store_timeout
from taskflow.api.reading.request_headers import LINES
from taskflow.api.responses import UNBUFFERED
from taskflow.model.errors import TaskFlowError, TooManySearches
from taskflow.model.task import Task
from taskflow.schema.query import FIELDS, PageRequest
from taskflow.store.base.listing import LARGE_FIELDS, Page
from taskflow.store.base.store import TaskStore

STREAM_PAGE: Final = 100
PIECE_BYTES: Final = 64 * 2**10
# How often a stream tries to read its next page, and the pause between two tries.
TRIES: Final = 10
PAUSE_SECONDS: Final = 1.0

_ENCODER: Final = msgspec.json.Encoder()
# Line ends are white space in JSON, and escaped in its strings.
_NO_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


class StreamError(msgspec.Struct, frozen=True):
    """The last line of a stream that broke off.

    Attributes:
        error: Why it broke off.
    """

    error: Problem


def _some_fields() -> Any:
    """Return the type of a task of which only some fields are selected."""
    _, _, attributes = (inspect.getdoc(Task) or "").partition("\n\nAttributes:\n")
    fields = [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(Task)]
    document = f"The fields of a task that ``fields`` selects.\n\nAttributes:\n{attributes}"
    return msgspec.defstruct(
        "TaskFields", fields, namespace={"__doc__": document}, forbid_unknown_fields=True
    )


TaskFields: Final = _some_fields()


async def find_page(store: TaskStore, query: PageRequest) -> Page:
    """Return a page of tasks.

    Raises:
        StoreUnavailable: The store does not answer in time.
    """
    without = LARGE_FIELDS.difference(query.fields) if query.fields else ()
    with store_timeout():
        return await store.page(
            limit=query.limit, before=query.before, filter=query.filter, without=without
        )


async def stream_of(store: TaskStore, query: PageRequest, *, has_body: bool) -> Response:
    """Return a stream of all tasks that match, one per line, read as fast as the client reads.

    Args:
        store: Where the tasks are kept.
        query: The query.
        has_body: Whether the response has a body; if not, nothing is read.
    """
    body = _lines(store, query, await _next_page(store, query)) if has_body else b""
    response = Response(body, content_type=LINES, headers=UNBUFFERED)
    if not has_body:
        del response.headers["Content-Length"]
    # Quart's timeout is for the whole response. The connection has one for each part.
    response.timeout = None
    return response


def selected(task: Task, fields: Sequence[str] | None) -> Task | dict[str, object]:
    """Return the task, or the selected fields of it."""
    if fields is None:
        return task
    return {name: getattr(task, name) for name in FIELDS if name in fields}


async def _lines(store: TaskStore, query: PageRequest, page: Page) -> AsyncIterator[bytes]:
    left = query.limit
    try:
        while True:
            left -= len(page.tasks)
            piece = bytearray()
            for task in page.tasks:
                piece += _line(selected(task, query.fields))
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
            if piece:
                yield bytes(piece)
            if page.next_before is None or not left:
                return
            query = query.going_on(page.next_before, limit=left)
            page = await _later_page(store, query)
    except TaskFlowError as error:
        yield _line(StreamError(problem_of(error)))


async def _later_page(store: TaskStore, query: PageRequest) -> Page:
    """Return the next page of a stream; wait while there are too many searches."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(TooManySearches):
            return await _next_page(store, query)
        await trio.sleep(PAUSE_SECONDS)
    return await _next_page(store, query)


async def _next_page(store: TaskStore, query: PageRequest) -> Page:
    return await find_page(
        store, msgspec.structs.replace(query, limit=min(query.limit, STREAM_PAGE))
    )


def _line(document: object) -> bytes:
    """Return JSON on one line: stored payloads and results may contain line ends."""
    return _ENCODER.encode(document).translate(_NO_LINE_ENDS) + b"\n"
