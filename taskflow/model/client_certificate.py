"""Checks of certificates and their private keys, in PEM.

Imported only where a credential needs it: a node without such credentials does not load
`cryptography`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificates


def check_client_certificate(certificate: str, private_key: str) -> None:
    """Check that a private key belongs to the first certificate of a chain.

    Raises:
        ValueError: It does not, or one of them is invalid. The message quotes neither.
    """
    first = certificates_of(certificate)[0]
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("must have a private key in PEM without a password") from None
    both = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*both) != key.public_key().public_bytes(*both):
        raise ValueError("must have the private key of the first certificate, not another one")


def certificates_of(pem: str) -> Sequence[Certificate]:
    """Return the certificates in a text; there is at least one.

    Raises:
        ValueError: There is none, or one is invalid. The message does not quote the text.
    """
    try:
        return load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must have certificates in PEM") from None
