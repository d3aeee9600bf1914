"""The one reading of a URL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.url import MAX_URL_CHARACTERS, parse_target, place_of, resolve_location

# The corpus: `id url kind verdict dns redirect source`, by tabs. `url` is the inside of a
# JSON string. `verdict` is `allow` (a connection to a judged public address may be made) or
# `refuse` (no connection, whether the URL is invalid or its address or port is blocked).
CORPUS = [
    line.split("\t")
    for line in Path(__file__).with_name("data").joinpath("ssrf.tsv").read_text().splitlines()[1:]
]
TEXTUAL_KINDS = {
    *("parser-confusion", "control-crlf", "unicode", "userinfo"),
    *("scheme", "ip-encoding", "length"),
}
REFUSED_FOR_ITS_ADDRESS = {"U424"}  # locaIhost, with a capital i: a name like another


def urls(is_wanted=lambda _id, _kind, _verdict: True):
    """The wanted URLs of the corpus."""
    for row_id, url, kind, verdict, *_ in CORPUS:
        if is_wanted(row_id, kind, verdict):
            yield json.loads(f'"{url}"')


def is_read(url: str) -> bool:
    try:
        parse_target(url)
    except InvalidUrl:
        return False
    return True


def test_corpus_allowed():
    """Every URL of the corpus that may be fetched is read."""
    for url in urls(lambda _id, _kind, verdict: verdict == "allow"):
        assert is_read(url), url


def test_corpus_refused():
    """Every URL of the corpus that is wrong by its text alone is refused by its text alone."""
    refused = urls(
        lambda row_id, kind, verdict: (
            verdict == "refuse" and kind in TEXTUAL_KINDS and row_id not in REFUSED_FOR_ITS_ADDRESS
        )
    )
    assert list(filter(is_read, refused)) == []


def test_the_host_alone():
    """It is the one of the whole reading, and what has none is not read at all."""
    for url in urls():
        try:
            place = place_of(url)
        except InvalidUrl:
            assert not is_read(url), url
        else:
            if is_read(url):
                target = parse_target(url)
                assert place == (target.host, target.host_header), url


@pytest.mark.parametrize(
    ("url", "location", "is_read"),
    [
        (json.loads(f'"{url}"'), json.loads(f'"{location}"'), verdict == "allow")
        for row_id, url, kind, verdict, _, location, _ in CORPUS
        if kind == "redirect" and (verdict == "allow" or row_id in {"U253", "U257", "U262"})
    ],
)
def test_corpus_redirects(url, location, is_read):
    """Redirects of the corpus that may be followed are read; those wrong by text are not."""
    location = resolve_location(parse_target(url), location)
    if is_read:
        parse_target(location)
    else:
        with pytest.raises(InvalidUrl):
            parse_target(location)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
        ("https://example.com:443?q", "https://example.com/?q"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com./", "http://example.com/"),
        ("http://example.com/#top", "http://example.com/"),
        ("http://example.com#top", "http://example.com/"),
        ("http://example.com/?", "http://example.com/?"),
        ("http://B\u00dcCHER.example/", "http://xn--bcher-kva.example/"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://fa\u00df.example/", "http://xn--fa-hia.example/"),
        ("http://[2001:DB8:0:0::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://192.0.2.1:8080/", "http://192.0.2.1:8080/"),
        ("http://1.2.3.4.example.com/", "http://1.2.3.4.example.com/"),
        ("http://h/%61%zz%", "http://h/%61%25zz%25"),
        ("http://h/\u00e9?\u20ac", "http://h/%C3%A9?%E2%82%AC"),
        ('http://h/<">{}|^`[]', "http://h/%3C%22%3E%7B%7D%7C%5E%60%5B%5D"),
        ("http://h/!$&'()*+,;=:@-._~?a/?b", "http://h/!$&'()*+,;=:@-._~?a/?b"),
        ("http://h/../a/./b", "http://h/../a/./b"),
    ],
)
def test_normal_form(url, normal):
    """What a URL is shown as, and thereby what is asked for: nothing but spelling changes."""
    assert parse_target(url).url == normal


def test_parts():
    """The parts that the rest of the fetch reads."""
    named = parse_target("https://Example.com:8443/a?b#c")
    assert (named.scheme, named.host, named.port) == ("https", "example.com", 8443)
    assert (named.address, named.path_and_query) == (None, "/a?b")
    assert (named.host_header, named.origin) == ("example.com:8443", "https://example.com:8443")
    literal = parse_target("http://[::1]/")
    assert (literal.host, str(literal.address), literal.host_header) == ("::1", "::1", "[::1]")
    assert str(parse_target("http://192.0.2.7/").address) == "192.0.2.7"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "empty"),
        ("example.com", "no scheme"),
        ("localhost:8081/hello", "no scheme"),
        ("tel:0049-1", "must be http or https, not tel"),
        ("ftp://example.com/", "must be http or https, not ftp"),
        ("http:/example.com/", "'://' must follow"),
        ("http:///", "no host"),
        ("http://a b/", "U[+]0020"),
        ("http://a/\u0085", "U[+]0085"),
        ("http://a/\u200d", "U[+]200D"),
        ("http://a/\udfff", "U[+]DFFF"),
        ("http://user:password@example.com/", "Authorization header instead"),
        ("http://example.com:/", "port"),
        ("http://example.com:0/", "port"),
        ("http://example.com:080/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:\u0661/", "port"),
        ("http://[::1/", "brackets"),
        ("http://[::1]x/", "brackets"),
        ("http://[::1]:x/", "port"),
        ("http://[fe80::1%eth0]/", "zone"),
        ("http://[v1.x]/", "IPv6"),
        ("http://1.2.3/", "four decimal parts"),
        ("http://1.2.3.04/", "four decimal parts"),
        ("http://1.2.3.4./", "four decimal parts"),
        ("http://a.0x1f/", "four decimal parts"),
        ("http://0x/", "four decimal parts"),
        ("http://\uff11.2.3.4/", "look-alike"),
        ("http://\u212a.example/", "look-alike"),
        ("http://a\u3002example/", "looks like a dot"),
        ("http://a..b/", "empty part"),
        ("http://.a/", "empty part"),
        ("http://a../", "empty part"),
        ("http://a*b/", "letters, digits"),
        ("http://\u2764.example/", "international name"),
        ("http://xn--pokxncvks/", "international name"),
        (f"http://{'a.' * 126}aa/", "253"),
        (f"http://h/{'a' * MAX_URL_CHARACTERS}", "longer than 8192"),
        (f"http://h/{chr(0x20AC) * 2000}", "once it is encoded"),
    ],
)
def test_complaints(url, complaint):
    """What is refused, with a sentence that says what is wrong."""
    with pytest.raises(InvalidUrl, match=complaint):
        parse_target(url)


@pytest.mark.parametrize(
    ("location", "url"),
    # RFC 3986 section 5.4, normal and abnormal examples, less fragments and other schemes.
    [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        (";x", "http://a/b/c/;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("https://h/x", "https://h/x"),
        ("mailto:x@y", "mailto:x@y"),
    ],
)
def test_location(location, url):
    """A Location is resolved as RFC 3986 section 5.2 says."""
    assert resolve_location(parse_target("http://a/b/c/d;p?q"), location) == url


@pytest.mark.parametrize("location", ["/\\evil.example", "\\\\evil.example", "///x", "http:x"])
def test_location_confusion(location):
    """A Location that browsers would read as another host is refused."""
    with pytest.raises(InvalidUrl):
        parse_target(resolve_location(parse_target("http://a/b"), location))


URLISH = st.one_of(
    st.text(),
    st.text().map("http://".__add__),
    st.text().map("http://h/".__add__),
    st.text(alphabet="htps:/.@[]%?#\\0x1a\u00fc\u3002-_").map("http://".__add__),
)


@settings(max_examples=500, derandomize=True, database=None)
@given(URLISH)
@example("http://h/%%41")
@example("http://\u00df.\u00df:1?")
def test_any_text(text):
    """Any text is refused or read; what was read is read the same from its normal form."""
    try:
        target = parse_target(text)
    except InvalidUrl:
        return
    assert target.url.isascii()
    assert parse_target(target.url) == target


@settings(max_examples=300, derandomize=True, database=None)
@given(st.text())
def test_any_location(location):
    """Any Location gives a text that is refused or read; nothing else happens."""
    url = resolve_location(parse_target("http://a/b?c"), location)
    try:
        parse_target(url)
    except InvalidUrl:
        return
