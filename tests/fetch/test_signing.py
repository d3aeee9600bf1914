"""Which requests of a fetch are signed, and over which bytes."""

from __future__ import annotations

import time

import msgspec
import pytest
from standardwebhooks import Webhook

from taskflow.fetch.interface import request_of
from taskflow.model.outcome import ErrorType
from taskflow.model.signature import SIGNATURE_FIELDS, Signer, secret_of
from tests.fetch.scripted import answer, is_failure, response_of
from tests.fetch.test_fetch_redirects import DONE, redirect
from tests.loopback import SECRET

SIGNER = Signer([secret_of(SECRET)])


def sign(body: bytes):
    return SIGNER.headers("the-id", body, timestamp=int(time.time()))


def verify(request: bytes) -> None:
    """Verify a request as it came over the wire."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")[1:]
    Webhook(SECRET).verify(body, dict(line.split(": ", 1) for line in lines), json_parse=False)


def is_signed(head: str) -> bool:
    return any(f"\n{name}:" in head.lower() for name in SIGNATURE_FIELDS)


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ({}, b""),
        ({"method": "POST"}, b""),
        ({"body": msgspec.Raw(b'{"a" :  [1.50, 1e400, "\\u00e9"]}')}, None),
        ({"body": "h\xe9llo \U0001f600"}, "h\xe9llo \U0001f600".encode()),
        ({"body": {"base64": "AAEC/w=="}, "method": "PUT"}, b"\x00\x01\x02\xff"),
        ({"body": {"base64": ""}}, b""),
        ({"body": "x" * 200_000}, None),
    ],
)
async def test_the_body_as_it_is_sent(serve, fetcher, payload, body):
    """Whatever it is in the payload: JSON to the byte, text, bytes, long or none."""
    server = await serve([answer(b'"done"')])
    url = f"http://localhost:{server.port}/"
    request = request_of(msgspec.json.encode({"url": url, **payload}))
    response_of(await fetcher.fetch(msgspec.structs.replace(request, sign=sign)))
    [sent] = server.requests
    if body is not None:
        assert sent.partition(b"\r\n\r\n")[2] == body
    signed = sent.partition(b"\r\n\r\n")[2]
    if signed == b"\x00\x01\x02\xff":  # the package reads text only
        [expected] = [value for name, value in sign(signed) if name == "webhook-signature"]
        assert f"webhook-signature: {expected}".encode() in sent
    else:
        verify(sent)


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect"])
async def test_a_redirect_within_the_origin(serve, fetch, status):
    """Each request is signed over its own body, which a redirect may take away."""
    server = await serve([redirect("/next", status), DONE], [DONE])
    url = f"http://localhost:{server.port}/"
    response_of(await fetch(url, method="POST", body=b'"body"', sign=sign))
    assert len(server.requests) == 2
    for request in server.requests:
        verify(request)


async def test_a_redirect_to_another_origin(serve, fetch):
    """Another origin gets no signature, and afterwards neither does the first one."""
    second_script = []
    second = await serve(second_script)
    first = await serve([redirect(f"http://localhost:{second.port}/", "307 X"), DONE])
    second_script.append(redirect(f"http://localhost:{first.port}/", "307 X"))
    url = f"http://localhost:{first.port}/"
    response_of(await fetch(url, method="PUT", body=b"body", sign=sign))
    assert [is_signed(head) for head in (*first.heads, *second.heads)] == [True, False, False]


@pytest.mark.parametrize("name", ["webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE"])
async def test_a_header_of_the_task(serve, fetch, name):
    """It is sent if the request is not signed; otherwise nothing is, and the error says why."""
    server = await serve([DONE])
    url = f"http://localhost:{server.port}/"
    outcome = await fetch(url, headers=((name, "x"),), sign=sign)
    assert is_failure(outcome, ErrorType.INVALID_URL, f"the header {name}", "set sign to false")
    assert server.requests == []
    response_of(await fetch(url, headers=((name, "x"),)))
    assert f"{name}: x" in server.heads[0]
