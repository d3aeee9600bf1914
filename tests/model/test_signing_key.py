"""Keys that sign JSON Web Tokens, compared with joserfc."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jwk, jwt
from joserfc.errors import BadSignatureError

from taskflow.model.signing_key import SigningKey, new_pem

CLAIMS = {"iss": "https://tasks.example.com", "aud": ["a", "\u00e4"], "exp": 2**40}


def pem_of(key, encryption=None) -> str:
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    ).decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_tokens(algorithm):
    """Joserfc verifies them by the public key, finds its thumbprint, and refuses another key."""
    key, other = SigningKey(new_pem(algorithm)), SigningKey(new_pem(algorithm))
    assert key.algorithm == algorithm
    for _ in range(20):  # the numbers of some signatures are short
        token = jwt.decode(
            key.signed(CLAIMS, "k1"), jwk.import_key(key.public_jwk), algorithms=[algorithm]
        )
        assert token.claims == CLAIMS
        assert token.header == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    assert jwk.import_key(key.public_jwk).thumbprint() == key.key_id
    assert "d" not in key.public_jwk
    with pytest.raises(BadSignatureError):
        jwt.decode(key.signed(CLAIMS), jwk.import_key(other.public_jwk), algorithms=[algorithm])


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "-----BEGIN PRIVATE KEY-----\ns3cr3t\n-----END PRIVATE KEY-----\n",
        pem_of(rsa.generate_private_key(65537, 1024)),
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(ed25519.Ed25519PrivateKey.generate()),
        pem_of(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"password")),
    ],
    ids=["none", "broken", "short", "curve", "kind", "password"],
)
def test_other_keys(pem):
    """The error says what is wanted, and shows nothing of the key."""
    with pytest.raises(ValueError, match="RSA with at least 2048 bits") as caught:
        SigningKey(pem)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_plain_node_does_not_load_cryptography():
    """Neither the engine nor the fetcher imports it before a credential needs it."""
    code = (
        "import sys, taskflow.engine.node, taskflow.fetch.http_fetcher; "
        "print('cryptography' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
