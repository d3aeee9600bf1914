"""The keys that encrypt credentials, payloads and results at rest.

Encrypted data is a version byte, the id of the key (a hash of it, so that data names its key
without revealing it), a random nonce, and the ciphertext with its tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

from taskflow.model.errors import KeyMissing, SettingsError, Undecryptable

KEY_BYTES: Final = 32
KEY_SHAPE: Final = f"{KEY_BYTES} bytes in base64, as created by `taskflow secret new --encryption`"
_VERSION: Final = b"\x01"
_ID_BYTES: Final = 5  # with the version 6 bytes, which are 8 characters of base64
_NONCE_BYTES: Final = 24
_ID_END: Final = len(_VERSION) + _ID_BYTES
_NONCE_END: Final = _ID_END + _NONCE_BYTES


class Keyring:
    """Encrypts with the first key, and decrypts with any of the keys.

    To rotate a key, put a new one before it, run `taskflow key rotate`, and remove the old one.

    Args:
        keys: The keys as bytes; without any, nothing can be encrypted or decrypted.

    Raises:
        SettingsError: There are keys, and `cryptography` is not installed.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys: Final = {key_id_of(key): key for key in keys}
        self._first: Final = next(iter(self._keys), b"")
        if self._keys:
            # Imported here, because a node without keys does not need `cryptography`.
            try:
                from taskflow.model import xaes  # noqa: PLC0415
            except ModuleNotFoundError:
                raise SettingsError(
                    "encryption needs the package cryptography: pip install cryptography"
                ) from None
            self._xaes: Final = xaes

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring: {len(self)} keys>"

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys, in their order; they reveal nothing of the keys."""
        return [key_id.hex() for key_id in self._keys]

    def encrypt(self, data: bytes, associated: bytes) -> bytes:
        """Encrypt data with the first key.

        Args:
            data: The data.
            associated: What the data belongs to; the same bytes are needed to decrypt it.

        Raises:
            KeyMissing: There is no key.
        """
        if not self._keys:
            raise KeyMissing("")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = _VERSION + self._first
        return head + nonce + self._xaes.encrypt(self._keys[self._first], nonce, data, associated)

    def decrypt(self, data: bytes, associated: bytes) -> bytes:
        """Return what ``encrypt`` was called with.

        Raises:
            KeyMissing: The key of the data is not in the keyring.
            Undecryptable: The data, or what it is associated with, was changed.
        """
        if data[: len(_VERSION)] != _VERSION or len(data) < _NONCE_END:
            raise Undecryptable
        key_id = data[len(_VERSION) : _ID_END]
        key = self._keys.get(key_id)
        if key is None:
            raise KeyMissing(key_id.hex())
        return self._xaes.decrypt(key, data[_ID_END:_NONCE_END], data[_NONCE_END:], associated)

    def reencrypt(self, data: bytes, associated: bytes) -> bytes:
        """Return the same data, encrypted with the first key.

        Raises:
            KeyMissing: The key is not among these.
            Undecryptable: The data, or what it is associated with, was changed.
        """
        return self.encrypt(self.decrypt(data, associated), associated)

    def is_current(self, data: bytes) -> bool:
        """Return whether data is encrypted with the first key."""
        return bool(self._keys) and data.startswith(_VERSION + self._first)


NO_KEYS: Final = Keyring()


def key_id_in(data: bytes) -> str:
    """Return the id of the key that encrypted data."""
    return data[len(_VERSION) : _ID_END].hex()


def key_id_of(key: bytes) -> bytes:
    """Return the id of a key."""
    return hashlib.sha256(b"TaskFlow encryption key\n" + key).digest()[:_ID_BYTES]


def key_of(text: str) -> bytes:
    """Parse a key.

    Raises:
        ValueError: It is invalid. The message states the format and does not quote the text.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or base64.b64encode(key).decode() != text:
        raise ValueError(f"must be {KEY_SHAPE}")
    return key


def new_encryption_key() -> str:
    """Return a new random key as text."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
