"""What the tools of ``taskflow mcp`` return is bounded, and any JSON; who can reach its server."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.client.errors import InvalidArgument
from taskflow.client.task import Task
from taskflow.mcp_server.binding import Binding
from taskflow.mcp_server.outputs import (
    MAX_BODY_CHARACTERS,
    MAX_ERROR_CHARACTERS,
    MAX_LIST_CHARACTERS,
    details_of,
    fitting,
    json_value,
    summary_of,
)
from taskflow.mcp_server.tool import argument_schema, schema_of
from taskflow.mcp_server.toolbox import TOOLS, Writes, may_use

NOW = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


def task(**fields: object) -> Task:
    """A task as the client reads it."""
    whole = {
        "id": str(uuid.uuid4()),
        "payload": "https://example.com/",
        "status": "FAILED",
        "created_at": NOW.isoformat(),
        "run_at": NOW.isoformat(),
        **fields,
    }
    return msgspec.json.decode(json.dumps(whole), type=Task)


def response(body: bytes, **fields: object) -> dict[str, object]:
    return {
        "message": "",
        "result": json.loads(body),
        "status": "200 OK",
        "status_code": 200,
        "headers": {},
        "content_type": "application/json",
        "encoding": "json",
        "url": "https://example.com/",
        "size": len(body),
        **fields,
    }


@given(JSON, st.integers(1, 40))
def test_values_are_bounded(value, limit):
    """A value is whole if it is short, and otherwise the beginning of its text, with a note."""
    document = json.dumps(value).encode()
    shown, note = json_value(document, limit)
    assert bool(note) == (isinstance(shown, str) and shown != value)
    if note:
        assert len(shown) == limit
        whole = value if isinstance(value, str) else document.decode()
        assert whole.startswith(shown)
    else:
        assert shown == value


@pytest.mark.parametrize("document", [b"[" * 500 + b"]" * 500, b"1" * 5000, b"[1e400, -1e400]"])
def test_what_the_sdk_cannot_write_is_text(document):
    """Python and the SDK read and write what is left."""
    shown, _ = json_value(document, MAX_BODY_CHARACTERS)
    assert "Infinity" not in json.dumps(shown)
    assert isinstance(shown, str) or shown == ["1e400", "-1e400"]


def test_a_task_of_any_size_is_bounded():
    """A long payload, a long body and long headers; the notes say what is missing."""
    long = "x" * 10**6
    headers = {f"x-{number}": "y" * 1000 for number in range(16)}
    details = details_of(
        task(
            status="COMPLETED",
            payload={"url": "https://example.com/", "body": long},
            result=response(json.dumps([long]).encode(), headers=headers),
        )
    )
    assert len(msgspec.json.encode(details)) < 2 * MAX_BODY_CHARACTERS
    payload, body, left_out = details.notes
    assert payload.startswith("payload is cut")
    assert "read_result has the whole" in body
    assert left_out.startswith("the headers")


def test_lists_are_bounded():
    """Entries that are too many characters together are left out, from the end."""
    entries = [summary_of(task(error="e" * 5000, tags={"n": number})) for number in range(200)]
    kept = fitting(entries)
    assert 1 < len(kept) < 200
    assert kept == entries[: len(kept)]
    assert len(msgspec.json.encode(kept)) <= MAX_LIST_CHARACTERS + len(kept) + 1
    assert all(len(one.error) == MAX_ERROR_CHARACTERS for one in kept)
    assert fitting(entries, limit=1) == entries[:1]
    assert fitting([]) == []


@pytest.mark.parametrize("name", TOOLS)
def test_schemas_are_whole(name):
    """Each refers only to what it contains; arguments have no look-aheads and no null."""
    for schema in (argument_schema(TOOLS[name].arguments), schema_of(TOOLS[name].result)):
        text = json.dumps(schema)
        for reference in text.split('"$ref": "')[1:]:
            assert reference.partition('"')[0].removeprefix("#/$defs/") in schema["$defs"]
        assert '"pattern"' not in text
    assert '{"type": "null"}' not in json.dumps(argument_schema(TOOLS[name].arguments))


def test_writes():
    """Reading is for everybody; writing is for keys, or as the operator says."""
    reading, writing = TOOLS["get_task"], TOOLS["retry_task"]
    for writes in Writes:
        assert all(may_use(reading, writes, has_key=has_key) for has_key in (True, False))
    allowed = {
        (writes, has_key)
        for writes in Writes
        for has_key in (True, False)
        if may_use(writing, writes, has_key=has_key)
    }
    assert allowed == {
        (Writes.BY_KEY, True),
        (Writes.ALLOWED, True),
        (Writes.ALLOWED, False),
    }


@pytest.mark.parametrize(
    ("text", "names", "is_exposed", "url"),
    [
        ("127.0.0.1:8090", (), False, "http://127.0.0.1:7"),
        ("localhost:0", (), False, "http://localhost:7"),
        ("[::1]:8090", (), False, "http://[::1]:7"),
        ("127.0.0.1:8090", ("mcp.example.com",), True, "http://127.0.0.1:7"),
        ("0.0.0.0:8090", ("mcp.example.com",), True, "http://0.0.0.0:7"),
        ("[::]:8090", ("mcp.example.com",), True, "http://[::]:7"),
    ],
)
def test_bindings(text, names, is_exposed, url):
    """Others reach a server that listens for them, or that a proxy names."""
    binding = Binding.of(text, names)
    assert (binding.is_exposed, binding.url_of(7)) == (is_exposed, url)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8090", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":8090", "a@127.0.0.1:1"),
        *("h:1/x", "0.0.0.0:8090", "[::]:8090", "mcp.example.com:8090"),
    ],
)
def test_bindings_that_are_rejected(text):
    """Not an address; or one for others, without the names by which they reach it."""
    with pytest.raises(InvalidArgument):
        Binding.of(text)
