"""Sends one request and receives its response over a connection, on top of asks' RequestProcessor.

asks 3.0.0 treats a 1xx as the final response, fails on header bytes that are not UTF-8, loses
bodies that end with the connection, writes a wrong Host for IPv6, reads without limit and follows
redirects incorrectly (see docs/design.md). Only its ``_send`` is used here; everything else is
overridden.
"""

from __future__ import annotations

import contextlib
from typing import Final

import trio
from asks.request_object import RequestProcessor

from taskflow.checkpoints import fair_checkpoint
from taskflow.fetch.decoding import codings_left, decoder_for
from taskflow.fetch.errors import MAPPED, BadResponse, TooLarge, fetch_error_of
from taskflow.fetch.hop import Hop
from taskflow.fetch.recording import Beginning
from taskflow.fetch.response import (
    FRAMINGS,
    Body,
    Bounds,
    Plan,
    RawResponse,
    Want,
    head_of,
)
from taskflow.fetch.stream import Connection
from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Event, ResponseHead, Signal
from taskflow.http1.readers import ResponseReader

MAX_DRAINED_BYTES: Final = 65_536
"""Maximum size of an unwanted body that is read so that the connection can be reused.

Also the maximum encoded size that is read for the beginning of a body.
"""

MAX_DRAINED_CHUNKS: Final = 64
"""Maximum number of chunks of such a body."""

MAX_DRAIN_SECONDS: Final = 0.5
"""Timeout for reading such a body."""

MAX_BEGINNING_SECONDS: Final = 2.0
"""Timeout for the beginning of a body that a failed attempt keeps."""

CODING_SLACK_BYTES: Final = 65_536
"""How much larger an encoded body may be than the decoded one."""

WIRE_FACTOR: Final = 2
"""Maximum ratio of received bytes to body bytes: it limits the overhead of chunks."""

MIN_CHUNKS: Final = 1_024
MIN_CHUNK_BYTES: Final = 64
"""Number of chunks that are always allowed, and minimum average chunk size beyond it.

A chunk of any size costs most of a microsecond, so 1 MiB in chunks of one byte would take a second.
"""

MAX_JOINED_BYTES: Final = 65_536
"""Maximum size of a body that is sent together with the head."""

CHECKPOINT_BYTES: Final = 262_144
"""Amount of received data between two checkpoints: about half a millisecond of work."""

EVENT_OVERHEAD_BYTES: Final = 4_096
"""Cost of an event in addition to its data, expressed in bytes."""

CHUNK_OVERHEAD_BYTES: Final = 512
"""Cost of a chunk in addition to its data, expressed in bytes."""


async def exchange(
    connection: Connection,
    hop: Hop,
    request: bytes,
    *,
    plan: Plan,
    bounds: Bounds,
) -> RawResponse:
    """Send a request and receive its response.

    The caller must close the connection afterwards unless the response is reusable.

    Args:
        connection: A connection to the hop's target.
        hop: The request.
        request: The head of the request as sent on the wire.
        plan: Decides which part of the body to read.
        bounds: Maximum sizes of the body.

    Raises:
        ConnectionLost: No byte of a response arrived; ``connection.received`` is 0.
        FetchError: The response is invalid or too large.
    """
    try:
        return await _Exchange(connection, hop, request, plan, bounds).make_request()
    except MAPPED as error:
        if connection.received and isinstance(error, trio.BrokenResourceError):
            raise BadResponse("the connection broke before the response was complete") from error
        raise fetch_error_of(error, hop.target.host_header) from error


class _Exchange(RequestProcessor):  # type: ignore[misc] # asks ships no types
    """asks' RequestProcessor with our target, headers, framing and limits."""

    def __init__(
        self,
        connection: Connection,
        hop: Hop,
        request: bytes,
        plan: Plan,
        bounds: Bounds,
    ) -> None:
        super().__init__(
            None,  # no session
            hop.method,
            "http://asks.invalid/",  # used by overridden methods only
            "80",
            sock=connection,
        )
        self._request = request
        self._body = hop.body
        self._is_sent = False
        self._plan = plan
        self._max_body_bytes = bounds.max_body_bytes
        self._max_beginning_bytes = bounds.max_beginning_bytes
        self._bytes_since_checkpoint = 0

    async def make_request(self, redirect: bool = False) -> RawResponse:  # noqa: ARG002, FBT001, FBT002
        """Send the request and receive its response.

        asks would build a request of its own first, which takes a tenth of a fetch.
        """
        request, body = self._request, self._body or None
        if body is not None and len(body) <= MAX_JOINED_BYTES:  # one packet instead of two
            request, body = request + body, None
        try:
            await self._send(request, body, _Wire)
            self._is_sent = True
        except trio.BrokenResourceError:
            # A server may respond and close before it reads the body (RFC 9112 section 9.6).
            if not self._body:
                raise
        return await self._catch_response(ResponseReader(self.method))

    async def _catch_response(self, reader: ResponseReader) -> RawResponse:
        parsed = await self._recv_event(reader)
        assert isinstance(parsed, ResponseHead)
        head = head_of(parsed)
        data = bytearray()
        want = self._plan(head, data)
        if want is Want.WHOLE:
            body, is_whole = await self._receive_body(reader, head.headers, data), True
        else:
            limit = self._max_beginning_bytes if want is Want.BEGINNING else 0
            body = Body()
            beginning = Beginning(data, head.headers.get("content-encoding", ""), limit)
            is_whole = await self._drain(reader, head.headers, beginning)
        return RawResponse(
            status=head.status,
            reason=head.reason,
            headers=head.headers,
            locations=head.locations,
            body=body,
            is_whole=is_whole,
            is_reusable=self._is_sent and reader.is_reusable,
        )

    async def _receive_body(
        self, reader: ResponseReader, headers: dict[str, str], body: bytearray
    ) -> Body:
        data = await self._next_data(reader)
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
            self._check_framing(reader, coded)
            try:
                for piece in decoder.decode(data) if decoder else (data,):
                    body += piece
                    self._check_length(len(body))
                    await self._checkpoint(len(piece))
            except BadResponse:
                body += b"" if body else data  # a failed attempt shows it
                raise
            data = await self._next_data(reader)
        if decoder is None:
            return Body(bytes(body), codings_left(codings))
        decoder.finish()
        return Body(bytes(body), codings_left(codings), decoder.dropped_bytes)

    async def _drain(
        self, reader: ResponseReader, headers: dict[str, str], beginning: Beginning
    ) -> bool:
        """Collect the beginning of a body, and read to its end if that is near.

        Returns:
            True if the whole body was collected.
        """
        is_framed = self.method == "HEAD" or bool(FRAMINGS & headers.keys())
        left = MAX_DRAINED_BYTES
        with (
            trio.move_on_after(_seconds_for(beginning)) as scope,
            # Errors do not matter here: the connection is not reused then.
            contextlib.suppress(ProtocolError, trio.BrokenResourceError),
        ):
            # A body without framing ends with the connection, which then cannot be reused.
            while left > 0 and (is_framed or not beginning.is_full):
                data = await self._next_data(reader)
                if data is None:
                    return beginning.is_whole()
                beginning.add(data)
                if reader.chunks > (MAX_DRAINED_CHUNKS if beginning.is_full else MIN_CHUNKS):
                    return False
                left -= len(data)
                scope.deadline = min(scope.deadline, trio.current_time() + _seconds_for(beginning))
                await self._checkpoint(len(data))
        return False

    async def _next_data(self, reader: ResponseReader) -> bytes | None:
        chunks = reader.chunks
        event = await self._recv_event(reader)
        self._bytes_since_checkpoint += (reader.chunks - chunks) * CHUNK_OVERHEAD_BYTES
        return event if isinstance(event, bytes) else None

    async def _recv_event(self, reader: ResponseReader) -> Event:
        while (event := reader.next_event()) is Signal.NEED_DATA:
            reader.feed(await self.sock.receive())
        return event

    async def _checkpoint(self, handled_bytes: int) -> None:
        """Yield to other tasks regularly while received data is processed."""
        self._bytes_since_checkpoint += handled_bytes + EVENT_OVERHEAD_BYTES
        if self._bytes_since_checkpoint >= CHECKPOINT_BYTES:
            self._bytes_since_checkpoint = 0
            await fair_checkpoint()

    def _check_length(self, length: int) -> None:
        if length > self._max_body_bytes:
            raise TooLarge(f"the body is larger than {self._max_body_bytes} bytes")

    def _check_framing(self, reader: ResponseReader, coded: int) -> None:
        """Limit the framing: tiny chunks, and chunks with long extensions."""
        if reader.chunks > MIN_CHUNKS + coded // MIN_CHUNK_BYTES:
            raise BadResponse(f"the body has too many small chunks ({reader.chunks})")
        limit = WIRE_FACTOR * (self._max_body_bytes + CODING_SLACK_BYTES)
        if self.sock.received > limit:
            raise TooLarge(f"the response with its chunk framing is larger than {limit} bytes")


def _seconds_for(beginning: Beginning) -> float:
    return MAX_DRAIN_SECONDS if beginning.is_full else MAX_BEGINNING_SECONDS


class _Wire:
    """Replaces h11's connection, to which asks passes what it sends: bytes, and an end."""

    @staticmethod
    def send(part: object) -> bytes:
        return part if isinstance(part, bytes) else b""
