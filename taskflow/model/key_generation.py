"""Generations of the keys that sign ID tokens, and the times of their rotation: pure rules.

A generation is published for a day before it signs, so that all verifiers have it by then, and for
a day after, until the last token that it signed has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from taskflow.model.keyring import Keyring

Algorithm: TypeAlias = Literal["RS256", "ES256"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)

SIGNING_SECONDS: Final = 30 * 86_400.0
"""Time for which a generation signs."""

PUBLISHED_BEFORE_SECONDS: Final = 86_400.0
"""Time for which a generation is published before it signs."""

PUBLISHED_AFTER_SECONDS: Final = 86_400.0
"""Time for which a generation is published after it signed; much longer than a token lives."""

MAX_AGE_SECONDS: Final = 3_600
"""Time for which verifiers may cache the published keys."""


class KeyGeneration(msgspec.Struct, frozen=True):
    """A private key of each algorithm, as they are stored.

    Attributes:
        number: Counts generations from 1.
        public: The public keys, as a JSON array of JWKs (RFC 7517).
        sealed: The private keys, encrypted.
        age_seconds: Time since it was stored, by the store's clock.
    """

    number: int
    public: str
    sealed: bytes
    age_seconds: float = 0.0


def signing_generation(generations: Sequence[KeyGeneration]) -> KeyGeneration | None:
    """Return the generation that signs now; ``None`` if there is none.

    Args:
        generations: All generations, in the order of their numbers.
    """
    for generation in reversed(generations):
        if generation.age_seconds >= PUBLISHED_BEFORE_SECONDS:
            return generation
    return generations[0] if generations else None  # the first generation signs at once


def is_next_due(generations: Sequence[KeyGeneration]) -> bool:
    """Return whether the next generation must be published."""
    return not generations or generations[-1].age_seconds >= SIGNING_SECONDS


def ended_before(generations: Sequence[KeyGeneration]) -> int:
    """Return the number of the first generation that must still be published."""
    until = PUBLISHED_BEFORE_SECONDS + PUBLISHED_AFTER_SECONDS
    numbers = [one.number for one in generations if one.age_seconds >= until]
    return max(numbers, default=0)


def new_generation(number: int, keyring: Keyring) -> KeyGeneration:
    """Return a generation of new keys; takes about a tenth of a second.

    Raises:
        KeyMissing: There is no key to encrypt them with.
    """
    from taskflow.model.signing_key import SigningKey, new_pem  # noqa: PLC0415 - few nodes need it

    pems = {algorithm: new_pem(algorithm) for algorithm in ALGORITHMS}
    public = [SigningKey(pem).public_jwk for pem in pems.values()]
    sealed = keyring.encrypt(msgspec.json.encode(pems), _associated(number))
    return KeyGeneration(number, msgspec.json.encode(public).decode(), sealed)


def resealed(generation: KeyGeneration, keyring: Keyring) -> bytes:
    """Return the private keys, encrypted with the first key of the keyring.

    Raises:
        KeyMissing: Its key is not among these.
        Undecryptable: It was changed.
    """
    return keyring.reencrypt(generation.sealed, _associated(generation.number))


def private_pem(generation: KeyGeneration, algorithm: Algorithm, keyring: Keyring) -> str:
    """Return a private key of a generation, in PEM.

    Raises:
        KeyMissing: Its key is not among these.
        Undecryptable: It was changed.
    """
    opened = keyring.decrypt(generation.sealed, _associated(generation.number))
    return msgspec.json.decode(opened, type=dict[str, str])[algorithm]


def _associated(number: int) -> bytes:
    return f"signing keys {number}".encode()
