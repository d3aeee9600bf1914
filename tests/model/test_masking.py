"""The rule of what is masked: names, URLs, payloads, and what they cost."""

from __future__ import annotations

import itertools
import time

import msgspec
import pytest

from taskflow.model.masking import MASKING, MAX_SEARCHED_CHARACTERS, Masking

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "proxy-authorization", "Cookie", "X-Api-Key", "apikey", "X-Auth-Token"),
        *("X-Amz-Security-Token", "Ocp-Apim-Subscription-Key", "X-Webhook-Secret", "X-Session"),
        *("X-Hub-Signature-256", "PRIVATE-TOKEN", "X-Password", "DD-API-KEY", "X-Vault-Token"),
        *("X-Creds", "psk", "X-Key", "access_key", "Private-Key", "Max-Token"),
    ],
)
def test_names_of_credentials(name):
    """In any case, whatever stands around the word."""
    assert MASKING.is_credential(name)
    assert MASKING.headers({name.upper(): SECRET, name.lower(): SECRET}) == {
        name.upper(): "***",
        name.lower(): "***",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("Accept", "Content-Type", "Idempotency-Key", "Author", "X-Keyword", "WWW-Authenticate"),
        *("Keep-Alive", "ETag", "Cache-Key", "X-Monkeys", "Traceparent", "X-Compass"),
        *("Access-Control-Allow-Credentials", "withCredentials", "X-RateLimit-Key", "monkey"),
        *("X-RateLimit-Remaining-Tokens", "max_tokens", "maxOutputTokens", "Sec-WebSocket-Key"),
        *("public_key", "Routing-Key", "Cache-Control", "X-Content-Type", "anti-cookies"),
    ],
)
def test_other_names(name):
    """What only looks alike is shown."""
    assert MASKING.headers({name: SECRET}) == {name: SECRET}


def test_names_of_an_operator():
    """They come on top, for headers and parameters."""
    masking = Masking(("X-Mine", "code"))
    assert masking.headers({"x-mine": SECRET, "X-Api-Key": SECRET, "x-mine-too": "a"}) == {
        "x-mine": "***",
        "X-Api-Key": "***",
        "x-mine-too": "a",
    }
    assert masking.url(f"https://a.example/?code={SECRET}&a=1") == "https://a.example/?code=***&a=1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b?c=d&e=f#g", None),
        ("https://a.example/?q=a@b.example", None),
        ("https://a.example/@ada/?author=ada&keyword=x&sort_key=y", None),
        ("https://a.example/?token=S&x=1", "https://a.example/?token=***&x=1"),
        ("https://a.example/?a=1&API_KEY=S", "https://a.example/?a=1&API_KEY=***"),
        (
            "https://a.example/?access_token=S#id_token=S",
            "https://a.example/?access_token=***#id_token=***",
        ),
        ("https://a.example/?sig=S&sv=1", "https://a.example/?sig=***&sv=1"),
        ("https://a.example/?X-Amz-Signature=S", "https://a.example/?X-Amz-Signature=***"),
        ("https://a.example/?%74oken=S", "https://a.example/?%74oken=***"),
        ("https://a.example/?key[]=S", "https://a.example/?key[]=***"),
        ("https://a.example/a;jsessionid=S", "https://a.example/a;jsessionid=***"),
        (
            "https://a.example/?to=http%3A%2F%2Fb%2F%3Fkey%3DS",
            "https://a.example/?to=http%3A%2F%2Fb%2F%3Fkey%3D***",
        ),
        ("https://a.example/?to=https://ada:S@b/", "https://a.example/?to=https://***@b/"),
        ("https://ada:S@a.example/b", "https://***@a.example/b"),
        ("//ada:S@S@a.example/", "//***@a.example/"),
        (" http:ada:S@a.example/", " http:***@a.example/"),
        ("http:\\\\ada:S@a.example/", "http:\\\\***@a.example/"),
        ("ada:S@a.example/", "***@a.example/"),
    ],
)
def test_urls(url, shown):
    """Userinfo and parameters named like credentials are masked, however they are written."""
    url = url.replace("=S", f"={SECRET}").replace("S@", f"{SECRET}@") if shown else url
    assert MASKING.url(url) == (url if shown is None else shown)
    assert MASKING.url(MASKING.url(url)) == MASKING.url(url)


@pytest.mark.parametrize(
    "payload",
    [
        b'"https://a.example/?a=1"',
        b' { "url" : "https://a.example/?a=1" ,\n"headers": {"Accept":"a"}, "body": {"a":1e400} } ',
        b'{"url":"https://a.example/","body":{"headers":{"Cookie":"a"},"url":"http://a:b@c/"}}',
        b'["http://a:b@c/"]',
        b"1.50",
        b"{ }",
        b'{"url":"\\ud800?"}',
    ],
)
def test_payloads_with_nothing_to_mask(payload):
    """They stay as they are, to the byte."""
    assert bytes(MASKING.payload(msgspec.Raw(payload))) == payload


@pytest.mark.parametrize(
    "payload",
    [
        b'"https://a.example/\\u003ftoken=s3cr3t"',
        b'"https://ada:s3cr3t\\u0040a.example/"',
        b'{"url":"https://a.example/?key=s3cr3t"}',
        b'{"url":"a","headers":{"Authorization":"s3cr3t"}}',
        b'{"url":"a","h\\u0065aders":{"Authorizatio\\u006e":"s3cr3t"}}',
        b'{"url":"https://ada:s3cr3t@a/","url":"a"}',
        b'{"headers":{"Cookie":"s3cr3t"},"headers":{"Accept":"a"},"url":"a"}',
        b'{"url":"a","headers":{"Cookie":["s3cr3t"]}}',
        b'{"url":"a","headers":{"Referer":"https://a.example/?token=s3cr3t"}}',
    ],
)
def test_payloads_with_credentials(payload):
    """However the JSON is written, also what its readers pass over."""
    assert SECRET.encode() not in bytes(MASKING.payload(msgspec.Raw(payload)))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("no mail to a@b.example", "no mail to a@b.example"),
        (
            "see https://x.example and mail a@b.example",
            "see https://x.example and mail a@b.example",
        ),
        ("mail (mailto:a@b.example) failed; why? token=x", None),
        (f"GET https://user:{SECRET}@db.example/x failed", "GET https://***@db.example/x failed"),
        (f'"https://{SECRET}@a.example/", "b"', '"https://***@a.example/", "b"'),
        (f"x?api_key={SECRET} failed & more", "x?api_key=*** failed & more"),
        (f"x?a=1&token={SECRET}), then", "x?a=1&token=***), then"),
        (f"(postgresql://u:{SECRET}@db/x)", "(postgresql://***@db/x)"),
        (f"connect to user:{SECRET}@db.example:5432", "connect to ***@db.example:5432"),
        (f"connect to 'user:{SECRET}@{SECRET}@db'", "connect to '***@db'"),
        (f"a\n https://u:{SECRET}@b\n\tc", "a\n https://***@b\n\tc"),
    ],
)
def test_messages(message, shown):
    """Only the URLs in a message are masked, and masking it again changes nothing."""
    masked = MASKING.text(message)
    assert masked == (message if shown is None else shown)
    assert MASKING.text(masked) == masked
    assert SECRET not in masked


def test_messages_beyond_the_maximum_are_cut():
    """Nothing is shown that was not searched."""
    text = f"{'a ' * MAX_SEARCHED_CHARACTERS}https://u:{SECRET}@b"
    assert SECRET not in MASKING.text(text)


def test_results():
    """Their URL is masked, and nothing else in them changes."""
    result = (
        '{"result":{"url":"http://a:b@c"},"url":"https://a/?key=%s","elapsed_seconds":1.0,"size":3}'
    )
    masked = bytes(MASKING.result(msgspec.Raw((result % SECRET).encode())))
    assert masked == (result % "***").encode()


def test_a_url_that_was_shown_is_made_whole():
    """From the original, of which each value is used for its own parameter only."""
    original = "https://a.example/?token=one&a=1&token=two"
    assert MASKING.unmasked_url(MASKING.url(original), original) == original
    changed = "https://a.example/b?token=***&token=***&key=***"
    expected = "https://a.example/b?token=one&token=two&key=***"
    assert MASKING.unmasked_url(changed, original) == expected
    assert MASKING.is_masked(expected)
    assert not MASKING.is_masked(original)


@pytest.mark.parametrize(
    "part",
    ["token", "%26", "key", "/", "%2F", "@", "%40", "?", "a_", "auth", "websocket", "%", "&a", "="],
)
def test_masking_takes_linear_time(part):
    """Twice the text takes about twice the time: no URL blocks a node."""

    def seconds(size: int) -> float:
        texts = [start + part * (size // len(part)) for start in ("?", "//", "?a=")]
        start = time.thread_time()
        for text in texts:
            MASKING.url(text)
            MASKING.text(text)
        return time.thread_time() - start

    ratios = (seconds(64_000) / max(seconds(8_000), 1e-4) for _ in itertools.repeat(None, 3))
    assert min(ratios) < 24
