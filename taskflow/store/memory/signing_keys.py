"""The keys that sign ID tokens, in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import msgspec
import trio

from taskflow.model.key_generation import KeyGeneration
from taskflow.store.base.signing_keys import SigningKeyStore


class MemorySigningKeys(SigningKeyStore):
    """Generations of keys in a store in memory, encrypted as in PostgreSQL.

    Args:
        now: The store's clock.
    """

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self._now = now
        self._kept: dict[int, tuple[KeyGeneration, dt.datetime]] = {}

    async def all(self) -> Sequence[KeyGeneration]:
        await trio.lowlevel.checkpoint()
        return [
            msgspec.structs.replace(one, age_seconds=(self._now() - added_at).total_seconds())
            for _, (one, added_at) in sorted(self._kept.items())
        ]

    async def add_if_next(self, generation: KeyGeneration) -> bool:
        await trio.lowlevel.checkpoint()
        if generation.number in self._kept:
            return False
        self._kept[generation.number] = generation, self._now()
        return True

    async def delete_before(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        self._kept = {key: kept for key, kept in self._kept.items() if key >= number}
