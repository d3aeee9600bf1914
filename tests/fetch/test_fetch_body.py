"""How the bytes of a body are kept."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.fetch.body import kept_form
from taskflow.model.untrusted_text import MAX_NESTING


def kept(body, content_type=None):
    result, form = kept_form(body, content_type)
    return (bytes(result) if form == "json" else result), form


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b"12345678901234567890.0e-400",
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        '{"\u20ac": "\U0001f600"}'.encode(),
        b'{"a": 1, "a": 2}',
        b"[" * MAX_NESTING + b"]" * MAX_NESTING,
        b'["' + b"[" * 1000 + b'\\"]", [1]]',
    ],
)
def test_json(body):
    """Strict JSON is kept to the byte, whatever the type says."""
    assert kept(body, "text/html") == (body, "json")
    assert kept(b" \t\r\n" + body + b"\n") == (body, "json")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"NaN",
        b"{'a': 1}",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"[1,]",
        b"1 2",
        b'\xef\xbb\xbf{"a": 1}',
        b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_nearly_json(body):
    """What some reader of JSON would not take is text."""
    assert kept(body, "application/json") == (body.decode(), "text")


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"plain\n\ttext\x1b[0m\x0c", None, "plain\n\ttext\x1b[0m\x0c"),
        ("caf\u00e9".encode(), "text/plain; charset=utf-8", "caf\u00e9"),
        ("caf\u00e9".encode(), "text/plain; charset=us-ascii", "caf\u00e9"),
        ("caf\u00e9".encode(), 'text/plain; charset="no-such"', "caf\u00e9"),
        (b"caf\xe9", "text/plain; charset=ISO-8859-1", "caf\u00e9"),
        (b"caf\xe9", 'text/plain; x=y; Charset="windows-1252"', "caf\u00e9"),
        ("caf\u00e9".encode("utf-16"), "text/plain;charset=utf-16", "caf\u00e9"),
        ("\u65e5\u672c".encode("shift_jis"), "text/plain;charset=Shift_JIS", "\u65e5\u672c"),
        (b"+2AA-", "text/plain;charset=utf-7", "+2AA-"),
    ],
)
def test_text(body, content_type, text):
    """Text in the stated charset, else in UTF-8."""
    assert kept(body, content_type) == (text, "text")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"caf\xe9", None),
        (b"a\x00b", "text/plain; charset=latin-1"),
        (b"\xff\xfea", "text/plain; charset=utf-16"),
        (b'"\xff"', "application/json"),
        (b'"\xed\xa0\x80"', "application/json"),
    ],
)
def test_base64(body, content_type):
    """What is no text, and text with a NUL, survives as base64."""
    result, form = kept(body, content_type)
    assert form == "base64"
    assert base64.b64decode(result) == body


JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=80, derandomize=True, database=None)
@given(JSONISH)
def test_any_json(value):
    """Any value that JSON can hold comes back equal, embedded in another document."""
    body = json.dumps(value).encode()
    result, form = kept_form(body, None)
    assert form == "json"
    assert json.loads(msgspec.json.encode({"result": result}))["result"] == value


@settings(max_examples=300, derandomize=True, database=None)
@given(
    st.binary() | st.text(alphabet='[]{}",:\\u0123456789abcdeE+-.truefalsn \n').map(str.encode),
    st.sampled_from([None, "a/b; charset=utf-16", "a/b; charset=latin-1", "a/b;charset=gbk"]),
)
def test_any_bytes(body, content_type):
    """Any body is kept in a form that makes one valid JSON document."""
    result, _ = kept_form(body, content_type)
    json.loads(msgspec.json.encode({"result": result}).decode())
