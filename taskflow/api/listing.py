"""Tasks as they are listed: by pages, or as a stream of lines; whole, or some fields of each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import trio
from quart import Response

from taskflow.api.problems import Problem, problem_of, store_in_time
from taskflow.api.reading.accept import LINES
from taskflow.api.reading.task_query import PageRequest
from taskflow.api.responses import AS_IT_COMES
from taskflow.model.errors import TaskFlowError, TooManySearches
from taskflow.model.task import Task
from taskflow.store.base.listing import LARGE_FIELDS, Page
from taskflow.store.base.tasks import TaskStore

STREAM_PAGE: Final = 100
PIECE_BYTES: Final = 64 * 2**10
# How often a stream that has begun tries for its next page, and how long it waits in between.
TRIES: Final = 10
PAUSE_SECONDS: Final = 1.0

_ENCODER: Final = msgspec.json.Encoder()
# In JSON these are white space; in text they are escaped.
_NO_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


class Broken(msgspec.Struct, frozen=True):
    """The last line of a stream that did not come to its end.

    Attributes:
        error: Why not.
    """

    error: Problem


async def find_page(store: TaskStore, asked: PageRequest) -> Page:
    """A page of what is asked for.

    Raises:
        StoreUnavailable: The store does not answer in time.
    """
    without = LARGE_FIELDS.difference(asked.fields) if asked.fields else ()
    with store_in_time():
        return await store.page(
            limit=asked.limit, before=asked.before, filter=asked.filter, without=without
        )


async def stream_of(store: TaskStore, asked: PageRequest, *, has_body: bool) -> Response:
    """All that is asked for, a line each; no more is read while nobody takes what was read.

    Args:
        store: Where the tasks are.
        asked: Which, and how many at most.
        has_body: Whether there is anybody to read it: nothing is looked for otherwise.
    """
    body = _lines(store, asked, await _next_page(store, asked)) if has_body else b""
    response = Response(body, content_type=LINES, headers=AS_IT_COMES)
    if not has_body:
        del response.headers["Content-Length"]
    # Quart's bound is for the whole answer, however long; a client that does not read is given
    # up by the connection, piece by piece.
    response.timeout = None
    return response


def picked(task: Task, fields: Sequence[str] | None) -> Task | dict[str, object]:
    """The task as it is shown if these fields are asked for."""
    return task if fields is None else {name: getattr(task, name) for name in fields}


async def _lines(store: TaskStore, asked: PageRequest, page: Page) -> AsyncIterator[bytes]:
    left = asked.limit
    try:
        while True:
            left -= len(page.tasks)
            piece = bytearray()
            for task in page.tasks:
                piece += _line(picked(task, asked.fields))
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
            if piece:
                yield bytes(piece)
            if page.next_before is None or not left:
                return
            asked = asked.going_on(page.next_before, limit=left)
            page = await _later_page(store, asked)
    except TaskFlowError as error:
        yield _line(Broken(problem_of(error)))


async def _later_page(store: TaskStore, asked: PageRequest) -> Page:
    """The next page of a stream that has begun, which waits while there are many searches."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(TooManySearches):
            return await _next_page(store, asked)
        await trio.sleep(PAUSE_SECONDS)
    return await _next_page(store, asked)


async def _next_page(store: TaskStore, asked: PageRequest) -> Page:
    return await find_page(
        store, msgspec.structs.replace(asked, limit=min(asked.limit, STREAM_PAGE))
    )


def _line(document: object) -> bytes:
    """JSON on a line of its own: payloads and results are kept with the line ends in them."""
    return _ENCODER.encode(document).translate(_NO_LINE_ENDS) + b"\n"
