"""Lists of tasks and other objects: pages, or streams of lines; selected fields of tasks."""

from __future__ import annotations

import contextlib
import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec
import trio
from msgspec import UNSET, UnsetType
from quart import Response, request

from taskflow.api.problems import Problem, problem_of, store_timeout
from taskflow.api.reading.request_headers import LINES
from taskflow.api.responses import UNBUFFERED
from taskflow.model.errors import CellUnavailable, TaskFlowError, TooManySearches
from taskflow.model.task import Task
from taskflow.schema.query import FIELDS, AuditRequest, PageRequest, cursor_of
from taskflow.store.base.listing import LARGE_FIELDS, Page
from taskflow.store.base.partial_reads import missing_parts
from taskflow.store.base.store import TaskStore

Query = TypeVar("Query", PageRequest, AuditRequest)

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


class StreamPart(NamedTuple):
    """A part of a stream of lines.

    Attributes:
        items: The objects, one per line.
        read_next: Reads the next part; ``None`` at the end.
    """

    items: Sequence[object]
    read_next: Callable[[], Awaitable[StreamPart]] | None


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
            limit=query.limit,
            before=query.before,
            filter=query.filter,
            without=without,
            order=query.order,
        )


async def stream_of(store: TaskStore, query: PageRequest) -> StreamPart:
    """Return the first part of a stream of all tasks that match."""
    page = await find_page(store, first_part_of(query))
    left = query.limit - len(page.tasks)
    return StreamPart(
        [selected(task, query.fields) for task in page.tasks],
        None
        if page.next_before is None or not left
        else partial(stream_of, store, query.going_on(page.next_before, limit=left)),
    )


def selected(task: Task, fields: Sequence[str] | None) -> Task | dict[str, object]:
    """Return the task, or the selected fields of it."""
    if fields is None:
        return task
    return {name: getattr(task, name) for name in FIELDS if name in fields}


def first_part_of(query: Query) -> Query:
    """Return the query of the first part of a stream."""
    return msgspec.structs.replace(query, limit=min(query.limit, STREAM_PAGE))


async def as_lines(read: Callable[[], Awaitable[StreamPart]]) -> Response:
    """Return a stream of lines, read as fast as the client reads; for ``HEAD``, its headers only.

    Args:
        read: Reads its first part.
    """
    has_body = request.method != "HEAD"
    body = _lines(await read()) if has_body else b""
    response = Response(body, content_type=LINES, headers=UNBUFFERED)
    if not has_body:
        del response.headers["Content-Length"]
    # Quart's timeout is for the whole response. The connection has one for each part.
    response.timeout = None
    return response


def next_link(path: str, limit: int, next_before: uuid.UUID | None) -> str | None:
    """Return ``Link`` with the next page of the current request, if there is one."""
    if next_before is None:
        return None
    parameters = [("limit", str(limit)), ("cursor", cursor_of(next_before))]
    parameters += [
        (name, text)
        for name, texts in request.args.lists()
        for text in texts
        if name not in ("limit", "cursor")
    ]
    return f'<{path}?{urlencode(parameters)}>; rel="next"'


async def _lines(part: StreamPart) -> AsyncIterator[bytes]:
    named = missing_parts()  # in the header, which is sent with the first piece
    try:
        while True:
            piece = bytearray()
            for item in part.items:
                piece += _line(item)
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
            if piece:
                yield bytes(piece)
            if part.read_next is None:
                return
            part = await _later_part(part.read_next)
            if missing := set(missing_parts()).difference(named):
                raise CellUnavailable(min(missing))
    except TaskFlowError as error:
        yield _line(StreamError(problem_of(error)))


async def _later_part(read: Callable[[], Awaitable[StreamPart]]) -> StreamPart:
    """Return the next part of a stream; wait while there are too many searches."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(TooManySearches):
            return await read()
        await trio.sleep(PAUSE_SECONDS)
    return await read()


def _line(document: object) -> bytes:
    """Return JSON on one line: stored payloads and results may contain line ends."""
    return _ENCODER.encode(document).translate(_NO_LINE_ENDS) + b"\n"
