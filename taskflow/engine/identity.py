"""The identity of this service: the keys that sign its ID tokens, shared by all nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from taskflow.fetch.errors import TokenRefused, TokenUnavailable
from taskflow.fetch.id_tokens import Issuer
from taskflow.model.audit import NewEntry
from taskflow.model.audit_entries import rotation_entry
from taskflow.model.errors import KeyMissing, StoreUnavailable, Undecryptable
from taskflow.model.key_generation import (
    ALGORITHMS,
    KeyGeneration,
    ended_before,
    is_next_due,
    new_generation,
    private_pem,
    signing_generation,
)
from taskflow.model.keyring import Keyring
from taskflow.store.base.changes import Reading
from taskflow.store.base.signing_keys import KEPT_SECONDS, SigningKeyStore
from taskflow.telemetry import Event, emit_throttled

ROTATION_PAUSE_SECONDS: Final = 600.0
"""Interval at which a node checks whether keys must be rotated."""

UNAVAILABLE_SECONDS: Final = 5.0
"""Delay of a task for which this node cannot sign."""


class Identity:
    """Signs ID tokens, and rotates the keys.

    Args:
        store: Stores the keys.
        keyring: Encrypts the private ones.
        url: The issuer; empty if this node has none.
    """

    def __init__(self, store: SigningKeyStore, keyring: Keyring, url: str) -> None:
        self._store = store
        self._keyring = keyring
        self._url = url
        self._issuers: dict[str, Issuer] = {}
        self._reading: Reading | None = None
        self._lock = trio.Lock()

    async def issuer(self, algorithm: str) -> Issuer:
        """Return the issuer that signs tokens with an algorithm now.

        Raises:
            TokenUnavailable: This node cannot sign tokens now.
            TokenRefused: The key was changed in the store.
        """
        if not self._url:
            raise _unavailable("this node has no TASKFLOW_PUBLIC_URL, the issuer of ID tokens")
        async with self._lock:
            is_fresh = self._store.is_fresh(self._reading, max_age_seconds=KEPT_SECONDS)
            if not is_fresh or algorithm not in self._issuers:
                await self._read()
        return self._issuers[algorithm]

    async def rotate(self) -> float:
        """Publish and delete keys that are due; return the seconds until the next check."""
        if self._url and self._keyring:
            generations = await self._with_next(await self._store.all())
            await self._store.delete_before(ended_before(generations))
        return ROTATION_PAUSE_SECONDS

    async def _read(self) -> None:
        from taskflow.model.signing_key import signing_key_of  # noqa: PLC0415 - few nodes need it

        reading = self._store.reading()
        try:
            generations = await self._with_next(await self._store.all())
            generation = signing_generation(generations)
            assert generation is not None
            for algorithm in ALGORITHMS:
                pem = private_pem(generation, algorithm, self._keyring)
                self._issuers[algorithm] = Issuer(self._url, signing_key_of(pem))
        except StoreUnavailable:
            if not self._issuers:
                raise TokenUnavailable("the store is unavailable", UNAVAILABLE_SECONDS) from None
        except KeyMissing as error:
            raise _unavailable(f"key missing: {error}") from None
        except Undecryptable as error:
            raise TokenRefused(f"the keys of ID tokens: {error}") from None
        self._reading = reading

    async def _with_next(self, generations: Sequence[KeyGeneration]) -> Sequence[KeyGeneration]:
        if not is_next_due(generations):
            return generations
        number = generations[-1].number + 1 if generations else 1
        # In a thread, because it takes a tenth of a second.
        new = await trio.to_thread.run_sync(new_generation, number, self._keyring)
        await self._store.add_if_next(new)
        return await self._store.all()


async def rotate_signing_keys(
    store: SigningKeyStore, keyring: Keyring, *, user: str, is_leaked: bool
) -> NewEntry | None:
    """Add a new generation of keys, and return its entry in the audit log.

    It signs after ``PUBLISHED_BEFORE_SECONDS``; if the keys have leaked, it signs at once, and all
    others are withdrawn. ``None`` if no node has made keys yet.
    """
    while True:  # again if a node adds a generation at this moment
        numbers = [one.number for one in await store.all()]
        if not numbers:
            return None
        new = await trio.to_thread.run_sync(new_generation, numbers[-1] + 1, keyring)
        entry = rotation_entry(user, new.number, numbers if is_leaked else ())
        if await store.add_if_next(new, is_only=is_leaked, entry=entry):
            return entry


def _unavailable(reason: str) -> TokenUnavailable:
    emit_throttled(Event.ID_TOKEN_NOT_SIGNED, reason=reason)
    return TokenUnavailable(reason, UNAVAILABLE_SECONDS)
