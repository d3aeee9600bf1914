"""How deep JSON text is nested, judged without parsing it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.model.untrusted_text import MAX_NESTING, is_too_deep


def depth_of(document: object) -> int:
    """The same by walking the document."""
    if isinstance(document, dict):
        return 1 + max(map(depth_of, document.values()), default=0)
    if isinstance(document, list):
        return 1 + max(map(depth_of, document), default=0)
    return 0


def nested(levels: int, inside: str = "", opening: str = "[", closing: str = "]") -> bytes:
    return (opening * levels + inside + closing * levels).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1",
        nested(MAX_NESTING),
        nested(MAX_NESTING, "1", '{"a":', "}"),
        nested(MAX_NESTING // 2, "1", '[{"a":', "}]"),
        nested(MAX_NESTING, '"[{"'),
        b"[" + b"[],{}," * 10_000 + b"[]]",
        b'"' + b"[{" * 10_000 + b'"',
        b'["' + b'\\"[' * 10_000 + b'"]',
        b'["' + b"\\\\" * 10_000 + b'",[]]',
        b'["\\\\",' * 499 + b"1" + b"]" * 499,
        b'{"' + b"[" * 10_000 + b'":1}',
    ],
)
def test_shallow_enough(text):
    """Up to 500 levels, however many brackets; those in strings and keys are no levels."""
    assert not is_too_deep(text)


@pytest.mark.parametrize(
    "text",
    [
        nested(MAX_NESTING + 1),
        nested(MAX_NESTING + 1, "1", '{"a":', "}"),
        nested(MAX_NESTING // 2 + 1, "1", '[{"a":', "}]"),
        nested(100_000),
        b"[" + b"[]," * 1000 + nested(MAX_NESTING) + b"]",
        b'["\\\\",' * 501 + b"1" + b"]" * 501,
        b'["\\"",' * 501 + b"1" + b"]" * 501,
        b'["]]]]",' * 501 + b"1" + b"]" * 501,
        b'{"]":' * 501 + b"1" + b"}" * 501,
    ],
)
def test_too_deep(text):
    """One level more is too many, wherever it stands, and strings do not hide it."""
    assert is_too_deep(text)


documents = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(document=documents, levels=st.integers(485, 505), is_escaped=st.booleans())
@settings(max_examples=150, derandomize=True, database=None)
def test_it_agrees_with_a_reader(document, levels, is_escaped):
    """The depth that is judged is the depth of the document."""
    text = json.dumps(document, ensure_ascii=is_escaped)
    assert is_too_deep(nested(levels, text)) == (levels + depth_of(document) > MAX_NESTING)
