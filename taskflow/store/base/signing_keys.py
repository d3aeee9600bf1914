"""The keys that sign ID tokens, shared by all nodes: the store interface."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import NewEntry
from taskflow.model.key_generation import KeyGeneration
from taskflow.store.base.changes import Changes

KEPT_SECONDS: Final = 60.0
"""Maximum age of keys in the memory of a process; much shorter than the times of their rotation."""


class SigningKeyStore(Changes, abc.ABC):
    """Stores generations of keys; a part of ``TaskStore``. The private keys come encrypted."""

    @abc.abstractmethod
    async def all(self) -> Sequence[KeyGeneration]:
        """Return all generations, in their order."""

    @abc.abstractmethod
    async def add_if_next(
        self, generation: KeyGeneration, *, is_only: bool = False, entry: NewEntry | None = None
    ) -> bool:
        """Add a generation, unless another node added one with its number.

        Args:
            generation: The generation.
            is_only: Whether to delete all others at the same moment.
            entry: The entry for the audit log, recorded in the same transaction.
        """

    @abc.abstractmethod
    async def delete_before(self, number: int) -> None:
        """Delete all generations with smaller numbers."""
