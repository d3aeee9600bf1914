"""The most expensive valid bodies and queries, generated from the API's document and written."""

from __future__ import annotations

import copy
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.api.documented import DOCUMENT, OPERATIONS, resolved

MIB = 2**20
ARRAY_BYTES = 16 * MIB - 100
BODY_BYTES = MIB - 2_000  # what is beside the value comes on top
QUERY_BYTES = 7_500
FIELD_BYTES = 7_500
MAX_DEPTH = 3
MARK = "the value"
TASK = b'{"payload": "http://a.invalid/", "delay_seconds": 86400}'
LINES = {"content-type": "application/x-ndjson"}
ID = "01a220d4-565b-7000-8a07-693ef5e562bf"


class Asked(NamedTuple):
    """A request."""

    name: str
    method: str
    target: str
    body: bytes | None = None
    head: Mapping[str, str] = MappingProxyType({})


@functools.cache
def members(value: bytes, size: int = BODY_BYTES, *, name: bytes = b"%x") -> bytes:
    """An object of as many members with names of their own as there is room for."""
    count = size // (len(value) + len(name % 0xFFFFF) + 4)
    return b"{%b}" % b",".join(b'"%b":%b' % (name % n, value) for n in range(count))


def repeated(item: bytes, size: int = BODY_BYTES) -> bytes:
    """An array of one item again and again."""
    return b"[%b]" % b",".join([item] * (size // (len(item) + 1)))


@functools.cache
def values() -> dict[str, bytes]:
    """Values of a field."""
    return {
        "members": members(b"1"),
        "texts": members(b'"a"'),
        "same member": b"{%b}" % b",".join([b'"a":"a"'] * (BODY_BYTES // 8)),
        "numbers": repeated(b"1"),
        "bad items": repeated(b'"-"'),
        "lists": repeated(b"[]"),
        "text": b'"%b"' % (b"a" * BODY_BYTES),
        "escapes": b'"%b"' % (rb"\u0041" * (BODY_BYTES // 6)),
        "digits": b"9" * BODY_BYTES,
        "a URL": b'"http://a/%b"' % (b"?sig&a@%40=" * (BODY_BYTES // 11)),
        "a masked URL": b'"http://a/%b"' % (b"?sig=***" * (BODY_BYTES // 8)),
        "headers": b"{%b}" % b",".join(b'"x-%d":"%b"' % (n, b"?sig&=***" * 900) for n in range(64)),
    }


@functools.cache
def documents() -> dict[str, bytes]:
    """Whole bodies."""
    return {
        "members": members(b"1"),
        "long names": members(b"1", name=b"%058x"),
        "misspelt": members(b"1", name=b"dela%x"),
        "lists": repeated(b"[]"),
        "not JSON": repeated(b"[]")[:-1],
        "a surrogate": repeated(b"[]")[:-1] + rb',"\ud800"]',
        "deep": b"[" * BODY_BYTES,
        "white space": b" " * BODY_BYTES + b"1",
        "not UTF-8": "é".encode() * (BODY_BYTES // 2) + b"\xff",
        "a form": b"a=%41&" * (BODY_BYTES // 6),
    }


@functools.cache
def tasks() -> dict[str, bytes]:
    """Arrays of tasks."""
    return {
        "tasks": repeated(TASK, 10_000 * (len(TASK) + 1)),
        "tasks with keys": b"[%b]"
        % b",".join(b'%b, "unique": {"key": "%d"}}' % (TASK[:-1], n) for n in range(10_000)),
        "large tasks": repeated(TASK.replace(b"invalid/", b"invalid/" + b"a" * 1500), ARRAY_BYTES),
        "one that is too large": b"[{%b}]" % b",".join([members(b"1")[1:-1]] * 15),
        "as large as one may be": b"[%b]"
        % b",".join(
            [b'{"payload": {"url": "http://a.invalid/", "headers": %b}}' % members(b'"a"')] * 15
        ),
        "bodies": b"[%b]"
        % b",".join(
            [b'{"payload": {"url": "http://a.invalid/", "body": %b}}' % members(b"1")] * 15
        ),
        "misspelt": repeated(
            b'{"payload": 1, %b}' % members(b"1", 1500, name=b"dela%x")[1:-1], ARRAY_BYTES
        ),
        "numbers": repeated(b"1", ARRAY_BYTES),
        "objects": repeated(b"{}", ARRAY_BYTES),
        "not JSON": repeated(b"{}", ARRAY_BYTES)[:-1],
        "a surrogate": repeated(b"{}", ARRAY_BYTES)[:-10] + rb',"\ud800"]',
        "one surrogate": rb'["%b\ud800"]' % (b"a" * (ARRAY_BYTES - 20)),
        "characters": '["{}"]'.format("é" * (ARRAY_BYTES // 2 - 10)).encode(),
        "deep": b"[" * ARRAY_BYTES,
    }


@functools.cache
def streams() -> dict[str, bytes]:
    """Streams of tasks."""
    return {
        "tasks": (TASK + b"\n") * 8_000,
        "blank lines": b"\n" * (2 * MIB),
        "a long line": b'{"payload": "%b"}' % (b"a" * ARRAY_BYTES),
        "large lines": (TASK[:-1] + b', "tags": %b}\n' % members(b"1")) * 10,
    }


@functools.cache
def forms() -> dict[str, bytes]:
    """Forms."""
    return {
        "tags": b"url=http://a.invalid/&delay_seconds=86400&tags=" + b"a:1%0A" * (BODY_BYTES // 6),
        "headers": b"url=http://a.invalid/&delay_seconds=86400&headers="
        + b"a%3Ab%0A" * (BODY_BYTES // 8),
        "body": b"url=http://a.invalid/&delay_seconds=86400&body=" + b"[" * BODY_BYTES,
        "number": b"url=http://a.invalid/&delay_seconds=" + b"9" * BODY_BYTES,
        "no colon": b"url=http://a.invalid/&headers=" + b"%C3%A9" * (BODY_BYTES // 6),
        "no colon, as it is": b"url=http://a.invalid/&tags=" + "é".encode() * (BODY_BYTES // 2),
        "an address": b"url=http://" + b"%C3%A9@?%3D" * (BODY_BYTES // 11),
        "escaped names": b"&".join([b"%61" * (BODY_BYTES // 150)] * 50),
    }


SEARCHES = (
    "url=nowhere",
    "url=a.invalid",
    "host=nowhere",
    "tag=a:b",
    "status=COMPLETED",
    "queue=other",
    "fields=id,status",
    "limit=1000",
)
MOVES = (
    ("cancel", b'{"url": "nowhere"}'),
    ("cancel", b'{"status": ["PENDING"]}'),
    ("retry", b'{"status": ["CANCELED"]}'),
    ("cancel", b'{"status": ["PENDING"]}'),
    ("delete", b'{"status": ["CANCELED"]}'),
)
FIELDS = {
    "accept": "a/b;q=0.5,",
    "prefer": "wait=a,",
    "if-none-match": '"a",',
    "idempotency-key": "a",
    "cookie": "a=b; ",
    "content-type": "a/b;a=b",
    "traceparent": "00-",
    "tracestate": "a=b,",
    "last-event-id": "9",
    "origin": "http://a",
    "authorization": "Bearer a",
}


def bodies_by_hand() -> Iterator[Asked]:
    """Arrays, streams and forms."""
    for name, body in tasks().items():
        yield Asked(f"an array, {name}", "POST", "/tasks", body)
    for name, body in streams().items():
        yield Asked(f"a stream, {name}", "POST", "/tasks", body, LINES)
    for name, body in forms().items():
        yield Asked(f"a form, {name}", "POST", "/ui/submit", body)


def over_many_tasks() -> Iterator[Asked]:
    """Return the requests on all tasks: first the reads, then the changes."""
    gzip = {"accept-encoding": "gzip"}
    lines = {"accept": "application/x-ndjson"}
    for search in SEARCHES:
        yield Asked(f"a page, {search}", "GET", f"/tasks?{search}")
        yield Asked(f"a list, {search}", "GET", f"/ui/tasks?{search}")
    yield Asked("a stream", "GET", "/tasks?limit=20000", None, lines)
    yield Asked("a stream, compressed", "GET", "/tasks?url_contains=a", None, lines | gzip)
    for path in ("/stats", "/metrics", "/ui", "/queues", "/nodes", "/hosts"):
        yield Asked(path, "GET", path, None, gzip)
    for verb, body in MOVES:
        yield Asked(f"{verb} {body!r}", "POST", f"/tasks/{verb}", body)


def bodies_of(method: str, path: str, *, is_complete: bool) -> Iterator[Asked]:
    """Bodies for an operation: each of its fields as large as can be, in all ways.

    Unless complete, a field that is declared as one of this or another operation is has two values
    only, others at each place.
    """
    reported = reported_body(method, path)
    if reported is None:
        return
    examples = [one["value"] for one in reported["examples"].values()]
    example = next(one for one in examples if isinstance(one, dict))
    for place, _ in places(reported["schema"]):
        number = repetitions()[method, path, place]
        for name, value in values().items():
            if number and not is_complete and name not in values_in_turn(number):
                continue
            where = f"{method} {path} {'.'.join(place)}, {name}"
            yield Asked(where, method.upper(), target_of(path), filled(example, place, value))


def values_in_turn(number: int) -> set[str]:
    """The names of two values, others for each number."""
    names = list(values())
    return {names[2 * number % len(names)], names[(2 * number + 1) % len(names)]}


@functools.cache
def repetitions() -> dict[tuple[str, str, tuple[str, ...]], int]:
    """Number the fields of bodies that are declared as another one is; the first of those is 0."""
    met: set[str] = set()
    numbers = itertools.count(1)
    found = {}
    for method, path in OPERATIONS:
        reported = reported_body(method, path)
        for place, schema in places(reported["schema"]) if reported else ():
            declared = json.dumps([place[-1], schema])
            found[method, path, place] = next(numbers) if declared in met else 0
            met.add(declared)
    return found


def reported_body(method: str, path: str) -> dict | None:
    """What the document says of a body in JSON, if the operation has one."""
    content = OPERATIONS[method, path].get("requestBody", {}).get("content", {})
    return content.get("application/json")


def target_of(path: str) -> str:
    """A path with something in its places."""
    names = path.replace("{name}", "worst").replace("{topic}", "worst")
    return names.replace("{id}", ID).replace("{task_id}", ID)


def places(schema: dict, depth: int = 0) -> Iterator[tuple[tuple[str, ...], dict]]:
    """The paths of all fields that an object may have, and the schema of each."""
    schema = resolved(schema)
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if "properties" not in schema:
            yield from places(one, depth)
    for name, inner in schema.get("properties", {}).items():
        yield (name,), inner
        if depth < MAX_DEPTH:
            yield from (((name, *more), last) for more, last in places(inner, depth + 1))


def filled(example: dict, place: Iterable[str], value: bytes) -> bytes:
    """An example with this value in a place."""
    document: dict[str, Any] = copy.deepcopy(example)
    *above, last = place
    inner = document
    for name in above:
        if not isinstance(inner.get(name), dict):
            inner[name] = {"url": "http://a.invalid/"} if name == "payload" else {}
        inner = inner[name]
    inner[last] = MARK
    return json.dumps(document).encode().replace(json.dumps(MARK).encode(), value)


def queries() -> Iterator[Asked]:
    """Every parameter of every ``GET`` as long as can be, and very many of them."""
    for (method, path), operation in OPERATIONS.items():
        if method != "get":
            continue
        target = target_of(path)
        many = "&".join(f"{n:x}={n:x}" for n in range(QUERY_BYTES // 8))
        yield Asked(f"{path}, many parameters", "GET", f"{target}?{many}")
        for one in map(resolved, operation.get("parameters", ())):
            if one["in"] == "query":
                for text in ("a", "9", ",", "a:b,", "%C3%A9"):
                    value = text * (QUERY_BYTES // len(text))
                    named = f"{path}, {one['name']} of {text}"
                    yield Asked(named, "GET", f"{target}?{one['name']}={value}")


def heads() -> Iterator[Asked]:
    """Every field of a head that means something, as long as can be."""
    for name, text in FIELDS.items():
        value = text * (FIELD_BYTES // len(text))
        for method, target, body in (("GET", f"/tasks/{ID}", None), ("POST", "/tasks", TASK)):
            yield Asked(f"{method} with {name}", method, target, body, {name: value})


assert DOCUMENT
