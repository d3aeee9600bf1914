"""Private keys that sign JSON Web Tokens, by RS256 or ES256 (RFC 7515, RFC 7518).

Imported only where a credential needs it: a node without such credentials does not load
`cryptography`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

MIN_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""

_COORDINATE_BYTES: Final = 32
_SHAPE: Final = (
    f"must be a private key in PEM without a password: RSA with at least {MIN_RSA_BITS} bits, or "
    "an EC key on the curve P-256"
)


class SigningKey:
    """A private key.

    Args:
        pem: The key, in PEM without a password.
        is_checked: Whether it was checked before: the numbers of an RSA key take 40 ms.

    Attributes:
        algorithm: The algorithm of its signatures.

    Raises:
        ValueError: It is not such a key. The message states the format and does not quote the key.
    """

    def __init__(self, pem: str, *, is_checked: bool = False) -> None:
        try:
            key = load_pem_private_key(
                pem.encode(), password=None, unsafe_skip_rsa_key_validation=is_checked
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(_SHAPE) from None
        is_rsa = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS
        is_ec = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        if not is_rsa and not is_ec:
            raise ValueError(_SHAPE)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        self._key: Final = key
        self.algorithm: Final[Literal["RS256", "ES256"]] = "RS256" if is_rsa else "ES256"
        self._required = _required_members(key)

    def __repr__(self) -> str:
        return f"<SigningKey: {self.algorithm}>"

    @property
    def key_id(self) -> str:
        """The thumbprint of the public key (RFC 7638)."""
        # Its members in the order of their names, without spaces.
        text = msgspec.json.encode(self._required, order="deterministic")
        return encoded(hashlib.sha256(text).digest())

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public key for receivers (RFC 7517)."""
        extra = {"use": "sig", "alg": self.algorithm, "kid": self.key_id}
        return self._required | extra

    def signed(self, claims: Mapping[str, object], key_id: str | None = None) -> str:
        """Return a JSON Web Token with these claims.

        Args:
            claims: The claims.
            key_id: The name of the key for the receiver, if it needs one.
        """
        header = {"alg": self.algorithm, "typ": "JWT"} | ({"kid": key_id} if key_id else {})
        content = f"{_encoded_json(header)}.{_encoded_json(claims)}"
        return f"{content}.{encoded(self._signature(content.encode()))}"

    def _signature(self, content: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(content, padding.PKCS1v15(), SHA256())
        r, s = decode_dss_signature(self._key.sign(content, ec.ECDSA(SHA256())))
        return _number(r, _COORDINATE_BYTES) + _number(s, _COORDINATE_BYTES)


def new_pem(algorithm: str) -> str:
    """Return a new private key for an algorithm, in PEM."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "RS256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=MIN_RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@functools.lru_cache(maxsize=64)  # to load a key takes longer than to sign
def signing_key_of(pem: str) -> SigningKey:
    """Return a key that was checked when it was stored; see ``SigningKey``."""
    return SigningKey(pem, is_checked=True)


def encoded(data: bytes) -> str:
    """Return data in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _required_members(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Return the members of a JWK that RFC 7638 section 3.2 names."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_numbers()
        return {"kty": "RSA", "n": encoded(_shortest(public.n)), "e": encoded(_shortest(public.e))}
    point = key.public_key().public_numbers()
    x, y = (encoded(_number(number, _COORDINATE_BYTES)) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _shortest(number: int) -> bytes:
    return _number(number, (number.bit_length() + 7) // 8)


def _encoded_json(value: Mapping[str, object]) -> str:
    return encoded(msgspec.json.encode(value))


def _number(number: int, length: int) -> bytes:
    return number.to_bytes(length, "big")
