"""The public keys of ID tokens, read from the store for all requests of a minute together."""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from taskflow.api.problems import store_timeout
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.signing_keys import SigningKeyStore

KEPT_SECONDS: Final = 60.0
"""How long keys are kept: a key is published a day before it signs."""


class PublishedKeys:
    """The public keys. Anyone may ask for them, so a request costs no query.

    Args:
        store: Stores the keys.
    """

    def __init__(self, store: SigningKeyStore) -> None:
        self._store = store
        self._keys: list[msgspec.Raw] = []
        self._read_at = 0.0
        self._reading = trio.Lock()

    async def get(self) -> list[msgspec.Raw]:
        """Return the keys as JWKs; during an outage of the store, the keys that were read before.

        Raises:
            StoreUnavailable: They are not known, and cannot be read.
        """
        try:
            with store_timeout():
                await self._read_if_old()
        except StoreUnavailable:
            if not self._keys:
                raise
            self._read_at = trio.current_time()
        return self._keys

    async def _read_if_old(self) -> None:
        async with self._reading:
            # The first keys come at any moment.
            if not self._keys or trio.current_time() >= self._read_at + KEPT_SECONDS:
                self._keys = [
                    key
                    for generation in await self._store.all()
                    for key in msgspec.json.decode(generation.public, type=list[msgspec.Raw])
                ]
                self._read_at = trio.current_time()
