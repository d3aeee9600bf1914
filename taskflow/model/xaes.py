"""XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM with nonces of 24 bytes.

Each message has a key of its own, derived from the first half of its nonce. So a key may encrypt
any number of messages with random nonces; with AES-256-GCM itself, whose nonces have 12 bytes, two
of 2^32 messages could share a nonce, which would reveal both.

Imported only if encryption keys are configured: a node without keys does not load `cryptography`.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.cmac import CMAC

from taskflow.model.errors import Undecryptable

NONCE_BYTES: Final = 24
_HALF: Final = NONCE_BYTES // 2


def encrypt(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """Return the ciphertext with its tag."""
    return _cipher(key, nonce).encrypt(nonce[_HALF:], data, associated)


def decrypt(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        Undecryptable: The data, or what it is associated with, was changed.
    """
    try:
        return _cipher(key, nonce).decrypt(nonce[_HALF:], data, associated)
    except InvalidTag:
        raise Undecryptable from None


def _cipher(key: bytes, nonce: bytes) -> AESGCM:
    return AESGCM(b"".join(_block(key, counter, nonce) for counter in (1, 2)))


def _block(key: bytes, counter: int, nonce: bytes) -> bytes:
    mac = CMAC(AES256(key))
    mac.update(bytes((0, counter)) + b"X\x00" + nonce[:_HALF])
    return mac.finalize()
