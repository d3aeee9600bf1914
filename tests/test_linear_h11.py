"""h11's reading of heads and chunks, in linear time."""

from __future__ import annotations

import time

import h11
import h11._readers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import linear_h11

LONG = 200_000
REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "x")])
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_the_replacements_are_used():
    """h11 uses them wherever it is imported."""
    assert h11._readers.header_field_re is linear_h11.HEADER_FIELD
    assert h11._readers.chunk_header_re is linear_h11.CHUNK_HEADER


@given(st.binary(max_size=3), st.lists(st.sampled_from([*b" \tab\0\x0b\r\n\xff:"]), max_size=12))
def test_headers_are_parsed_as_before(name, value):
    """The same headers are rejected, and names and values are the same."""
    line = name + b":" + bytes(value)
    old, new = linear_h11.REPLACED[0].fullmatch(line), linear_h11.HEADER_FIELD.fullmatch(line)
    assert (old and old.groupdict()) == (new and new.groupdict())


@given(st.lists(st.sampled_from([*b"; \t1a\r\n\0"]), max_size=12))
def test_chunks_are_parsed_as_before(line):
    """The same chunks are rejected, and sizes are the same."""
    text = b"1" + bytes(line) + b"\r\n"
    old, new = linear_h11.REPLACED[1].fullmatch(text), linear_h11.CHUNK_HEADER.fullmatch(text)
    assert (old and old["chunk_size"]) == (new and new["chunk_size"])


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t"])
@pytest.mark.parametrize("end", [b"\0", b"\x0b", b"\x0c", b"\rx"])
@pytest.mark.parametrize("role", [h11.CLIENT, h11.SERVER])
def test_headers_of_blanks_are_fast(role, blank, end):
    """A third of these blanks took seconds before."""
    first = b"HTTP/1.1 200 OK" if role is h11.CLIENT else b"GET / HTTP/1.1"
    head = first + b"\r\nX:" + blank * (LONG // len(blank)) + end + b"\r\n\r\n"
    connection = h11.Connection(role, max_incomplete_event_size=2 * LONG)
    if role is h11.CLIENT:
        connection.send(REQUEST)
        connection.send(h11.EndOfMessage())
    refuse_quickly(connection, head)


@pytest.mark.parametrize(
    "body",
    [b"0\r\nX:" + b" " * LONG + b"\0\r\n\r\n", b"1;" + b" " * LONG + b"\n\r\n"],
    ids=["trailer", "chunk"],
)
def test_chunks_and_trailers_of_blanks_are_fast(body):
    """Likewise in a body."""
    refuse_quickly(h11.Connection(h11.SERVER, max_incomplete_event_size=2 * LONG), CHUNKED + body)


def refuse_quickly(connection: h11.Connection, data: bytes) -> None:
    began = time.thread_time()
    connection.receive_data(data)
    with pytest.raises(h11.RemoteProtocolError):
        while connection.next_event() is not h11.NEED_DATA:
            pass
    assert time.thread_time() - began < 1.0  # of this thread's own work, whatever else runs
