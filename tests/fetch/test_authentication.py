"""Credentials in requests: where they are added, replaced, refused and renewed."""

from __future__ import annotations

import base64

import pytest

from taskflow.fetch.authentication import Headers, Outgoing
from taskflow.model.credential import Basic, Bearer, Header
from taskflow.model.outcome import ErrorType
from taskflow.model.url import Target
from tests.fetch.scripted import answer, is_failure, response_of
from tests.fetch.test_fetch_redirects import DONE, redirect

LOCAL = ("localhost",)
UNAUTHORIZED = answer(status="401 Unauthorized")


@pytest.fixture
def bearer(authenticators):
    def authenticator_for(*hosts: str):
        return authenticators.of(Bearer(hosts=hosts or LOCAL, token="the-token"))

    return authenticator_for


class Renewed:
    """Has a new value after each 401, and may go anywhere."""

    tls = None

    def __init__(self) -> None:
        self.count = 1
        self.rejections: list[Headers] = []

    def admit(self, target: Target) -> None:
        pass

    async def headers(self, request: Outgoing, /) -> Headers:
        return (("Authorization", f"{request.method} {self.count}"),)

    async def rejected(self, sent: Headers, /) -> bool:
        self.rejections.append(sent)
        self.count += 1
        return True


@pytest.mark.parametrize(
    ("credential", "line"),
    [
        (Bearer(hosts=LOCAL, token="abc"), "Authorization: Bearer abc"),
        (
            Basic(hosts=LOCAL, username="J\xf6rg", password="a:b"),
            "Authorization: Basic " + base64.b64encode("J\xf6rg:a:b".encode()).decode(),
        ),
        (Header(hosts=LOCAL, name="X-Api-Key", value="k 1"), "X-Api-Key: k 1"),
    ],
)
async def test_each_simple_kind(serve, fetch, authenticators, credential, line):
    """The header is sent once, in place of one of the task with the same name."""
    server = await serve([DONE])
    name = line.partition(":")[0]
    response_of(
        await fetch(
            f"http://localhost:{server.port}/",
            headers=((name.upper(), "of the task"), ("X-Other", "kept")),
            authenticator=authenticators.of(credential),
        )
    )
    [lines] = [head.split("\r\n") for head in server.heads]
    assert [each for each in lines if each.lower().startswith(f"{name.lower()}:")] == [line]
    assert "X-Other: kept" in lines


async def test_another_host(serve, fetch, bearer):
    """Nothing is sent at all, and the error says why."""
    server = await serve([DONE])
    outcome = await fetch(
        f"http://localhost:{server.port}/", authenticator=bearer("api.example.com")
    )
    assert is_failure(outcome, ErrorType.BLOCKED, "localhost is not one of the hosts")
    assert server.requests == []


async def test_without_tls(fetch, bearer):
    """Its own host receives it over https only; its name is not even resolved."""
    outcome = await fetch("http://api.example.com/", authenticator=bearer("api.example.com"))
    assert is_failure(outcome, ErrorType.BLOCKED, "http://api.example.com: ", "https only")


async def test_a_loopback_name_of_another_machine(serve, fetch, bearer, resolver):
    """Nothing goes over http to a name below ``.localhost`` that resolves to another machine."""
    server = await serve([DONE])
    resolver.table |= {"a.localhost": ["127.0.0.1"], "b.localhost": ["127.0.0.1", "10.0.0.1"]}
    url, hosts = f"http://{{}}.localhost:{server.port}/", ("*.localhost",)
    response_of(await fetch(url.format("a"), authenticator=bearer(*hosts)))
    outcome = await fetch(url.format("b"), authenticator=bearer(*hosts))
    assert is_failure(outcome, ErrorType.BLOCKED, "b.localhost does not resolve to a loopback")
    assert len(server.requests) == 1


async def test_a_redirect_to_another_host(serve, fetch, bearer):
    """The other host receives no request, whatever the status of the redirect."""
    other = await serve([DONE])
    for status in ("302 Found", "307 Temporary Redirect"):
        first = await serve([redirect(f"http://127.0.0.1:{other.port}/", status)])
        outcome = await fetch(
            f"http://localhost:{first.port}/", method="POST", authenticator=bearer()
        )
        assert is_failure(outcome, ErrorType.BLOCKED, "redirected to a blocked target: 127.0.0.1")
    assert other.requests == []


async def test_a_redirect_to_a_host_of_the_credential(serve, fetch, bearer):
    """It is added again, although the headers of the task are dropped at another origin."""
    other = await serve([DONE])
    first = await serve([redirect(f"http://localhost:{other.port}/")])
    response_of(
        await fetch(
            f"http://localhost:{first.port}/",
            headers=(("X-Own", "secret"),),
            authenticator=bearer(),
        )
    )
    [head] = other.heads
    assert "Authorization: Bearer the-token" in head.split("\r\n")
    assert "X-Own" not in head


async def test_a_fixed_credential_that_is_rejected(serve, fetch, bearer):
    """The same again would be rejected again."""
    server = await serve([UNAUTHORIZED])
    outcome = await fetch(f"http://localhost:{server.port}/", authenticator=bearer())
    assert is_failure(outcome, ErrorType.HTTP_STATUS, "401")
    assert len(server.requests) == 1


async def test_a_renewed_credential(serve, fetch):
    """A 401 is tried once more with the new value, also with a body and an unsafe method."""
    server = await serve([UNAUTHORIZED], [DONE])
    authenticator = Renewed()
    response_of(
        await fetch(
            f"http://localhost:{server.port}/",
            method="POST",
            body=b"body",
            authenticator=authenticator,
        )
    )
    assert ["Authorization: POST 1" in server.heads[0], "POST 2" in server.heads[1]] == [True] * 2
    assert all(request.endswith(b"\r\n\r\nbody") for request in server.requests)
    assert authenticator.rejections == [(("Authorization", "POST 1"),)]


async def test_a_renewed_credential_that_is_rejected_again(serve, fetch):
    """There is no third request in one attempt."""
    server = await serve([UNAUTHORIZED] * 3)
    outcome = await fetch(f"http://localhost:{server.port}/", authenticator=Renewed())
    assert is_failure(outcome, ErrorType.HTTP_STATUS, "401")
    assert len(server.requests) == 2


async def test_a_401_that_counts_as_success(serve, fetch):
    """It is what the task wants."""
    server = await serve([UNAUTHORIZED])
    authenticator = Renewed()
    url = f"http://localhost:{server.port}/"
    response_of(await fetch(url, authenticator=authenticator, success_on=(401,)))
    assert authenticator.rejections == []
