"""Our reading of a URL beside another one's: Ada's, a parser of the URL standard.

Where both read a URL they must see the same host: what a browser, a proxy or a log takes a
URL for is what TaskFlow judges and connects to. Ours refuses much that the standard allows.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import ada_url
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.url import DEFAULT_PORTS, Target, parse_location, parse_target

ROWS = [
    line.split("\t")
    for line in Path(__file__).with_name("data").joinpath("ssrf.tsv").read_text().splitlines()[1:]
]
HOSTS = st.one_of(
    st.text(
        st.sampled_from("aB1.-_:[]@%\\/?# \u3002\uff0e\uff11\u00df\u0130\u2100\u00ad"), max_size=16
    ),
    st.from_regex(r"[a-z0-9._-]{1,12}|[0-9a-fx.]{1,16}|\[[0-9a-f:.]{2,20}\]", fullmatch=True),
    st.text(max_size=8),
)
PORTS = st.one_of(st.just(""), st.integers(-1, 70_000).map(":{}".format), st.just(":"))
URLS = st.one_of(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["http://", "HTTPS://", "http:/", "https:", "//"]),
        HOSTS,
        PORTS,
        st.text(st.sampled_from("/ab?#@:%\\"), max_size=6),
    ),
    st.text(max_size=30),
)


def check(url: str) -> Target | None:
    """What we read, after comparing it with what the standard reads; ``None`` if we refuse."""
    try:
        target = parse_target(url)
    except InvalidUrl:
        return None
    if not url.isascii() and not ada_url.check_url(url):
        return target  # letters of a Unicode that is newer than Ada's
    other = ada_url.URL(url)
    assert other.protocol == f"{target.scheme}:"
    assert other.hostname.removesuffix(".").strip("[]") == target.host
    assert int(other.port or DEFAULT_PORTS[target.scheme]) == target.port
    assert not other.username
    assert not other.password
    return target


def test_corpus():
    """All that we read of the corpus is read alike; what may be fetched is read by both."""
    for row in ROWS:
        target = check(json.loads(f'"{row[1]}"'))
        assert target is not None or row[3] == "refuse", row


@given(URLS)
@settings(max_examples=500)
@example("http://a.example:80/")
@example("http://\u00df.example/")
@example("http://[::ffff:1.2.3.4]/")
def test_any_string(url):
    """We refuse it, or both see the same scheme, host and port."""
    check(url)


@given(URLS)
def test_the_normal_form_is_read_alike(url):
    """What we make of a URL is read as itself, by both."""
    if target := check(url):
        assert check(target.url) == target


BASES = st.sampled_from(["http://h/", "https://h:8443/a/b;c?d=e", "http://h/a//b/?"])
LOCATIONS = st.one_of(
    st.text(st.sampled_from("/ab.?#@:% '\"<>`{}|^[]~&+;=\u00e9\u65e5\u200d\u00a0"), max_size=12),
    st.text(max_size=12),
    st.lists(st.sampled_from(["..", ".", "%2e", ".%2E", "", "a b", "?", "#"])).map("/".join),
    st.tuples(st.sampled_from(["//h2/", "http://h2", "HTTPS://h2:1234/"]), st.text(max_size=9)).map(
        "".join
    ),
)


@given(BASES, LOCATIONS)
@settings(max_examples=500)
@example("http://h/a/b", "/a b")
@example("http://h/a/b", "?a'b")
@example("http://h/a/b", "//h2?a b")
@example("http://h/", "HTTP://A.")
def test_any_location(base, location):
    """We refuse a Location, or ask for just what the standard asks for."""
    try:
        target = parse_location(parse_target(base), location)
    except InvalidUrl:
        return
    other = ada_url.URL(location, base)
    other.hostname = other.hostname.removesuffix(".")  # a host has one spelling here
    assert target.url == other.href.partition("#")[0]


def test_corpus_as_locations():
    """What is refused as a URL for its text is refused as a Location, spaces in paths apart."""
    for row in ROWS:
        url = json.loads(f'"{row[1]}"')
        try:
            target = parse_location(parse_target("http://redir.test/"), url)
        except InvalidUrl:
            assert row[3] == "refuse", row
            continue
        if re.match("[A-Za-z]+:", url.strip(" \t")):
            assert parse_target(url.strip(" \t")).host == target.host, row
        else:
            assert target.host == "redir.test", row
