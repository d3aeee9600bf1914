"""The keys that sign ID tokens, shared by all nodes: the store interface."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from taskflow.model.key_generation import KeyGeneration


class SigningKeyStore(abc.ABC):
    """Stores generations of keys; a part of ``TaskStore``. The private keys come encrypted."""

    @abc.abstractmethod
    async def all(self) -> Sequence[KeyGeneration]:
        """Return all generations, in their order."""

    @abc.abstractmethod
    async def add_if_next(self, generation: KeyGeneration) -> bool:
        """Add a generation, unless another node added one with its number."""

    @abc.abstractmethod
    async def delete_before(self, number: int) -> None:
        """Delete all generations with smaller numbers."""
