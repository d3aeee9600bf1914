"""Whatever is sent is kept to the byte or refused: never a fault, never a changed value."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.api.client import PROBLEM
from tests.api.live import LiveServer

# Hypothesis watches the state of the random module, which threads of the server use, too.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the .random. module:hypothesis.errors.HypothesisDeprecationWarning"
)
FEW = settings(
    max_examples=80,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

space = st.text(" \t\r\n", max_size=2)
number = st.from_regex(
    re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", re.ASCII),
    fullmatch=True,
) | st.integers(2**4000, 2**4001).map(str)
plain = st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"])
escape = st.sampled_from(['\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"]) | st.integers(
    0, 0xFFFF
).map("\\u{:04X}".format)
string = st.lists(plain | escape, max_size=8).map(lambda parts: f'"{"".join(parts)}"')


def array(items):
    return st.lists(items, max_size=4).map(lambda items: f"[{','.join(items)}]")


def an_object(items):
    members = st.tuples(string, space, items).map(
        lambda member: f"{member[0]}:{''.join(member[1:])}"
    )
    return st.lists(members, max_size=4).map(lambda members: f"{{{','.join(members)}}}")


leaf = st.sampled_from(["true", "false"]) | number | string
value = st.recursive(leaf, lambda items: array(items) | an_object(items), max_leaves=12)
deep = st.tuples(st.integers(0, 700), leaf).map(
    lambda pair: "[" * pair[0] + pair[1] + "]" * pair[0]
)
any_json = st.tuples(space, value | deep, space).map("".join)

bodies = (
    st.binary(max_size=60)
    | st.binary(max_size=30).map(lambda data: b'{"payload":' + data + b"}")
    | st.tuples(any_json.map(str.encode), st.integers(0, 200), st.binary(max_size=2)).map(
        lambda cut: b'{"payload":' + cut[0][: cut[1]] + cut[2] + cut[0][cut[1] :] + b"}"
    )
)


def is_text(document: object) -> bool:
    """Whether it has no unpaired surrogates."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def depth_of(text: str) -> int:
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    depth = deepest = 0
    for character in outside:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def payload_in(task: bytes) -> str:
    match = re.fullmatch(rb'\{"id":"[^"]+","payload":(.*),"status":".*\}', task, re.DOTALL)
    assert match
    return match[1].decode()


@given(text=any_json)
@example(text="1e400")
@example(text='"\\u0000"')
@example(text='"\\ud800"')
@example(text='[{"":[],"":{}}]')
@example(text="9" * 5000)
@FEW
def test_any_json_is_stored_or_rejected(server: LiveServer, text: str):
    """Valid JSON comes back to the byte, unless there is a reason to refuse it.

    An object is a request, which has a URL at least; no other is taken.
    """
    document = json.loads(text, parse_int=str, parse_float=str)
    answer = server.post(b'{"payload":' + text.encode() + b"}")
    can_be_kept = is_text(document) and depth_of(text) <= 500 and not isinstance(document, dict)
    assert answer.status == (201 if can_be_kept else 422)
    if can_be_kept:
        shown = server.ask("GET", answer.header("location"))
        assert payload_in(answer.body) == payload_in(shown.body) == text.strip(" \t\r\n")
        assert server.ask("GET", "/tasks?limit=2").status == 200


@given(body=bodies)
@example(body=b"\xff")
@example(body=b'{"payload":"\x00"}')
@example(body='{"payload":1}'.encode("utf-16-be"))
@FEW
def test_any_bytes_are_accepted_or_rejected(server: LiveServer, body: bytes):
    """Bytes are a task or a bad request; and what Python's reader would not take is not taken."""
    answer = server.post(body)
    assert answer.status in (201, 400, 422)
    if answer.status == 201:
        document = json.loads(body.decode(), parse_int=str, parse_float=str)
        assert document["payload"] is not None
        assert server.ask("GET", answer.header("location")).status == 200
    else:
        assert answer.header("content-type") == PROBLEM


@given(query=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40))
@example(query="limit=%")
@example(query="cursor=" + "A" * 22)
@example(query="cursor=%ED%A0%80")
@example(query="status=&&;=%=")
@FEW
def test_any_query_is_accepted_or_rejected(server: LiveServer, query: str):
    """A query is a page or a 422; in the path anything is a page or a 404."""
    assert server.ask("GET", f"/tasks?{query}").status in (200, 422)
    path = query.partition("?")[0]
    assert server.ask("GET", f"/tasks/{path}").status == 404
