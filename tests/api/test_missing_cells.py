"""Streams of lines while cells of the store stop answering."""

from __future__ import annotations

import msgspec

from taskflow.api.listing import StreamPart, _lines
from taskflow.store.base.partial_reads import note_missing, partial_reads


async def lines_of(missing_before: str | None, missing_later: str | None) -> list[dict]:
    """A stream of two parts: cells are missing from the first one, and from the second one."""

    async def read_next() -> StreamPart:
        if missing_later is not None:
            note_missing(missing_later)
        return StreamPart([{"id": 2}], None)

    with partial_reads():
        if missing_before is not None:
            note_missing(missing_before)
        pieces = [one async for one in _lines(StreamPart([{"id": 1}], read_next))]
    return [msgspec.json.decode(line) for line in b"".join(pieces).splitlines()]


async def test_a_stream_ends_with_an_error_if_a_cell_stops_answering(autojump_clock):
    """What the header does not name is not left out silently; what it names may be missing."""
    assert await lines_of(None, None) == [{"id": 1}, {"id": 2}]
    assert await lines_of("c", "c") == [{"id": 1}, {"id": 2}]
    first, last = await lines_of("c", "b")
    assert first == {"id": 1}
    assert (last["error"]["status"], "the cell b" in last["error"]["detail"]) == (503, True)
