"""The documents by which targets verify ID tokens, over HTTP and on both stores."""

from __future__ import annotations

import json
import time

from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwk

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import PUBLIC_URL
from tests.api.live import LiveServer

CONFIGURATION = "/.well-known/openid-configuration"
JWKS = "/.well-known/jwks.json"


def test_the_documents(server):
    """Authlib's rules hold for the metadata, and the keys are public keys of both algorithms."""
    answer = server.ask("GET", CONFIGURATION)
    assert (answer.status, answer.header("cache-control")) == (200, "public, max-age=3600")
    assert answer.json["issuer"] == PUBLIC_URL
    metadata = OpenIDProviderMetadata(answer.json)
    metadata.validate_issuer()
    metadata.validate_jwks_uri()
    metadata.validate_subject_types_supported()
    metadata.validate_id_token_signing_alg_values_supported()
    assert answer.json["jwks_uri"] == PUBLIC_URL + JWKS
    while not (keys := server.ask("GET", JWKS).json["keys"]):
        time.sleep(0.05)
    assert sorted(key["alg"] for key in keys) == ["ES256", "RS256"]
    for key in keys:
        imported = jwk.import_key(key)
        assert not imported.is_private
        assert imported.thumbprint() == key["kid"]


def test_without_a_public_url():
    """There is no issuer, so a credential of this kind is refused with what to set."""
    with LiveServer(database_url=MEMORY_URL) as server:
        for path in (CONFIGURATION, JWKS):
            assert "TASKFLOW_PUBLIC_URL" in check_problem(server.ask("GET", path), 404)["detail"]
        body = json.dumps({"kind": "oidc", "hosts": ["api.example.com"]}).encode()
        problem = check_problem(server.ask("PUT", "/credentials/own", body), 422)
        assert "TASKFLOW_PUBLIC_URL" in problem["detail"]


def test_they_are_open():
    """Targets have no API key."""
    with LiveServer(database_url=MEMORY_URL, public_url=PUBLIC_URL, key="k" * 20) as server:
        server._credentials = {}
        assert server.ask("GET", "/stats").status == 401
        assert server.ask("GET", CONFIGURATION).status == 200
        assert server.ask("GET", JWKS).status == 200
