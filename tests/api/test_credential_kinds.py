"""Credentials that need a network or keys: a service and its tasks, and Authlib as counterpart."""

from __future__ import annotations

import json
import time

import pytest
from authlib.oidc.core import IDToken
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.api.conftest import PUBLIC_URL
from tests.api.test_credentials import put
from tests.api.test_named_credentials import run
from tests.authorization_server import CLIENT_ID, CLIENT_SECRET, SCOPE, OAuthServer
from tests.receiver import Receiver


@pytest.fixture
def oauth():
    with OAuthServer().running() as server:
        yield server


def client_of(oauth: OAuthServer) -> dict[str, object]:
    return {
        "kind": "oauth2_client_credentials",
        "token_url": f"{oauth.url}/token",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scope": SCOPE,
        "hosts": ["localhost"],
    }


def test_a_token_endpoint_that_comes_back(server, oauth):
    """A task with one attempt waits for it, and its attempt is used by the request alone."""
    oauth.broken = (503, "down", {})
    put(server, "/credentials/oauth", client_of(oauth))
    payload = {"url": f"{oauth.url}/resource", "method": "POST"}
    body = {"payload": payload, "credential": "oauth", "max_attempts": 1}
    path = f"/tasks/{server.post(json.dumps(body).encode()).json['id']}"
    while (task := server.ask("GET", path).json)["error_type"] is None:
        time.sleep(0.02)
    assert (task["status"], task["error_type"], task["attempt"]) == ("PENDING", "token", 0)
    assert "503" in task["error"]
    oauth.broken = None
    task = server.wait(task["id"])
    assert (task["status"], task["attempt"], oauth.resource_requests) == ("COMPLETED", 1, 1)


def test_a_refused_client(server, oauth):
    """The task fails with the reason, after its attempts."""
    oauth.client_secret = "another"
    put(server, "/credentials/refused", client_of(oauth))
    fields = {"credential": "refused", "max_attempts": 2, "backoff": [0.1]}
    task = run(server, f"{oauth.url}/resource", **fields)
    assert (task["status"], task["error_type"], task["attempt"]) == ("FAILED", "token", 2)
    assert "invalid_client" in task["error"]
    assert len(oauth.token_requests) == 1


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_authlib_accepts_an_id_token(server, algorithm):
    """By the keys that the service publishes, and the rules of OpenID Connect."""
    document = {"kind": "oidc", "algorithm": algorithm, "subject": "billing"}
    put(server, "/credentials/own", {**document, "hosts": ["127.0.0.1"]})
    with Receiver() as receiver:
        assert run(server, f"{receiver.url}/own", credential="own")["status"] == "COMPLETED"
        [received] = receiver.wait_for("/own")
    keys = KeySet.import_key_set(server.ask("GET", "/.well-known/jwks.json").json)
    token = received.headers["authorization"].removeprefix("Bearer ")
    decoded = jwt.decode(token, keys, algorithms=[algorithm])
    options = {
        "iss": {"essential": True, "value": PUBLIC_URL},
        "aud": {"essential": True, "value": receiver.url},
        "sub": {"essential": True, "value": "billing"},
    }
    IDToken(decoded.claims, decoded.header, options).validate()
