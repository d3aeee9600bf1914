"""The signing secrets of endpoints, as they are stored: encrypted, and bound to their endpoint."""

from __future__ import annotations

from taskflow.model.keyring import Keyring


def seal_secret(secret: bytes, full_name: str, keyring: Keyring) -> bytes:
    """Encrypt a secret.

    Args:
        secret: The secret.
        full_name: The names of the topic and the endpoint.
        keyring: The keys.

    Raises:
        KeyMissing: There is no key.
    """
    return keyring.encrypt(secret, _place_of(full_name))


def unseal_secret(sealed: bytes, full_name: str, keyring: Keyring) -> bytes:
    """Decrypt a secret.

    Raises:
        KeyMissing: Its key is not in the keyring.
        Undecryptable: It was changed, or belongs to another endpoint.
    """
    return keyring.decrypt(sealed, _place_of(full_name))


def reseal_secret(sealed: bytes, full_name: str, keyring: Keyring) -> bytes:
    """Encrypt a secret again with the first key.

    Raises:
        KeyMissing: Its key is not in the keyring.
        Undecryptable: It was changed, or belongs to another endpoint.
    """
    return keyring.reencrypt(sealed, _place_of(full_name))


def _place_of(full_name: str) -> bytes:
    return f"endpoint {full_name}".encode()
