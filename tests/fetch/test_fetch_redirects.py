"""Which answers lead on, where to, and what goes along."""

from __future__ import annotations

import pytest

from taskflow.model.outcome import ErrorType
from tests.fetch.scripted import answer, is_failure, response_of

SECRETS = (
    ("Authorization", "Bearer x"),
    ("Cookie", "a=b"),
    ("Proxy-Authorization", "y"),
    ("X-Api-Key", "z"),
)
DONE = answer(b'"done"')


def redirect(location, status="302 Found"):
    return answer(b"moved", f"Location: {location}", status=status)


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "GET", "GET"),
        (301, "HEAD", "HEAD"),
        (301, "POST", "GET"),
        (302, "GET", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (308, "GET", "GET"),
    ],
)
async def test_method_and_body(serve, fetch, status, method, then):
    """Method and body go on or not as RFC 9110 section 15.4 says; our fields always do."""
    location = "/next?a=b#c"
    if method == "HEAD":
        first = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 9\r\n\r\n"
        script = [first.encode(), b"HTTP/1.1 200 OK\r\n\r\n"]
    else:
        script = [redirect(location, f"{status} X"), DONE]
    body = b"body" if method in ("POST", "PUT") else b""
    server = await serve(script, script[1:])  # a POST takes a connection of its own
    outcome = await fetch(
        f"http://localhost:{server.port}/",
        method=method,
        headers=(("Content-Type", "a/b"), ("X-Mine", "1")),
        body=body,
    )
    assert response_of(outcome).url == f"http://localhost:{server.port}/next?a=b"
    assert server.heads[1].startswith(f"{then} /next?a=b HTTP/1.1\r\n")
    assert "X-Mine: 1" in server.heads[1]
    assert server.requests[1].endswith(b"body") == (bool(body) and then == method)
    assert ("Content-Type" in server.heads[1]) == (then == method)


async def test_one_connection(serve, fetch):
    """The small body of a redirect is read away, so that the connection serves the next."""
    server = await serve([redirect("a"), redirect("b"), redirect("#top"), DONE])
    response_of(await fetch(f"http://localhost:{server.port}/x/"))
    assert server.connections == 1
    paths = [head.split(" ")[1] for head in server.heads]
    assert paths == ["/x/", "/x/a", "/x/b", "/x/b"]


@pytest.mark.parametrize("fields", [(), ("Location:",), ("Location: ",), ("Location: \t ",)])
@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "308 Permanent Redirect"])
async def test_no_location(get, fields, status):
    """A redirect whose Location is missing or empty is the final response."""
    outcome = await get(answer(b'"here"', *fields, status=status))
    assert is_failure(outcome, ErrorType.HTTP_STATUS, f"http error: status: {status}")
    response = response_of(
        await get(answer(b'"here"', *fields, status=status), success_on=("3xx",))
    )
    assert (bytes(response.result), response.status) == (b'"here"', status)


async def test_locations_that_differ(serve, fetch):
    """Several Locations are followed if they are the same, and else refused."""
    same = answer(b"", "Location: /a", "Location: /a", "Location:", status="302 Found")
    server = await serve([same, DONE])
    response_of(await fetch(f"http://localhost:{server.port}/"))
    assert server.heads[1].startswith("GET /a ")
    differing = answer(b"", "Location: /a", "Location: /b", status="302 Found")
    server = await serve([differing, DONE])
    outcome = await fetch(f"http://localhost:{server.port}/")
    assert is_failure(outcome, ErrorType.PROTOCOL, "several different Location headers")
    assert len(server.requests) == 1
    server = await serve([differing])
    url = f"http://localhost:{server.port}/"
    outcome = await fetch(url, follows_redirects=False, success_on=(302,))
    assert response_of(outcome).status_code == 302


async def test_large_body_of_redirect(serve, fetch):
    """A large body of a redirect is not read to its end."""
    first = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 2**18
    server = await serve([first], [DONE])
    response_of(await fetch(f"http://localhost:{server.port}/"))
    assert server.connections == 2


async def test_unmarked_body_of_redirect(serve, fetch):
    """A redirect whose body ends with the connection is followed at once."""
    server = await serve([b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"], [DONE])
    response_of(await fetch(f"http://localhost:{server.port}/"))


async def test_chain_too_long(serve, fetch):
    """Three redirects are followed and a fourth is not; a loop is no different."""
    server = await serve([redirect("/1"), redirect("/2"), redirect("/3"), DONE])
    response_of(await fetch(f"http://localhost:{server.port}/"))
    loop = await serve([redirect("/")] * 9)
    outcome = await fetch(f"http://localhost:{loop.port}/")
    assert is_failure(outcome, ErrorType.TOO_MANY_REDIRECTS, "more than 3")
    assert len(loop.requests) == 4


async def test_same_origin_keeps_fields(serve, fetch):
    """Within an origin the task's fields go on, credentials included."""
    server = await serve([redirect("/next"), DONE])
    await fetch(f"http://localhost:{server.port}/", headers=SECRETS)
    for name, value in SECRETS:
        assert f"{name}: {value}" in server.heads[1]


async def test_other_origin_drops_fields(serve, fetch):
    """Another origin gets none of the task's fields, nor does the first one afterwards."""
    second_script = []
    second = await serve(second_script)
    first = await serve([redirect(f"http://localhost:{second.port}/", "307 X"), DONE])
    second_script.append(redirect(f"http://LOCALHOST:{first.port}/", "307 X"))
    outcome = await fetch(
        f"http://localhost:{first.port}/",
        method="PUT",
        headers=(*SECRETS, ("Content-Type", "a/b")),
        body=b"body",
    )
    response_of(outcome)
    for head in (second.heads[0], first.heads[1]):
        assert not any(name in head for name, _ in SECRETS)
        assert "Content-Type: a/b" in head
    assert second.requests[0].endswith(b"body")


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("ftp://localhost/", "must be http or https"),
        ("http://user:password@localhost/", "Authorization header"),
        ("http://2130706433/", "four decimal parts"),
        ("//[::1", "brackets"),
        ("/\\evil.example", "U+005C"),
        ("/\x1b[2J", "U+001B"),
        ("/\t/x", "U+0009"),
        ("/\u202etxt", "U+202E"),
        ("http://a b/", "U+0020"),
        ("http://a\\@b/", "U+005C"),
        ("http:x", "'://' must follow"),
        ("///x", "no host"),
        ("http:///x", "no host"),
        ("http://:80/", "no host"),
    ],
)
async def test_bad_location(get, location, complaint):
    """A redirect to what cannot be fetched says that it was one, in harmless text."""
    outcome = await get(redirect(location.encode().decode("latin-1")))
    assert is_failure(outcome, ErrorType.INVALID_URL, "invalid url: redirected to ", complaint)
    assert outcome.error.isprintable()


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        (b"/a b", "/a%20b"),
        (b" /a b ", "/a%20b"),
        (b"a b/c?d e#f g", "/x/a%20b/c?d%20e"),
        (b"?q=a b", "/x/y?q=a%20b"),
        (b'/"<>`{}^', "/%22%3C%3E%60%7B%7D%5E"),
        (b"/?\"<>'", "/?%22%3C%3E%27"),
        (b"/|[]'%zz%20%", "/|[]'%zz%20%"),
        (b"/?`{}|^[]\x7e", "/?`{}|^[]~"),
        (b"/a/../b/%2e%2E/./c", "/c"),
        (b"../../..", "/"),
        ("/caf\u00e9?\u65e5".encode(), "/caf%C3%A9?%E6%97%A5"),
        ("/\U0001f468\u200d\U0001f467\u00a0".encode(), "/%F0%9F%91%A8%E2%80%8D%F0%9F%91%A7%C2%A0"),
        (b"/caf\xe9?\x85", "/caf%E9?%85"),
        (b"/caf\xe9\xc3\xa9", "/caf%E9%C3%A9"),
    ],
)
async def test_location_is_encoded(serve, fetch, location, asked):
    """Browsers ask for the same, also when a Location holds what no URL may."""
    server = await serve([redirect(location.decode("latin-1")), DONE])
    response = response_of(await fetch(f"http://localhost:{server.port}/x/y?z"))
    assert server.heads[1].startswith(f"GET {asked} HTTP/1.1\r\n")
    assert response.url == f"http://localhost:{server.port}{asked}"
