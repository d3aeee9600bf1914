"""Signature Version 4: the same signatures as by botocore, over what is sent."""

from __future__ import annotations

import datetime as dt
import hashlib
from urllib.parse import parse_qsl, quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from taskflow.fetch.aws_signature import AwsAuthenticator, signed_headers
from taskflow.fetch.hop import Hop, first_hop
from taskflow.fetch.interface import FetchRequest
from taskflow.model.credential import AwsSigV4
from taskflow.model.outcome import ErrorType
from taskflow.model.url import parse_target
from tests.fetch.scripted import answer, is_failure, response_of
from tests.fetch.test_fetch_redirects import DONE, redirect

NOW = dt.datetime(2026, 11, 28, 20, 30, tzinfo=dt.UTC)
MOMENT = "20261128T203000Z"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SIGNED = ("content-type", "x-amz-target", "x-amz-meta-author")

segments = st.sampled_from((".", "..", "", "a")) | st.text(
    st.characters(codec="utf-8", exclude_characters="/"), max_size=8
).map(lambda text: quote(text, safe="-_.~"))
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
pairs = st.tuples(st.text(max_size=6), st.text(max_size=6)).map(
    lambda pair: "=".join(quote(text.encode("utf-8", "replace"), safe="-_.~") for text in pair)
)
queries = st.one_of(
    st.lists(pairs, max_size=5).map("&".join),
    st.text("abAB01-_.~!$&'()*+,;=:@/?", max_size=12),  # all that may be sent unescaped
)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
headers = st.dictionaries(
    st.sampled_from(("Content-Type", "X-Amz-Target", "x-amz-meta-author", "X-Other")), values
).map(lambda found: tuple(found.items()))
urls = st.tuples(paths, queries).map(
    lambda parts: "https://abc.amazonaws.com" + "?".join(filter(None, parts))
)


def key_pair(service: str = "execute-api", session_token: str | None = None) -> AwsSigV4:
    return AwsSigV4(
        hosts=("localhost", "*.amazonaws.com"),
        region="eu-central-1",
        service=service,
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token=session_token,
    )


def botocore_signature(credential: AwsSigV4, hop: Hop, monkeypatch) -> str:
    """What botocore signs, given the headers that are signed."""
    path, _, query = hop.target.path_and_query.partition("?")
    sent = dict(signed_headers(credential, hop, MOMENT))
    request = AWSRequest(
        hop.method,
        f"{hop.target.origin}{path}",
        headers={name: value for name, value in hop.headers if name.lower() in SIGNED}
        | {"X-Amz-Content-SHA256": sent["X-Amz-Content-Sha256"]},
        data=hop.body,
        params=parse_qsl(query, keep_blank_values=True, errors="surrogateescape"),
    )
    keys = Credentials(
        credential.access_key_id, credential.secret_access_key, credential.session_token
    )
    kind = botocore.auth.S3SigV4Auth if credential.service == "s3" else botocore.auth.SigV4Auth
    with monkeypatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
        kind(keys, credential.service, credential.region).add_auth(request)
    assert request.headers["X-Amz-Date"] == sent["X-Amz-Date"] == MOMENT
    return request.headers["Authorization"]


@given(
    st.builds(
        key_pair, st.sampled_from(("execute-api", "sqs", "s3")), st.sampled_from((None, "a=="))
    ),
    st.builds(
        FetchRequest,
        urls,
        method=st.sampled_from(METHODS),
        headers=headers,
        body=st.binary(max_size=64),
    ),
)
def test_the_same_signatures_as_botocore(monkeypatch_for_each, credential, asked):
    """For all methods, paths, queries, headers and bodies."""
    hop = first_hop(asked)
    ours = dict(signed_headers(credential, hop, MOMENT))["Authorization"]
    assert ours == botocore_signature(credential, hop, monkeypatch_for_each)


@pytest.fixture(scope="module")
def monkeypatch_for_each():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("value", [hashlib.sha256(b"{}").hexdigest(), "of the task"])
@pytest.mark.parametrize("name", ["X-Amz-Content-Sha256", "x-amz-content-sha256"])
def test_a_hash_that_the_task_computed(name, value):
    """It is replaced, and not signed a second time."""
    url = "https://abc.amazonaws.com/"
    plain = FetchRequest(url, method="PUT", body=b"{}")
    hashed = FetchRequest(url, method="PUT", body=b"{}", headers=((name, value),))
    ours, theirs = (
        signed_headers(key_pair("s3"), first_hop(asked), MOMENT) for asked in (plain, hashed)
    )
    assert ours == theirs


def test_the_example_of_aws():
    """The signature that their documentation has for S3 ("GET Object")."""
    credential = AwsSigV4(
        hosts=("*.amazonaws.com",),
        region="us-east-1",
        service="s3",
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )
    hop = first_hop(FetchRequest("https://examplebucket.s3.amazonaws.com/?lifecycle"))
    [signature] = [
        value
        for name, value in signed_headers(credential, hop, "20130524T000000Z")
        if name == "Authorization"
    ]
    expected = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    assert signature.endswith(f"Signature={expected}")


async def test_as_it_is_sent(serve, fetch, monkeypatch):
    """The request on the wire has the signature, the hash of its body, and its own date."""
    server = await serve([DONE])
    credential = key_pair(session_token="the-session")
    response_of(
        await fetch(
            f"http://localhost:{server.port}/a%20b/?x=%2F&X=1+2",
            method="POST",
            headers=(("Content-Type", "application/json"), ("x-amz-date", "of the task")),
            body=b"{}",
            authenticator=AwsAuthenticator(credential),
        )
    )
    lines = dict(line.split(": ", 1) for line in server.heads[0].split("\r\n")[1:])
    assert lines["X-Amz-Security-Token"] == "the-session"
    assert "of the task" not in lines.values()
    hop = Hop(
        parse_target(f"http://localhost:{server.port}/a%20b/?x=%2F&X=1+2"),
        "POST",
        (("Content-Type", "application/json"),),
        b"{}",
    )
    signed = dict(signed_headers(credential, hop, lines["X-Amz-Date"]))
    assert lines["Authorization"] == signed["Authorization"]
    assert lines["X-Amz-Content-Sha256"] == signed["X-Amz-Content-Sha256"]
    assert "UNSIGNED" not in server.heads[0]


async def test_a_redirect(serve, fetch):
    """The next request has a signature of its own, and another host none."""
    other = await serve([DONE])
    first = await serve([redirect(f"http://localhost:{other.port}/next")])
    authenticator = AwsAuthenticator(key_pair())
    response_of(await fetch(f"http://localhost:{first.port}/", authenticator=authenticator))
    signatures = {head.partition("Signature=")[2] for head in (*first.heads, *other.heads)}
    assert len(signatures) == 2
    away = await serve([redirect(f"http://127.0.0.1:{other.port}/")])
    outcome = await fetch(f"http://localhost:{away.port}/", authenticator=authenticator)
    assert is_failure(outcome, ErrorType.BLOCKED, "127.0.0.1")
    assert len(other.requests) == 1


async def test_a_rejected_signature(serve, fetch):
    """It is not sent again."""
    server = await serve([answer(status="403 Forbidden")])
    outcome = await fetch(
        f"http://localhost:{server.port}/", authenticator=AwsAuthenticator(key_pair())
    )
    assert is_failure(outcome, ErrorType.HTTP_STATUS, "403")
    assert len(server.requests) == 1
