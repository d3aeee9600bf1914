"""What h11 and this project's engine make of the same bytes, in one form."""

from __future__ import annotations

from typing import NamedTuple

import h11

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import RequestHead, ResponseHead, Signal
from taskflow.http1.readers import Reader, RequestReader, ResponseReader


class Message(NamedTuple):
    """One message, or what there was of it.

    Attributes:
        head: What its head says.
        body: The data of its body.
        is_whole: Whether its end was found.
    """

    head: tuple[object, ...]
    body: bytes
    is_whole: bool


class Read(NamedTuple):
    """What was made of all bytes.

    Attributes:
        messages: The messages.
        status: The status of the refusal; 0 if there is none.
        complaint: Its words.
    """

    messages: tuple[Message, ...]
    status: int = 0
    complaint: str = ""


def with_engine(reader: Reader, pieces: list[bytes]) -> Read:
    """Feed these pieces and then the end of the stream."""
    messages: list[Message] = []
    try:
        for piece in [*pieces, b""]:
            reader.feed(piece)
            _take(reader, messages)
    except ProtocolError as error:
        return Read(tuple(messages), error.status, str(error))
    return Read(tuple(messages))


def _take(reader: Reader, messages: list[Message]) -> None:
    while (event := reader.next_event()) is not Signal.NEED_DATA:
        if isinstance(event, RequestHead):
            head = (event.method, event.target, event.version, *event.headers)
            messages.append(Message(head, b"", is_whole=False))
        elif isinstance(event, ResponseHead):
            messages.append(Message((event.status, event.reason, *event.headers), b"", False))
        elif isinstance(event, bytes):
            messages[-1] = messages[-1]._replace(body=messages[-1].body + event)
        elif event is Signal.END:
            messages[-1] = messages[-1]._replace(is_whole=True)
        elif isinstance(reader, RequestReader):
            reader.start_next()
        else:
            return


def requests_with_engine(pieces: list[bytes]) -> Read:
    return with_engine(RequestReader(), pieces)


def response_with_engine(pieces: list[bytes], method: str = "GET") -> Read:
    return with_engine(ResponseReader(method), pieces)


def requests_with_h11(data: bytes) -> Read:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**15)
    return _with_h11(connection, data)


def response_with_h11(data: bytes, method: str = "GET") -> Read:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**16)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    return _with_h11(connection, data)


def _with_h11(connection: h11.Connection, data: bytes) -> Read:
    messages: list[Message] = []
    try:
        for piece in (data, b"") if data else (b"",):
            connection.receive_data(piece)
            _take_h11(connection, messages)
    except h11.RemoteProtocolError as error:
        return Read(tuple(messages), error.error_status_hint, str(error))
    return Read(tuple(messages))


def _take_h11(connection: h11.Connection, messages: list[Message]) -> None:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            head = (
                event.method.decode().upper(),
                event.target,
                event.http_version.decode(),
                *event.headers,
            )
            messages.append(Message(head, b"", False))
        elif isinstance(event, h11.Response):
            messages.append(
                Message((event.status_code, bytes(event.reason), *event.headers), b"", False)
            )
        elif isinstance(event, h11.Data):
            messages[-1] = messages[-1]._replace(body=messages[-1].body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            messages[-1] = messages[-1]._replace(is_whole=True)
            if not _goes_on(connection):
                return
        elif not isinstance(event, h11.InformationalResponse):
            return


def _goes_on(connection: h11.Connection) -> bool:
    """Respond, and go on with the next request, if there may be one."""
    if connection.our_role is h11.CLIENT:
        return False
    connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    if connection.our_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True
