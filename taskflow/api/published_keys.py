"""The public keys of ID tokens, read from the store for all requests of a minute together."""

from __future__ import annotations

import msgspec
import trio

from taskflow.api.problems import store_timeout
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.changes import Reading
from taskflow.store.base.signing_keys import KEPT_SECONDS, SigningKeyStore


class PublishedKeys:
    """The public keys. Anyone may ask for them, so a request costs no query.

    Args:
        store: Stores the keys.
    """

    def __init__(self, store: SigningKeyStore) -> None:
        self._store = store
        self._keys: list[msgspec.Raw] = []
        self._reading: Reading | None = None
        self._lock = trio.Lock()

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
            self._reading = self._store.reading()
        return self._keys

    async def _read_if_old(self) -> None:
        async with self._lock:
            is_fresh = self._store.is_fresh(self._reading, max_age_seconds=KEPT_SECONDS)
            # The first keys come at any moment.
            if not self._keys or not is_fresh:
                reading = self._store.reading()
                self._keys = [
                    key
                    for generation in await self._store.all()
                    for key in msgspec.json.decode(generation.public, type=list[msgspec.Raw])
                ]
                self._reading = reading
