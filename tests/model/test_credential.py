"""Credentials as values: what they show, and where they may go."""

from __future__ import annotations

import msgspec
import pytest
import rich.pretty

from taskflow.model.credential import (
    AwsSigV4,
    Basic,
    Bearer,
    Credential,
    Header,
    Mtls,
    OAuth2,
    Oidc,
    decode_credential,
    encode_credential,
    kind_of,
    may_go_to,
)
from taskflow.model.host_patterns import Hosts, is_for_strangers
from taskflow.model.url import parse_target

SECRET = "s3cr3t-value"
PEM = f"-----BEGIN EXAMPLE-----\n{SECRET}\n-----END EXAMPLE-----\n"
HOSTS = ("api.example.com",)
EVERY_KIND: tuple[Credential, ...] = (
    Bearer(hosts=HOSTS, token=SECRET),
    Basic(hosts=HOSTS, username="taskflow", password=SECRET),
    Header(hosts=HOSTS, name="X-Api-Key", value=SECRET),
    OAuth2(
        hosts=HOSTS,
        token_url="https://login.example.com/token",
        client_id="taskflow",
        client_secret=SECRET,
    ),
    Oidc(hosts=HOSTS, audience=SECRET),
    AwsSigV4(
        hosts=HOSTS,
        region="eu-central-1",
        service="s3",
        access_key_id=SECRET,
        secret_access_key=SECRET,
    ),
    Mtls(hosts=HOSTS, certificate=PEM, private_key=PEM),
)


@pytest.mark.parametrize("credential", EVERY_KIND, ids=kind_of)
def test_no_representation_shows_a_value(credential):
    """Tracebacks and logs show objects by their representation."""
    shown = f"{credential} {credential!r} {[credential]}"
    assert SECRET not in shown + rich.pretty.pretty_repr(credential)
    assert kind_of(credential) in shown


@pytest.mark.parametrize("credential", EVERY_KIND, ids=kind_of)
def test_encoded_and_decoded(credential):
    """Each kind is told from the others, and comes back as it was."""
    encoded = encode_credential(credential)
    assert msgspec.json.decode(encoded)["kind"] == kind_of(credential)
    assert decode_credential(encoded) == credential


@pytest.mark.parametrize(
    ("url", "may_go"),
    [
        ("https://api.example.com/", True),
        ("https://API.example.com.:8443/path", True),
        ("https://a.b.corp.example/", True),
        ("https://[2001:db8::1]/", True),
        ("http://localhost:8080/", True),
        ("http://127.0.0.1/", True),
        ("https://corp.example/", False),
        ("https://api.example.com.evil.example/", False),
        ("https://evilapi.example.com/", False),
        ("https://[::ffff:127.0.0.1]/", False),
        ("http://api.example.com/", False),
        ("http://a.b.corp.example:443/", False),
    ],
)
def test_where_it_may_go(url, may_go):
    """To its hosts, with TLS unless the host is this machine."""
    patterns = ("api.example.com", "*.corp.example", "2001:db8::1", "localhost", "127.0.0.1")
    assert may_go_to(Hosts(patterns, "hosts"), parse_target(url)) is may_go


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        *(("*.com", True), ("*.COM.", True), ("*.xn--p1ai", True), ("*.\u0440\u0444", True)),
        *(("*.co.uk", True), ("*.com.au", True), ("*.or.at", True), ("*.Co.Uk.", True)),
        *(("*.example.com", False), ("*.example.co.uk", False), ("*.co.example", False)),
        *(("*.internal", False), ("*.localhost", False), ("*.svc.cluster.local", False)),
        *(("*.a.co.uk", False), ("com", False), ("api.example.com", False), ("127.0.0.1", False)),
        ("*.example.uk", False),
    ],
)
def test_patterns_under_which_anyone_can_register(pattern, expected):
    """Top-level domains, and the usual names below the domains of countries; not internal names."""
    Hosts([pattern], "hosts")
    assert is_for_strangers(pattern) is expected
