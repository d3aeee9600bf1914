"""JSON as a tree: what it shows, and its bounds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.api.dashboard import json_tree
from taskflow.api.dashboard.json_tree import Row, tree_of


def test_a_tree():
    """Numbers are as they were written, and members in their order."""
    document = b' {"total": 12.50, "items": [{"name": "tea"}, null], "new": true, "none": {}} '
    assert tree_of(document) == [
        Row("open", None, "4 members", is_open=True),
        Row("number", "total", "12.50"),
        Row("open", "items", "2 items", is_open=True),
        Row("open", "0", "1 member"),
        Row("string", "name", '"tea"'),
        Row("close"),
        Row("null", "1", "null"),
        Row("close"),
        Row("boolean", "new", "true"),
        Row("open", "none", "0 members", is_open=True),
        Row("close"),
        Row("close"),
    ]


def test_invisible_characters_are_escaped():
    [_, row, _] = tree_of('{"a\u202eb": "\u202egnp.exe"}'.encode())
    assert (row.key, row.text) == ("a\\u{202e}b", '"\\u{202e}gnp.exe"')


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"1", b'"text"', b"{", b"[1,]", b'{"a": 1} 2', b"[\xff]"),
        b"[" * 3000 + b"]" * 3000,
        b"[" * 60_000,
        b"[" + b"1," * 40_000 + b"1]",
    ],
)
def test_no_tree(document):
    """Of other values, invalid documents and long ones; their text is shown."""
    assert all(row.kind in ("open", "close", "json") for row in tree_of(document))
    if document[:20] != b"[" * 20:
        assert tree_of(document) == []


def test_a_tree_is_bounded():
    """In rows, depth and characters, and what is open is closed."""
    rows = tree_of(json.dumps([[n] for n in range(5000)]).encode())
    assert len(rows) <= json_tree.MAX_ROWS + 3
    assert Row("more", None, "…") in rows
    deep = tree_of(b"[" * 30 + b"]" * 30)
    assert [row.kind for row in deep].count("open") == json_tree.MAX_DEPTH + 1
    assert deep[json_tree.MAX_DEPTH + 1].kind == "json"
    [_, row, _] = tree_of(json.dumps(["x" * 10_000]).encode())
    assert len(row.text) == json_tree.MAX_VALUE_CHARACTERS


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.binary())
def test_trees_are_balanced(value, noise):
    """Each row that opens is closed, whatever the document is."""
    for document in (json.dumps(value).encode(), noise):
        depth = 0
        for row in tree_of(document):
            depth += {"open": 1, "close": -1}.get(row.kind, 0)
            assert depth >= 0
        assert depth == 0
