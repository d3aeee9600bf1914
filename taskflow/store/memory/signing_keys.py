"""The keys that sign ID tokens, in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import msgspec
import trio

from taskflow.model.audit import NewEntry
from taskflow.model.key_generation import KeyGeneration
from taskflow.store.base.signing_keys import SigningKeyStore
from taskflow.store.memory.audit import MemoryAudit


class MemorySigningKeys(SigningKeyStore):
    """Generations of keys in a store in memory, encrypted as in PostgreSQL.

    Args:
        now: The store's clock.
        audit: The audit log.
    """

    def __init__(self, now: Callable[[], dt.datetime], audit: MemoryAudit) -> None:
        super().__init__()
        self._now = now
        self._audit = audit
        self._kept: dict[int, tuple[KeyGeneration, dt.datetime]] = {}

    async def all(self) -> Sequence[KeyGeneration]:
        await trio.lowlevel.checkpoint()
        return [
            msgspec.structs.replace(one, age_seconds=(self._now() - added_at).total_seconds())
            for _, (one, added_at) in sorted(self._kept.items())
        ]

    async def add_if_next(
        self, generation: KeyGeneration, *, is_only: bool = False, entry: NewEntry | None = None
    ) -> bool:
        await trio.lowlevel.checkpoint()
        if generation.number in self._kept:
            return False
        if is_only:
            self._kept.clear()
        self._kept[generation.number] = generation, self._now()
        self._audit.add(entry)
        self.note_change()
        return True

    async def delete_before(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        self._kept = {key: kept for key, kept in self._kept.items() if key >= number}
