"""References to results of parents: where they can be, what they find, and what they cannot do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskflow.model import references
from taskflow.model.references import MissingReference, references_in, resolved, value_at

RESULT = (
    b'{"message":"fetched","result":{"id":7,"name":"a b/\xc3\xa4","big":1.50,"none":null,'
    b'"list":[10,{"x/y":"deep","m~n":2}],"":"empty","dots":"..","blank":""},"status_code":200}'
)


def value_of(reference) -> bytes:
    assert reference.parent == "p"
    value = value_at(RESULT, reference.pointer)
    if value is None:
        raise MissingReference(str(reference))
    return value


def request(**fields: Any) -> bytes:
    return json.dumps({"url": "https://example.com/", **fields}).encode()


def found(payload: bytes) -> list[tuple[str, str, str]]:
    return [(one.place, *one.reference) for one in references_in(payload)]


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/result/id", b"7"),
        ("/result/big", b"1.50"),
        ("/result/list/0", b"10"),
        ("/result/list/1/x~1y", b'"deep"'),
        ("/result/list/1/m~0n", b"2"),
        ("/result/", b'"empty"'),
        ("/result/none", b"null"),
        ("/status_code", b"200"),
        ("", RESULT),
        ("/result/list/2", None),
        ("/result/list/01", None),
        ("/result/list/-", None),
        ("/result/list/-1", None),
        ("/result/id/x", None),
        ("/nothing", None),
    ],
)
def test_pointers(pointer, expected):
    """RFC 6901: what is found is the text of the value, to the byte."""
    assert value_at(RESULT, pointer) == expected


def test_places_of_references():
    """In the URL, in headers and anywhere in the body; other objects are not references."""
    payload = request(
        url="https://example.com/{{p:/result/id}}?q={{p:/a}}",
        headers={"X-A": "Bearer {{p:/token}}", "X-B": "none"},
        body={
            "a/b": [1, {"$from": "p", "pointer": "/b"}],
            "c": {"$from": "p", "pointer": "", "x": 1},
        },
    )
    assert found(payload) == [
        ("/url", "p", "/result/id"),
        ("/url", "p", "/a"),
        ("/headers/X-A", "p", "/token"),
        ("/body/a~1b/1", "p", "/b"),
    ]
    assert found(b'"https://example.com/{{p:/x}}"') == [("", "p", "/x")]
    assert found(b"[1]") == found(b'"https://example.com/{{p}}"') == []


@pytest.mark.parametrize(
    "url",
    [
        "https://{{p:/result/id}}/",
        "https://example.com{{p:/result/id}}/",
        "https://example.com:{{p:/result/id}}/",
        "{{p:/result/id}}://example.com/",
        "{{p:/result/id}}",
        "https://user:{{p:/result/id}}@example.com/",
        "https://example.com/#{{p:/result/id}}",
        "https://example.com\\{{p:/result/id}}",
    ],
)
def test_references_that_could_choose_the_target(url):
    """Neither the scheme nor the host nor the port can come from a response."""
    [one] = references_in(json.dumps(url).encode())
    assert one.fault == "a reference can be in the path and the query of a URL only"


@pytest.mark.parametrize("pointer", ["id", "/a~2", "/~", "/a" * 33, "/" + "a" * 1024])
def test_invalid_pointers(pointer):
    """They are refused when the task is submitted."""
    [one] = references_in(request(body={"$from": "p", "pointer": pointer}))
    assert one.place == "/body"
    assert "pointer" in one.fault


def test_limits():
    """The number of references is limited, and how deep they are."""
    many = [{"$from": "p", "pointer": ""}] * 200
    assert len(references_in(request(body=many))) == references.MAX_REFERENCES + 1
    deep: Any = {"$from": "p", "pointer": ""}
    for _ in range(references.MAX_DEPTH + 1):
        deep = [deep]
    [one] = references_in(request(body=deep))
    assert one.fault == f"a reference can be at most {references.MAX_DEPTH} levels deep"


def test_values_in_their_places():
    """In a body any JSON; in a URL percent-encoded; all else stays as it was submitted."""
    payload = (
        b'{"url":"https://example.com/{{p:/result/name}}/x?id={{p:/result/id}}&n={{p:/result/blank}}",'
        b'"method":"PUT","headers":{"X-A":"n {{p:/result/big}}","X-B":"b"},'
        b'"body":{"same":1.0e2,"it":{"$from":"p","pointer":"/result/list/1"},"l":[{"$from":"p",'
        b'"pointer":"/result/big"}]}}'
    )
    assert resolved(payload, value_of) == (
        b'{"url":"https://example.com/a%20b%2F%C3%A4/x?id=7&n=","method":"PUT",'
        b'"headers":{"X-A":"n 1.50","X-B":"b"},'
        b'"body":{"same":1.0e2,"it":{"x/y":"deep","m~n":2},"l":[1.50]}}'
    )
    assert (
        resolved(b'"https://example.com/{{p:/result/id}}"', value_of) == b'"https://example.com/7"'
    )
    whole = request(body={"$from": "p", "pointer": "/result/name"})
    assert json.loads(resolved(whole, value_of))["body"] == "a b/ä"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://example.com/{{p:/nothing}}"},
        {"url": "https://example.com/a/{{p:/result/dots}}/b"},
        {"url": "https://example.com/a/{{p:/result/blank}}"},
        {"url": "https://example.com/{{p:/result/list}}"},
        {"url": "https://example.com/{{p:/result/none}}"},
        {"headers": {"X-A": "{{p:/result/name}}"}},
        {"body": [{"$from": "p", "pointer": "/result/nothing"}]},
    ],
)
def test_values_that_cannot_be_used(fields):
    """Nothing, a segment that leads to another path, and what is neither text nor a number."""
    with pytest.raises(MissingReference):
        resolved(request(**fields), value_of)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", " a", "ä", "a" * 9000])
def test_values_in_headers(value):
    """A value cannot end a header, or be one that could not be submitted."""
    payload = request(headers={"X-A": "{{p:/result}}"})
    with pytest.raises(MissingReference, match="header X-A"):
        resolved(payload, lambda _: json.dumps(value).encode())


@pytest.mark.parametrize(
    "value", ["//evil.example/", "@evil.example", "?#", "\\evil", "%2e%2e", ":1"]
)
def test_values_do_not_change_the_target(value):
    """Whatever a response says, the URL has the submitted host, and one segment for each value."""
    url = json.loads(
        resolved(b'"https://example.com/x{{p:/result}}/y"', lambda _: json.dumps(value).encode())
    )
    assert url.startswith("https://example.com/x")
    assert url.endswith("/y")
    assert url.count("/") == 4
    assert not set("@\\?#") & set(url)
