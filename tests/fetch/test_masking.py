"""What may be secret is not kept and not shown."""

from __future__ import annotations

import pytest

from taskflow.fetch.errors import MAX_URL_CHARACTERS, masked_url
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.model.outcome import ErrorType
from taskflow.settings import Settings
from tests.fetch.scripted import answer, fetch_with, is_failure, response_of
from tests.loopback import OPEN

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://a.example/b", "https://a.example/b"),
        ("https://a.example/b?sig=s3cr3t&x=1#f", "https://a.example/b?***"),
        ("https://a.example/b#s3cr3t", "https://a.example/b#***"),
        ("https://ada:s3cr3t@a.example/b", "https://***@a.example/b"),
        ("//ada:s3cr3t@x@a.example/", "//***@a.example/"),
        ("http:ada:s3cr3t@a.example/", "http:***@a.example/"),
        ("http:\\\\ada:s3cr3t@a.example/", "http:\\\\***@a.example/"),
        ("ada:s3cr3t@a.example/b@c", "ada:***@a.example/b@c"),
        ("/b?s3cr3t\n?", "/b?***"),
        ("ftp:s3cr3", "ftp:s3cr3"),
        ("/" + "x" * 1000, "/" + "x" * (MAX_URL_CHARACTERS - 1)),
    ],
)
def test_urls(url, masked):
    """Credentials and the query are hidden, and it is short."""
    assert masked_url(url) == masked


@pytest.mark.parametrize(
    "location", [f"ftp://x.example/?key={SECRET}", f"http://ada:{SECRET}@a.example/"]
)
async def test_errors_of_redirects(get, location):
    """The text of a failure does not hold the secret part of where it was sent."""
    outcome = await get(answer(b"", f"Location: {location}", status="302 Found"))
    assert is_failure(outcome, ErrorType.INVALID_URL, "redirected to ")
    assert SECRET not in outcome.error


@pytest.mark.parametrize("field", [f"Set-Cookie: id={SECRET}\0", f"Set-Cookie : id={SECRET}"])
async def test_errors_of_fields(get, field):
    """A field that cannot be read is not quoted: it may be one whose value is masked."""
    outcome = await get(answer(b"1", field))
    assert is_failure(outcome, ErrorType.PROTOCOL, "illegal header line")
    assert SECRET not in outcome.error


async def test_header_fields(get):
    """Fields that carry credentials keep their names and lose their values; others keep both."""
    fields = (f"Set-Cookie: id={SECRET}", f"X-API-Key: {SECRET}", "X-Other: shown")
    headers = response_of(await get(answer(b"1", *fields))).headers
    assert (headers["set-cookie"], headers["x-api-key"]) == ("***", "***")
    assert headers["x-other"] == "shown"


async def test_header_fields_of_an_operator(serve, resolver):
    """The setting takes the place of the default names."""
    server = await serve([answer(b"1", f"X-Mine: {SECRET}", "Set-Cookie: shown")])
    settings = Settings(**OPEN, masked_headers=("X-Mine",))
    async with open_fetcher(settings, resolver=resolver) as fetcher:
        outcome = await fetch_with(fetcher, f"http://localhost:{server.port}/")
    headers = response_of(outcome).headers
    assert (headers["x-mine"], headers["set-cookie"]) == ("***", "shown")
