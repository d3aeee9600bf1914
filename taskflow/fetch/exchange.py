"""One request and its answer over one connection: asks' RequestProcessor, narrowed.

asks 3.0.0 reads a 1xx as the answer, fails on header bytes that are not UTF-8, loses bodies
that end with the connection, writes a wrong Host for IPv6, reads without bound and follows
redirects wrongly (see docs/design.md). What is left of it here is how a request is sent
(``_send``); what it would put together, receive, parse or decide itself is overridden.
"""

from __future__ import annotations

import contextlib
from typing import Final

import h11
import trio
from asks.request_object import RequestProcessor

from taskflow import linear_h11  # noqa: F401 - for its effect
from taskflow.fetch.decoding import codings_left, decoder_for
from taskflow.fetch.errors import BadResponse, TooLarge, mapped_errors
from taskflow.fetch.hop import Hop
from taskflow.fetch.recording import Beginning
from taskflow.fetch.response import (
    FRAMINGS,
    Body,
    Bounds,
    Head,
    HeaderSplitter,
    Plan,
    RawResponse,
    Want,
    head_of,
)
from taskflow.fetch.stream import Connection
from taskflow.yielding import fair_checkpoint

MAX_INTERIM_ANSWERS: Final = 16
"""How many 1xx may come before the answer."""

MAX_DRAINED_BYTES: Final = 65_536
"""How much of a body that nobody wants is read, so that the connection can be used again.

It is also how much is read for the beginning of a body, coded.
"""

MAX_DRAINED_CHUNKS: Final = 64
"""In how many chunks."""

MAX_DRAIN_SECONDS: Final = 0.5
"""How long that may take."""

MAX_BEGINNING_SECONDS: Final = 2.0
"""How long the beginning of a body may take that is kept of a failed attempt."""

CODING_SLACK_BYTES: Final = 65_536
"""By how much a coded body may be longer than what it decodes to."""

WIRE_FACTOR: Final = 2
"""How many bytes may arrive for each of a coded body: what is no body is bounded, too."""

MIN_CHUNKS: Final = 1_024
MIN_CHUNK_BYTES: Final = 64
"""How many chunks are taken in any case, and how long they must be on the average beyond that.

A chunk costs 5 us, however short it is: a mebibyte byte by byte costs 5 s.
"""

PARSED_BYTES: Final = 8_192
"""How much the parser gets at once, and how long a chunk's line and the trailers may be.

It takes trailers apart in one go, as it does heads: 16 KiB of them take 8 ms.
"""

TURN_BYTES: Final = 262_144
"""How much is taken from what has come in before others get their turn: half a millisecond."""

EVENT_BYTES: Final = 4_096
"""What an event costs beside its bytes, in bytes."""


async def exchange(
    connection: Connection,
    hop: Hop,
    request: h11.Request,
    *,
    plan: Plan,
    bounds: Bounds,
) -> RawResponse:
    """Send a request and receive its answer.

    The connection must be closed afterwards unless the answer says that it is reusable.

    Args:
        connection: To the hop's target.
        hop: What is asked.
        request: The same as it goes over the wire.
        plan: What is wanted of the body.
        bounds: How long it may be.

    Raises:
        ConnectionLost: Not a byte of an answer came; ``connection.received`` is 0.
        FetchError: There is an answer, but it cannot be taken.
    """
    with mapped_errors(hop.target.host_header):
        try:
            one = _Exchange(connection, hop, request, plan, bounds)
            return await one.make_request()
        except trio.BrokenResourceError as error:
            if not connection.received:
                raise
            raise BadResponse("the connection broke before the answer was complete") from error


class _Exchange(RequestProcessor):  # type: ignore[misc] # asks ships no types
    """asks with our target, our fields, our framing and our bounds."""

    def __init__(
        self,
        connection: Connection,
        hop: Hop,
        request: h11.Request,
        plan: Plan,
        bounds: Bounds,
    ) -> None:
        super().__init__(
            None,  # a session is what we do without
            hop.method,
            "http://asks.invalid/",  # read by what is overridden only
            "80",
            sock=connection,
        )
        self._request = request
        self._body = h11.Data(data=hop.body) if hop.body else None
        self._plan = plan
        self._max_body_bytes = bounds.max_body_bytes
        self._max_beginning_bytes = bounds.max_beginning_bytes
        self._unparsed = b""
        self._chunks = 0
        self._turn_bytes = 0

    async def make_request(self, redirect: bool = False) -> RawResponse:  # noqa: ARG002, FBT001, FBT002
        """Send the request and receive its answer.

        asks would put a request of its own together first: a tenth of what a fetch costs.
        """
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=PARSED_BYTES)
        try:
            await self._send(self._request, self._body, parser)
        except trio.BrokenResourceError:
            # A server may answer and close before it has read a body (RFC 9112 section 9.6).
            if self._body is None:
                raise
        return await self._catch_response(parser)

    async def _catch_response(self, parser: h11.Connection) -> RawResponse:
        head = await self._receive_head(parser)
        data = bytearray()
        want = self._plan(head, data)
        if want is Want.WHOLE:
            body, is_whole = await self._receive_body(parser, head.headers, data), True
        else:
            most = self._max_beginning_bytes if want is Want.BEGINNING else 0
            body = Body()
            beginning = Beginning(data, head.headers.get("content-encoding", ""), most)
            is_whole = await self._drain(parser, head.headers, beginning)
        return RawResponse(
            status=head.status,
            reason=head.reason,
            headers=head.headers,
            locations=head.locations,
            body=body,
            is_whole=is_whole,
            is_reusable=not self._unparsed and _is_reusable(parser, head.headers),
        )

    async def _receive_head(self, parser: h11.Connection) -> Head:
        sections = HeaderSplitter()
        for _ in range(MAX_INTERIM_ANSWERS + 1):
            parser.receive_data(await self._receive_header_section(sections))
            event = parser.next_event()
            if isinstance(event, h11.Response):
                self._unparsed = sections.rest()
                return head_of(event)
        raise BadResponse(f"more than {MAX_INTERIM_ANSWERS} interim answers (1xx) came")

    async def _receive_header_section(self, sections: HeaderSplitter) -> bytes:
        while (section := sections.next_section()) is None:
            data = await self.sock.receive()
            if not data:
                raise BadResponse("the connection ended before the answer was complete")
            sections.feed(data)
        return section

    async def _receive_body(
        self, parser: h11.Connection, headers: dict[str, str], body: bytearray
    ) -> Body:
        data = await self._next_data(parser)
        if data is None:
            return Body()
        codings = headers.get("content-encoding", "")
        decoder = decoder_for(codings, self._max_body_bytes + CODING_SLACK_BYTES)
        if decoder is None and "transfer-encoding" not in headers:
            announced = int(headers.get("content-length", 0))
            body += data if announced > self._max_body_bytes else b""
            self._check_length(announced)
        coded = 0
        while data is not None:
            coded += len(data)
            self._check_length(coded - CODING_SLACK_BYTES)
            self._check_framing(coded)
            try:
                for piece in decoder.decode(data) if decoder else (data,):
                    body += piece
                    self._check_length(len(body))
                    await self._give_way(len(piece))
            except BadResponse:
                body += b"" if body else data  # a failed attempt shows it
                raise
            data = await self._next_data(parser)
        if decoder is None:
            return Body(bytes(body), codings_left(codings))
        decoder.finish()
        return Body(bytes(body), codings_left(codings), decoder.dropped_bytes)

    async def _drain(
        self, parser: h11.Connection, headers: dict[str, str], beginning: Beginning
    ) -> bool:
        """Collect the beginning of a body, and read on to its end if that is near.

        Returns:
            Whether the whole body came and was collected.
        """
        is_framed = self.method == "HEAD" or bool(FRAMINGS & headers.keys())
        left = MAX_DRAINED_BYTES
        with (
            trio.move_on_after(_seconds_for(beginning)) as scope,
            # What is wrong with it does not matter; the connection will not be used again.
            contextlib.suppress(h11.RemoteProtocolError, trio.BrokenResourceError),
        ):
            # One that is not framed ends with the connection, which is of no more use then.
            while left > 0 and (is_framed or not beginning.is_full):
                data = await self._next_data(parser)
                if data is None:
                    return beginning.is_whole()
                beginning.add(data)
                if self._chunks > (MAX_DRAINED_CHUNKS if beginning.is_full else MIN_CHUNKS):
                    return False
                left -= len(data)
                scope.deadline = min(scope.deadline, trio.current_time() + _seconds_for(beginning))
                await self._give_way(len(data))
        return False

    async def _next_data(self, parser: h11.Connection) -> bytes | None:
        event = await self._recv_event(parser)
        if not isinstance(event, h11.Data):
            return None
        self._chunks += event.chunk_start
        return bytes(event.data)

    async def _recv_event(self, parser: h11.Connection) -> object:
        while (event := parser.next_event()) is h11.NEED_DATA:
            data = self._unparsed or await self.sock.receive()
            parser.receive_data(data[:PARSED_BYTES])
            self._unparsed = data[PARSED_BYTES:]
        return event

    async def _give_way(self, handled_bytes: int) -> None:
        """Let others run now and then while there is no need to wait for the network."""
        self._turn_bytes += handled_bytes + EVENT_BYTES
        if self._turn_bytes >= TURN_BYTES:
            self._turn_bytes = 0
            await fair_checkpoint()

    def _check_length(self, length: int) -> None:
        if length > self._max_body_bytes:
            raise TooLarge(f"the body is longer than {self._max_body_bytes} bytes")

    def _check_framing(self, coded: int) -> None:
        """Bound what is no body: tiny chunks, and chunks with a kilobyte of extensions each."""
        if self._chunks > MIN_CHUNKS + coded // MIN_CHUNK_BYTES:
            raise BadResponse(f"the body comes in {self._chunks} chunks that are much too short")
        most = WIRE_FACTOR * (self._max_body_bytes + CODING_SLACK_BYTES)
        if self.sock.received > most:
            raise TooLarge(f"the answer is longer than {most} bytes with its chunks' framing")


def _seconds_for(beginning: Beginning) -> float:
    return MAX_DRAIN_SECONDS if beginning.is_full else MAX_BEGINNING_SECONDS


def _is_reusable(parser: h11.Connection, headers: dict[str, str]) -> bool:
    """Whether both sides are done, would go on, and nothing came that nobody asked for.

    An answer that says twice how long it is may have been read differently by somebody on
    the way (RFC 9112 section 6.3), so that what follows it cannot be relied on.
    """
    is_done = parser.our_state is h11.DONE and parser.their_state is h11.DONE
    return is_done and parser.trailing_data == (b"", False) and not headers.keys() >= FRAMINGS
